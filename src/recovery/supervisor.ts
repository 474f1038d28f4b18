/**
 * Keeps the wanted processes alive: starts them in order (engine, then the rest side by side), restarts what dies or is
 * stuck, scales, and stops all gracefully in reverse. It is control only: when it dies the processes go on, and the next
 * supervisor of the same state file adopts them.
 */
import type { Clock } from '../core/clock.ts';
import { isSystemCode, type SystemCode, TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { Role, Verdict } from '../failure-detection/beat.ts';
import { type RestartPolicy, restartDefaults } from './restart-policy.ts';
import { type ProcessSpec, Slot, type SlotHost, type SlotState } from './slot.ts';
import type { Spawner } from './spawner.ts';
import type { StateStore, SupervisorState } from './state-file.ts';
import { openStory, type StoryEvent } from './story.ts';

export type { Life, ProcessSpec, SlotState } from './slot.ts';
export type { StoryEvent } from './story.ts';

export const supervisorDefaults = {
  /** From spawn to ready. Generous: a busy laptop starts a dozen processes at once. */
  startTimeoutMs: 30_000,
  /** From being asked to end to being killed. Longer than a call's deadline, so that what was taken on is finished. */
  stopGraceMs: 10_000,
  instancesMax: 256,
} as const;

export interface SupervisorOptions {
  readonly specs: readonly ProcessSpec[];
  readonly spawner: Spawner;
  readonly store: StateStore;
  /** Who we are, for the state file. */
  readonly self: { readonly pid: number; readonly birth: string };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly onEvent?: ((event: StoryEvent) => void) | undefined;
  readonly policy?: Partial<RestartPolicy> | undefined;
  readonly startTimeoutMs?: number | undefined;
  /** This machine's name, where one app runs on several. */
  readonly node?: string | undefined;
}

export interface ProcessView {
  readonly name: string;
  readonly spec: string;
  readonly role: Role;
  readonly id: string;
  readonly pid: number | undefined;
  readonly state: SlotState;
  readonly startedAt: number;
  readonly restarts: number;
  readonly info: Readonly<Record<string, string>>;
  readonly failure: string | undefined;
  /** When one that was given up is tried again (wall time, ms). */
  readonly nextTryAt: number | undefined;
}

export interface StopSummary {
  readonly drained: number;
  readonly killed: readonly string[];
  readonly tookMs: number;
}

const stopOrder: readonly (readonly Role[])[] = [['gateway'], ['instance'], ['naming', 'monitor'], ['engine']];

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #host: SlotHost;
  readonly #specs = new Map<string, ProcessSpec>();
  readonly #wanted = new Map<string, number>();
  readonly #slots: Slot[] = [];
  readonly #waiters = new Set<() => void>();
  readonly #startedAt: number;
  #facts: Readonly<Record<string, unknown>> = {};
  #stopping: Promise<StopSummary> | undefined;
  #saving = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#startedAt = options.clock.now();
    for (const spec of options.specs) {
      this.#specs.set(spec.name, spec);
      this.#wanted.set(spec.name, spec.instances);
    }
    const { spawner, clock, random } = options;
    this.#host = {
      node: options.node,
      spawner,
      clock,
      random,
      story: openStory(clock, options.onEvent),
      policy: { ...restartDefaults, ...options.policy },
      startTimeoutMs: options.startTimeoutMs ?? supervisorDefaults.startTimeoutMs,
      engineInfo: () => this.#engine()?.info ?? {},
      mayStart: role => role === 'engine' || !this.#specs.has('engine') || this.#engine()?.state === 'ready',
      changed: () => this.#onChange(),
    };
  }

  /** Adopts what still runs of a former supervisor, then starts what is missing. Resolves when all are ready. @throws the first failure that it gave up on. */
  async start(former?: SupervisorState): Promise<void> {
    for (const [name, count] of this.#wanted) {
      for (let index = 0; index < count; index++) this.#slots.push(new Slot(this.#spec(name), index, this.#host));
    }
    await this.#takeOver(former);
    for (const slot of this.#slots) slot.launch();
    await this.#settled(() => this.#slots);
  }

  /** Resolves when the service has `count` ready instances. @throws NOT_FOUND, INVALID, or what the start failed with. */
  async scale(name: string, count: number): Promise<void> {
    const spec = this.#specs.get(name);
    const services = [...this.#specs.values()].filter(other => other.role === 'instance').map(other => other.name);
    if (spec?.role !== 'instance' && spec?.role !== 'gateway') {
      throw new TandemError('NOT_FOUND', `there is no service '${name}'; there are: ${services.join(', ')}`);
    }
    if (!Number.isInteger(count) || count < 0 || count > supervisorDefaults.instancesMax) {
      throw new TandemError('INVALID', `scale to a whole number from 0 to ${supervisorDefaults.instancesMax}`);
    }
    if (this.#stopping) throw new TandemError('CLOSED', 'the app is stopping');
    const before = this.#wanted.get(name) ?? 0;
    this.#wanted.set(name, count);
    this.#host.story.add({ kind: 'scaled', name, message: `from ${before} to ${count}` });
    const mine = (): Slot[] => this.#slots.filter(slot => slot.spec === spec);
    const surplus = mine().filter(slot => slot.index >= count);
    const stopped = surplus.map(slot => slot.stop(supervisorDefaults.stopGraceMs));
    for (const slot of mine()) if (slot.index < count) slot.retry();
    for (let index = 0; index < count; index++) {
      const there = mine().find(slot => slot.index === index && slot.state !== 'stopping' && slot.state !== 'stopped');
      if (there) continue;
      const leaving = mine().find(slot => slot.index === index);
      if (leaving) {
        await leaving.whenGone();
        this.#remove(leaving);
      }
      const slot = new Slot(spec, index, this.#host);
      this.#slots.push(slot);
      slot.launch();
    }
    await Promise.all(stopped);
    for (const slot of surplus) if (slot.state === 'stopped') this.#remove(slot);
    await this.#settled(mine);
  }

  /** What failure detection says of a process. The stuck and the dead that still have a pid (a paused process) are killed and started anew. */
  report(id: string, verdict: Verdict): void {
    if (verdict !== 'stuck' && verdict !== 'dead') return;
    const slot = this.#slots.find(other => other.id === id && other.state === 'ready');
    slot?.condemn(verdict === 'stuck' ? 'its main loop is stuck' : 'it is silent although its process is there');
  }

  list(): readonly ProcessView[] {
    return this.#slots.map(slot => ({
      name: slot.name,
      spec: slot.spec.name,
      role: slot.spec.role,
      id: slot.id,
      pid: slot.process?.pid,
      state: slot.state,
      startedAt: slot.startedAt,
      restarts: slot.restarts,
      info: slot.info,
      failure: slot.state === 'ready' ? undefined : slot.failure?.message,
      nextTryAt: slot.state === 'failed' ? slot.nextTryAt : undefined,
    }));
  }

  get story(): readonly StoryEvent[] {
    return this.#host.story.events;
  }

  /** Adds to what the state file tells others. */
  setFacts(facts: Readonly<Record<string, unknown>>): void {
    this.#facts = { ...this.#facts, ...facts };
    // At once: who is told of them may look for them in the file.
    this.#write();
  }

  /** Gateways first, so that nothing new is taken on; the engine last, so that what was taken on can be finished. */
  stop(graceMs: number = supervisorDefaults.stopGraceMs): Promise<StopSummary> {
    this.#stopping ??= this.#stopAll(graceMs);
    return this.#stopping;
  }

  /** For the impatient: everything at once, without asking. Resolves when all are gone. */
  async killAll(): Promise<void> {
    for (const slot of this.#slots) slot.kill();
    await Promise.all(this.#slots.map(slot => slot.whenGone()));
  }

  async #stopAll(graceMs: number): Promise<StopSummary> {
    const beganMs = this.#options.clock.monotonic();
    const killed: string[] = [];
    let drained = 0;
    for (const roles of stopOrder) {
      const slots = this.#slots.filter(slot => roles.includes(slot.spec.role));
      await Promise.all(
        slots.map(async slot => {
          if (!slot.process) return slot.stop(0);
          if (await slot.stop(graceMs)) return drained++;
          return killed.push(slot.name);
        }),
      );
    }
    this.#save();
    return { drained, killed, tookMs: this.#options.clock.monotonic() - beganMs };
  }

  async #takeOver(former: SupervisorState | undefined): Promise<void> {
    const unwanted: Promise<boolean>[] = [];
    for (const saved of former?.processes ?? []) {
      const slot = this.#slots.find(other => other.spec.name === saved.spec && other.index === saved.index);
      if (slot?.spec.role === saved.role) {
        slot.adopt(saved);
        continue;
      }
      const spec: ProcessSpec = {
        name: saved.spec,
        role: saved.role,
        instances: saved.index + 1,
        settings: () => ({}),
      };
      const stray = new Slot(spec, saved.index, this.#host);
      if (stray.adopt(saved)) unwanted.push(stray.stop(supervisorDefaults.stopGraceMs));
    }
    await Promise.all(unwanted);
  }

  #engine(): Slot | undefined {
    return this.#slots.find(slot => slot.spec.role === 'engine');
  }

  #spec(name: string): ProcessSpec {
    return this.#specs.get(name)!;
  }

  #remove(slot: Slot): void {
    const at = this.#slots.indexOf(slot);
    if (at >= 0) this.#slots.splice(at, 1);
    this.#save();
  }

  #onChange(): void {
    if (!this.#stopping && this.#engine()?.state === 'ready') {
      for (const slot of this.#slots) if (slot.state === 'pausing' && slot.waitsForEngine) slot.launch();
    }
    this.#save();
    for (const wake of [...this.#waiters]) wake();
  }

  #settled(of: () => readonly Slot[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const slots = of();
        const failed = slots.find(slot => slot.state === 'failed');
        if (!failed && !this.#stopping && slots.some(slot => slot.state !== 'ready')) return;
        this.#waiters.delete(look);
        if (failed) reject(new TandemError(codeOf(failed), `${failed.name}: ${failed.failure?.message ?? 'failed'}`));
        else if (this.#stopping) reject(new TandemError('CLOSED', 'the app is stopping'));
        else resolve();
      };
      this.#waiters.add(look);
      look();
    });
  }

  /** At the end of the turn: starting a dozen processes is one write. */
  #save(): void {
    if (this.#saving) return;
    this.#saving = true;
    this.#options.clock.defer(() => {
      this.#saving = false;
      this.#write();
    });
  }

  #write(): void {
    try {
      this.#options.store.save(this.#state());
    } catch (cause) {
      this.#options.logger.error(
        'the state file could not be written; a restarted supervisor would not find its processes',
        { error: cause },
      );
    }
  }

  #state(): SupervisorState {
    return {
      format: 1,
      supervisor: this.#options.self,
      startedAt: this.#startedAt,
      wanted: Object.fromEntries(this.#wanted),
      processes: this.#slots
        .filter(slot => slot.process)
        .map(slot => ({
          name: slot.name,
          spec: slot.spec.name,
          index: slot.index,
          role: slot.spec.role,
          id: slot.id,
          pid: slot.process!.pid,
          birth: slot.process!.birth,
          startedAt: slot.startedAt,
          ready: slot.state === 'ready' || slot.state === 'stopping',
          info: slot.info,
        })),
      facts: this.#facts,
    };
  }
}

function codeOf(slot: Slot): SystemCode {
  const code = slot.failure?.code ?? '';
  return isSystemCode(code) ? code : 'INTERNAL';
}

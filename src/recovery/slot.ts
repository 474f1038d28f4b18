/**
 * One place for a process (`inventory-3`) and the lives that it has one after another: start, wait for ready, watch,
 * restart by policy, or give up and try now and then. At most one process at a time: the next is started only when the former is gone and
 * reaped, since both would open the same data.
 *
 *   idle -> starting -> ready -> stopping -> stopped
 *              ^  |       |
 *              |  v       v
 *            pausing <- (exit) -> failed (gave up) -> starting, slowly
 */
import type { Clock, Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Role } from '../failure-detection/beat.ts';
import { nextRestart, noRestarts, type RestartHistory, type RestartPolicy } from './restart-policy.ts';
import type { ProcessExit, ProcessReport, RunningProcess, Spawner } from './spawner.ts';
import type { SavedProcess } from './state-file.ts';
import type { Story, StoryKind } from './story.ts';

export interface Life {
  readonly id: string;
  /** The slot: `inventory-3`. */
  readonly name: string;
  readonly index: number;
  /** What the engine said when it became ready; empty for the engine itself. */
  readonly engine: Readonly<Record<string, string>>;
  /** What the life before said: a restarted process keeps its port by it. */
  readonly former: Readonly<Record<string, string>>;
}

export interface ProcessSpec {
  /** Unique: `engine`, `gateway`, or the service's name. */
  readonly name: string;
  readonly role: Role;
  readonly instances: number;
  /** What the process is given, as plain JSON. */
  settings(life: Life): Readonly<Record<string, unknown>>;
}

export type SlotState = 'idle' | 'starting' | 'ready' | 'pausing' | 'failed' | 'stopping' | 'stopped';

export interface SlotHost {
  /** Part of each id where one app runs on several machines, so that two of them never have the same places. */
  readonly node: string | undefined;
  readonly spawner: Spawner;
  readonly clock: Clock;
  readonly random: Random;
  readonly story: Story;
  readonly policy: RestartPolicy;
  readonly startTimeoutMs: number;
  engineInfo(): Readonly<Record<string, string>>;
  /** Whether processes of this role may start now. */
  mayStart(role: Role): boolean;
  /** Anything changed that the state file or a waiter cares for. */
  changed(): void;
}

/** Failures that another try at once cannot mend: a person must. */
const hopeless = new Set(['CONFIG', 'INVALID', 'UNSUPPORTED', 'CONFLICT', 'CORRUPT', 'LOG_LOST', 'DENIED']);

export class Slot {
  readonly spec: ProcessSpec;
  readonly index: number;
  readonly name: string;
  readonly #host: SlotHost;
  state: SlotState = 'idle';
  process: RunningProcess | undefined;
  id = '';
  info: Readonly<Record<string, string>> = {};
  startedAt = 0;
  restarts = 0;
  /** Pauses until the engine is ready, not until a timer fires. */
  waitsForEngine = false;
  failure: { readonly code: string; readonly message: string } | undefined;
  /** Of the next slow try, while it is given up (wall time, ms). */
  nextTryAt: number | undefined;
  #bornMs = 0;
  #wasReady = false;
  /** Until it has led a steady life again. */
  #gaveUp = false;
  #history: RestartHistory = noRestarts;
  #timer: Timer | undefined;
  #gone: (() => void)[] = [];

  constructor(spec: ProcessSpec, index: number, host: SlotHost) {
    this.spec = spec;
    this.index = index;
    this.name = spec.role === 'instance' || spec.role === 'gateway' ? `${spec.name}-${index + 1}` : spec.name;
    this.#host = host;
  }

  launch(): void {
    if (this.process || this.state === 'stopping' || this.state === 'stopped') return;
    this.#timer?.cancel();
    this.waitsForEngine = !this.#host.mayStart(this.spec.role);
    if (this.waitsForEngine) {
      this.#become('pausing');
      return;
    }
    try {
      this.#start();
    } catch (cause) {
      this.#notStarted(cause);
    }
  }

  /** Starts run in timers: what one throws (no room for its records, no process to be had) would end the supervisor. */
  #notStarted(cause: unknown): void {
    const { code, message } = TandemError.from(cause);
    this.failure = { code, message };
    if (this.process) {
      this.process.kill();
      return;
    }
    this.#tell('failed', `could not be started: ${message}`);
    this.#recover();
  }

  #start(): void {
    const { clock, random, spawner } = this.#host;
    this.id = `${this.name}${this.#host.node === undefined ? '' : `-${this.#host.node}`}-${random.id().slice(0, 6)}`;
    this.startedAt = clock.now();
    this.#bornMs = clock.monotonic();
    this.#wasReady = false;
    const { id, name, index } = this;
    const engine = this.spec.role === 'engine' ? {} : this.#host.engineInfo();
    const settings = this.spec.settings({ id, name, index, engine, former: this.info });
    const process = spawner.spawn({ id, role: this.spec.role, settings });
    this.failure = undefined;
    this.nextTryAt = undefined;
    this.#watch(process);
    this.#tell('starting', `pid ${process.pid}`);
    this.#become('starting');
    this.#timer = clock.after(this.#host.startTimeoutMs, () =>
      this.condemn(`it was not ready within ${this.#host.startTimeoutMs} ms`),
    );
  }

  /** Takes over a process of a former supervisor. False when it is gone, or its pid now is someone else's. */
  adopt(saved: SavedProcess): boolean {
    const process = this.#host.spawner.adopt(saved.pid, saved.birth, saved.id);
    if (!process) {
      this.info = saved.info;
      return false;
    }
    this.id = saved.id;
    this.info = saved.info;
    this.startedAt = saved.startedAt;
    this.#bornMs = this.#host.clock.monotonic();
    this.#wasReady = true;
    this.#watch(process);
    if (saved.ready) {
      this.#tell('adopted', `pid ${saved.pid} still runs and was taken over`);
      this.#become('ready');
    } else this.condemn('it was still starting when its supervisor died');
    return true;
  }

  /** Kills it at once; its end leads to a restart like any other. */
  condemn(reason: string): void {
    if (!this.process) return;
    this.#tell('condemned', `${reason}; killed`);
    this.failure = { code: 'INTERNAL', message: reason };
    this.process.kill();
  }

  /** Ends it for good: asks, then kills after `graceMs`. True when it ended by itself. */
  async stop(graceMs: number): Promise<boolean> {
    this.#timer?.cancel();
    const process = this.process;
    if (!process) {
      this.#become('stopped');
      return true;
    }
    let willing = true;
    const gone = this.whenGone();
    if (this.state !== 'stopping') {
      this.#become('stopping');
      this.#tell('stopping', `has ${graceMs} ms to finish`);
      process.stop(graceMs);
    }
    this.#timer = this.#host.clock.after(graceMs, () => {
      willing = false;
      this.#tell('killed', `did not end within ${graceMs} ms`);
      process.kill();
    });
    await gone;
    return willing;
  }

  /** Kills without asking and starts nothing again. */
  kill(): void {
    this.#timer?.cancel();
    this.#become(this.process ? 'stopping' : 'stopped');
    this.process?.kill();
  }

  whenGone(): Promise<void> {
    return this.process ? new Promise(resolve => this.#gone.push(resolve)) : Promise.resolve();
  }

  #watch(process: RunningProcess): void {
    this.process = process;
    process.onReport(report => process === this.process && this.#onReport(report));
    process.onExit(exit => process === this.process && this.#onExit(exit));
  }

  #onReport(report: ProcessReport): void {
    if (report.kind === 'failed') {
      this.failure = { code: report.code, message: report.message };
      return;
    }
    if (this.state !== 'starting') return;
    this.#timer?.cancel();
    this.info = report.info;
    this.#wasReady = true;
    this.#tell('ready', `ready after ${Math.round(this.#host.clock.monotonic() - this.#bornMs)} ms`);
    this.#become('ready');
  }

  #onExit(exit: ProcessExit): void {
    const pid = this.process?.pid;
    this.#timer?.cancel();
    this.process = undefined;
    for (const resolve of this.#gone.splice(0)) resolve();
    if (this.state === 'stopping') {
      this.#tell('stopped', `pid ${pid} ended`);
      this.#become('stopped');
      return;
    }
    const how = exit.signal
      ? `was killed by ${exit.signal}`
      : exit.code === null
        ? 'is gone'
        : `ended with code ${exit.code}`;
    const words = exit.words && !exit.signal ? `; its last words: ${lastLine(exit.words)}` : '';
    this.#tell('exited', `pid ${pid} ${how}${this.failure ? `: ${this.failure.message}` : words}`);
    this.failure ??= { code: 'INTERNAL', message: how + words };
    this.#recover();
  }

  #recover(): void {
    const { clock, policy, random } = this.#host;
    const nowMs = clock.monotonic();
    const livedMs = this.#wasReady ? nowMs - this.#bornMs : 0;
    if (livedMs >= policy.steadyMs) this.#gaveUp = false;
    const failure = this.failure;
    if (this.#gaveUp || (failure && hopeless.has(failure.code))) {
      this.#giveUp(failure?.message ?? 'it ended');
      return;
    }
    const next = nextRestart(policy, this.#history, { nowMs, livedMs }, random);
    this.#history = next.history;
    if (next.action.kind === 'give-up') {
      const { tries, withinMs } = next.action;
      this.#giveUp(
        `started ${tries} times within ${Math.round(withinMs / 1000)} s and died young each time; last: ${failure?.message}`,
      );
      return;
    }
    const { delayMs } = next.action;
    this.restarts++;
    this.#tell('restarting', delayMs === 0 ? 'starts again at once' : `starts again in ${Math.round(delayMs)} ms`);
    this.#become('pausing');
    this.#timer = clock.after(delayMs, () => this.launch());
  }

  /** Loud the first time; after that it says only that it still fails, so that its story does not bury all others. */
  #giveUp(message: string): void {
    const { clock, policy } = this.#host;
    const again = `tried again every ${Math.round(policy.slowMs / 1000)} s`;
    this.failure = { code: this.failure?.code ?? 'INTERNAL', message };
    if (this.#gaveUp) this.#tell('restarting', `still fails; ${again}`);
    else this.#tell('gave-up', `${this.name} does not start, and is ${again}: ${message}`);
    this.#gaveUp = true;
    this.nextTryAt = clock.now() + policy.slowMs;
    this.#become('failed');
    this.#timer = clock.after(policy.slowMs, () => {
      this.restarts++;
      this.launch();
    });
  }

  /** Forgets former failures and tries again: what a person asks for after mending the cause. */
  retry(): void {
    if (this.state !== 'failed') return;
    this.#history = noRestarts;
    this.#gaveUp = false;
    this.state = 'idle';
    this.launch();
  }

  #become(state: SlotState): void {
    this.state = state;
    this.#host.changed();
  }

  #tell(kind: StoryKind, message: string): void {
    this.#host.story.add({ kind, name: this.name, id: this.id || undefined, pid: this.process?.pid, message });
  }
}

/** The last line that says something: the message of a record, or plain text such as a stack's first line. */
function lastLine(words: string): string {
  const lines = words.split('\n').filter(line => line.trim() !== '' && !/^\s+at |^Node\.js v/.test(line));
  const line = lines.findLast(text => /error/i.test(text)) ?? lines.at(-1) ?? '';
  try {
    const record = JSON.parse(line) as { message?: unknown };
    return String(record.message ?? line);
  } catch {
    return line.trim().slice(0, 500);
  }
}

/**
 * Does what `succession` decides, for all partitions held here (data core, rule 7), and keeps a link to the writer of each:
 * when it dies, the kernel of its machine tells at once, and the next in rank claims in the same turn. Claims that do not
 * last are repeated ever more slowly, so that two that do not hear each other do not fight.
 */
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import type { Sender, StateSettings } from './keyspace.ts';
import type { Partition } from './partition.ts';
import { isClockOff, succession } from './succession.ts';

export interface TakeoverOptions {
  readonly instance: string;
  readonly registry: Registry;
  readonly caller: Sender;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly settings: StateSettings;
}

const claimPauseMsMax = 2000;
const claimsForgottenMs = 10_000;

export class Takeover {
  readonly #o: TakeoverOptions;
  readonly #listeningSince: number;
  #clockOff = false;

  constructor(options: TakeoverOptions) {
    this.#o = options;
    this.#listeningSince = options.clock.monotonic();
  }

  /** Against the clocks of all processes that live, of whatever role. */
  checkClock(): void {
    const { registry, instance, logger } = this.#o;
    const others = registry.members().filter(({ beat, verdict }) => beat.id !== instance && verdict === 'alive');
    const ahead = others.map(({ clockAheadMs }) => clockAheadMs);
    const off = isClockOff(ahead);
    if (off && !this.#clockOff) {
      const median = ahead.sort((a, b) => a - b)[ahead.length >> 1];
      logger.error('the clock of this machine is off: this instance does not become a writer; set its time', {
        median,
      });
    }
    this.#clockOff = off;
  }

  watchWriters(partitions: Iterable<Partition>): void {
    const { registry, caller, instance } = this.#o;
    const writers = new Set<string>();
    for (const { replica } of partitions) writers.add(replica.head.writer);
    for (const id of writers) {
      const member = id === instance ? undefined : registry.member(id);
      if (member && member.verdict !== 'dead') caller.watch(member);
    }
  }

  /** Takes over, stays, or hands on to a better-ranked replica after a grace. */
  succeed(partition: Partition, ranked: readonly string[]): void {
    if (!partition.replica.ready) return;
    const { instance, registry, clock, engine, settings } = this.#o;
    const now = clock.monotonic();
    const leaving = partition.leavingFrom !== undefined;
    const step = succession({
      self: instance,
      head: partition.replica.head,
      partition: partition.number,
      ranked: leaving ? ranked.filter(id => id !== instance) : ranked,
      member: id => registry.member(id),
      listeningMs: now - this.#listeningSince,
      unheardGraceMs: settings.unheardGraceMs,
      connected: engine.bus.connected,
      clockOff: this.#clockOff,
    });
    if (step.kind === 'claim' && !leaving) this.#claim(partition, now);
    if (step.kind !== 'better') partition.betterSince = undefined;
    else {
      partition.betterSince ??= now;
      if (now - partition.betterSince >= settings.resignGraceMs) partition.pipeline.resign(step.member);
    }
  }

  #claim(partition: Partition, now: number): void {
    const { random, settings } = this.#o;
    // While a slot is being decided nothing can be claimed: not a claim that did not last.
    if (now < partition.claimAgainAt || partition.pipeline.recovering) return;
    partition.claims = now - partition.claimAgainAt > claimsForgottenMs ? 0 : partition.claims + 1;
    partition.claimAgainAt = now + settings.tickMs + backoffMs(random, partition.claims, 50, claimPauseMsMax);
    partition.pipeline.claim();
  }
}

/**
 * The events that a partition's transactions emitted, for the relay (data core, rule 16): the last ones from memory, as they
 * were applied; older ones from the log.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine, Entry } from '../log/engine.ts';
import { chainHash, type LogEntry } from '../replication/entry.ts';
import { type LargeEntries, partAt } from '../replication/large-entries.ts';
import type { Applied, Replica } from '../replication/replica.ts';
import type { EmittedBatch, EmittedEvent } from './keyspace.ts';
import { Bell } from './watch.ts';

const eventsMax = 8192;
const bytesMax = 33_554_432;
const readBytes = 1_048_576;

export class EmittedRing {
  readonly #replica: Replica;
  readonly #engine: Engine;
  readonly #large: LargeEntries;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #bells = new Set<Bell>();
  /** Events of all positions from `#from` to `#to`. */
  #events: EmittedEvent[] = [];
  #bytes = 0;
  #from: number;
  #to: number;

  constructor(replica: Replica, engine: Engine, large: LargeEntries, clock: Clock, timeoutMs: number) {
    this.#replica = replica;
    this.#engine = engine;
    this.#large = large;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#to = replica.head.position;
    this.#from = this.#to + 1;
  }

  applied(batch: readonly Applied[]): void {
    for (const { position, entry } of batch) {
      if (position !== this.#to + 1) {
        this.#events = [];
        this.#bytes = 0;
        this.#from = position;
      }
      this.#to = position;
      for (const event of eventsOf(position, entry)) {
        this.#events.push(event);
        this.#bytes += event.body.length;
      }
    }
    if (this.#events.length > eventsMax || this.#bytes > bytesMax) this.#cut();
    for (const bell of this.#bells) bell.ring();
  }

  /** Keeps the newer half; what is older is in the log. */
  #cut(): void {
    let kept = 0;
    let bytes = 0;
    let cut = this.#to + 1;
    for (let at = this.#events.length - 1; at >= 0 && kept < eventsMax / 2 && bytes < bytesMax / 2; at--, kept++) {
      bytes += this.#events[at]!.body.length;
      cut = this.#events[at]!.position;
    }
    this.#events = this.#events.filter(event => event.position >= cut);
    this.#bytes = this.#events.reduce((sum, { body }) => sum + body.length, 0);
    this.#from = cut;
  }

  async *follow(from: number, signal: AbortSignal): AsyncGenerator<EmittedBatch> {
    const bell = new Bell();
    this.#bells.add(bell);
    try {
      let next = Math.max(1, from);
      while (!signal.aborted) {
        const batch = next > this.#replica.head.position ? undefined : await this.#batch(next);
        if (!batch) {
          await bell.wait(signal);
          continue;
        }
        next = batch.through + 1;
        yield batch;
      }
    } finally {
      this.#bells.delete(bell);
    }
  }

  async #batch(next: number): Promise<EmittedBatch | undefined> {
    if (next >= this.#from && next <= this.#to) {
      return { through: this.#to, events: this.#events.filter(event => event.position >= next) };
    }
    // A new writer's relay begins where the last one's stored position was, which may be long ago.
    const { emittedAt, position } = this.#replica.head;
    if (emittedAt !== undefined && emittedAt < next) return { through: position, events: [] };
    return this.#fromLog(next, 1);
  }

  /**
   * Reads a few entries more than asked (`back`), because only the chain tells which entry the replicas skipped as foreign.
   * When the entries before contradict the first one, one of them is foreign, and a longer look back decides.
   */
  async #fromLog(next: number, back: number): Promise<EmittedBatch | undefined> {
    const applied = this.#replica.head.position;
    const first = Math.max(1, next - back);
    let parent: string | undefined;
    let sure = first === 1;
    let through = 0;
    const events: EmittedEvent[] = [];
    const entries = await this.#read(first, next);
    const trimmed = entries[0]?.position !== first;
    for (const { position, body } of entries) {
      if (position > applied) break;
      if (body.length === 0) {
        // A barrier's; it says nothing of the chain.
        if (position >= next) through = position;
        continue;
      }
      if (position >= next && parent === undefined && !sure && !trimmed) return this.#fromLog(next, back * 16);
      const entry = partAt(body, undefined);
      if (parent !== undefined && entry.parent !== parent) {
        if (!sure && first > 1) return this.#fromLog(next, back * 16);
        if (position >= next) through = position;
        continue;
      }
      if (parent !== undefined) sure = true;
      parent = chainHash(body);
      if (position < next) continue;
      through = position;
      const whole = 'blob' in entry ? await this.#large.get(this.#replica.log, position, entry) : entry;
      for (const event of eventsOf(position, whole)) events.push(event);
      if (whole !== entry) break; // one large entry at a time is enough in memory
    }
    return through >= next ? { through, events } : undefined;
  }

  /** From `first` to `next` at least: one answer of the engine may end anywhere, such as with a segment. */
  async #read(first: number, next: number): Promise<readonly Entry[]> {
    const { log } = this.#replica;
    const options = { deadline: this.#clock.monotonic() + this.#timeoutMs };
    const entries: Entry[] = [];
    for (let from = first; from <= next; ) {
      try {
        const more = await this.#engine.log.read(log, from, readBytes, options);
        if (more.length === 0) break;
        entries.push(...more);
        from = more[more.length - 1]!.position + 1;
      } catch (thrown) {
        if (TandemError.from(thrown).code !== 'NOT_FOUND' || from === next) throw thrown;
        from = next; // what was before is trimmed
      }
    }
    return entries;
  }
}

function eventsOf(position: number, entry: LogEntry): EmittedEvent[] {
  return entry.emitted.map((event, index) => ({ ...event, position, index, time: entry.time }));
}

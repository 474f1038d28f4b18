/**
 * Events that no entry of a log holds: the body is stored as a blob first, and the topic's log names it beside the event's
 * source, number and key (ADR 13). A topic takes plain appends, which have no position beforehand, and a blob's name must say
 * behind which position nobody can name it any more. So such an event is appended at an expected tail, up to a last position
 * that stands in the name: others may get in between meanwhile, and only when they pass that position is the blob stored again,
 * under a name that gives more room. What a try whose fate is unknown left behind is collected with the log, like all others.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { AppendResult, Engine } from '../log/engine.ts';
import { LargeEntries, sha256Of } from '../replication/large-entries.ts';
import { decodeEvent, encodeEvent, type StoredEvent } from './event.ts';

export interface LargeEventsOptions {
  readonly engine: Pick<Engine, 'log' | 'blobs'>;
  readonly clock: Clock;
  readonly random: Random;
}

/** Positions that a name leaves room for: exact at first, for then the blob goes together with its entry. */
const roomFactor = 8;
const roomMax = 4096;

export class LargeEvents {
  readonly #o: LargeEventsOptions;
  readonly #entries: LargeEntries;

  constructor(options: LargeEventsOptions) {
    this.#o = options;
    this.#entries = new LargeEntries({ ...options, engineTimeoutMs: limits.engineTimeoutMs });
  }

  /** Appends the event in `encoded`: one try for each `room`, which the next one is given. `unknown` as for any append. */
  async append(log: string, encoded: Uint8Array, room: number, deadline: number): Promise<AppendResult> {
    const { engine, clock, random } = this.#o;
    const event = decodeEvent(encoded);
    const tail = await this.#tail(log, deadline);
    const last = tail + Math.min(room, roomMax);
    const blob = `${this.#entries.name(log, last)}-${event.body.length}`;
    const large = { blob, sha256: sha256Of(event.body), bytes: event.body.length };
    const reference = encodeEvent({ ...event, body: nothing, large });
    await engine.blobs.put(blob, event.body, { deadline });
    let expected = tail;
    for (let attempt = 0; expected < last && clock.monotonic() < deadline; attempt++) {
      const result = await engine.log.append(log, expected, [reference], { deadline });
      if (result.kind !== 'conflict') return result;
      // A hint may be older than what was expected.
      if (result.tail <= expected) await sleep(clock, backoffMs(random, attempt, 1, 100));
      expected = Math.max(expected, result.tail);
    }
    await this.#entries.drop(blob);
    return { kind: 'conflict', tail: expected };
  }

  /** The event with its body. @throws NOT_FOUND when retention has passed it, CORRUPT */
  async whole(log: string, position: number, event: StoredEvent): Promise<StoredEvent> {
    if (!event.large) return event;
    const { large, ...rest } = event;
    return { ...rest, body: await this.#entries.bytes(log, position, large) };
  }

  /** Deletes what the log cannot name any more, now that it begins at `first`. */
  collect(log: string, first: number): Promise<number> {
    return this.#entries.collect(log, first);
  }

  async #tail(log: string, deadline: number): Promise<number> {
    try {
      return (await this.#o.engine.log.info(log, { deadline })).tail;
    } catch (cause) {
      if (TandemError.from(cause).code === 'NOT_FOUND') return 0;
      throw cause;
    }
  }
}

/** Room for the next try. */
export function moreRoom(room: number): number {
  return Math.min(roomMax, room * roomFactor);
}

/** Bytes of a topic partition's large events, from the names of their blobs. */
export function largeBytes(blobs: readonly string[]): number {
  return blobs.reduce((sum, blob) => sum + (Number(blob.slice(blob.lastIndexOf('-') + 1)) || 0), 0);
}

/** Blobs of the topics that begin with `prefix`. */
export function largeBlobs(
  engine: Pick<Engine, 'blobs'>,
  prefix: string,
  deadline: number,
): Promise<readonly string[]> {
  return engine.blobs.list(`large/${prefix}`, { deadline });
}

const nothing = new Uint8Array(0);

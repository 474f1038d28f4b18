/**
 * Entries over the log's own limit (data core, rule 2): the entry is stored as a blob, and the log gets a reference to it,
 * with its parent's hash for the chain and the blob's for its content. The blob is durable before the reference is appended,
 * so what a log names is there. Its name holds the position that it was stored for: compare-and-append lets it in there or
 * nowhere, so once the log begins behind that position nobody can name the blob any more, and it may go. That also collects
 * what a crash left between the two; it needs no clock, and no list of what is in use.
 */
import { hash } from 'node:crypto';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import { openBulkhead } from '../degradation/bulkhead.ts';
import type { Engine } from '../log/engine.ts';
import { pack, unpack } from './codec.ts';
import { decodeEntry, type LogEntry } from './entry.ts';

/** The entry format of a reference (rule 25). */
export const referenceFormat = 3;

/** What stands in the log in place of a large entry. */
export interface Reference {
  /** As in the entry itself: the chain can be followed without the blob. */
  readonly parent: string;
  readonly blob: string;
  /** Of the blob's bytes. */
  readonly sha256: string;
}

/** First bytes of an array of four that begins with the format, in MessagePack. */
const mark = [0x94, referenceFormat] as const;

export function isReference(body: Uint8Array): boolean {
  return body[0] === mark[0] && body[1] === mark[1];
}

/** @throws CORRUPT for what is none. */
export function decodeReference(body: Uint8Array): Reference {
  const [, parent, blob, sha256] = unpack(body) as unknown[];
  if (typeof parent !== 'string' || typeof blob !== 'string' || typeof sha256 !== 'string')
    throw new TandemError('CORRUPT', 'a reference to a large entry has an unknown shape');
  return { parent, blob, sha256 };
}

/** The entry that `blob` holds. @throws CORRUPT when it is not the one that was referred to. */
export function entryIn(blob: Uint8Array, reference: Reference): LogEntry {
  return decodeEntry(checked(blob, reference));
}

function checked(bytes: Uint8Array, { blob, sha256 }: NamedBlob): Uint8Array {
  if (sha256Of(bytes) === sha256) return bytes;
  throw new TandemError('CORRUPT', `blob '${blob}' is not what the log names by that hash`);
}

/** What the log has in `body`: an entry, or the reference to a large one that is not `fetched` yet. */
export function partAt(body: Uint8Array, fetched: LogEntry | undefined): LogEntry | Reference {
  if (!isReference(body)) return decodeEntry(body);
  return fetched ?? decodeReference(body);
}

/** A blob that a log names, and the hash of its bytes. */
export interface NamedBlob {
  readonly blob: string;
  readonly sha256: string;
}

export interface LargeEntriesOptions {
  readonly engine: Pick<Engine, 'log' | 'blobs'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly engineTimeoutMs: number;
}

/** Large entries that one process reads at once, whatever the number of its partitions; each takes a few times its bytes. */
const fetchesMax = 4;

/** The large entries of all partitions and topics that one process holds. */
export class LargeEntries {
  readonly #o: LargeEntriesOptions;
  readonly #room: ReturnType<typeof openBulkhead>;
  /** By blob: catching up and following may want the same one. */
  readonly #fetching = new Map<string, Promise<Uint8Array>>();

  constructor(options: LargeEntriesOptions) {
    this.#o = options;
    const { clock } = options;
    this.#room = openBulkhead({ clock, concurrencyMax: fetchesMax, queuedMax: 4096, what: 'reading large entries' });
  }

  /** The reference for the entry in `body`, which is to be appended at `position` after `put`. The name is new each time. */
  refer(log: string, position: number, parent: string, body: Uint8Array): { blob: string; reference: Uint8Array } {
    const blob = this.name(log, position);
    return { blob, reference: pack([referenceFormat, parent, blob, sha256Of(body)]) };
  }

  /** A new name for what the log can name at `position` or before, and nowhere behind it. */
  name(log: string, position: number): string {
    return `${prefixOf(log)}${String(position).padStart(16, '0')}-${this.#o.random.id()}`;
  }

  /** Durable when it resolves. */
  put(blob: string, body: Uint8Array): Promise<void> {
    return this.#o.engine.blobs.put(blob, body, this.#at());
  }

  /** For one whose append is known to have failed. What this misses is collected later. */
  async drop(blob: string): Promise<void> {
    await this.#o.engine.blobs.delete(blob, this.#at()).catch(() => {});
  }

  /** @throws NOT_FOUND when the log is trimmed past `position` by now, CORRUPT when the blob is gone or not the one. */
  async get(log: string, position: number, reference: Reference): Promise<LogEntry> {
    const entry = decodeEntry(await this.bytes(log, position, reference));
    if (entry.parent === reference.parent) return entry;
    throw new TandemError('CORRUPT', `${log} at ${position}: blob '${reference.blob}' holds an entry of another place`);
  }

  /** As `get`, of any large value that the log names at `position`. */
  bytes(log: string, position: number, named: NamedBlob): Promise<Uint8Array> {
    const { blob } = named;
    let fetching = this.#fetching.get(blob);
    if (!fetching) {
      const until = this.#o.clock.monotonic() + this.#o.engineTimeoutMs;
      fetching = this.#room
        .run(() => this.#fetch(log, position, named), until)
        .finally(() => this.#fetching.delete(blob));
      this.#fetching.set(blob, fetching);
    }
    return fetching;
  }

  async #fetch(log: string, position: number, named: NamedBlob): Promise<Uint8Array> {
    const { engine, clock, random } = this.#o;
    const at = this.#at();
    for (let attempt = 0; ; attempt++) {
      try {
        return checked(await engine.blobs.get(named.blob, at), named);
      } catch (thrown) {
        const { code, message } = TandemError.from(thrown);
        if (code !== 'NOT_FOUND' && code !== 'CORRUPT') throw thrown;
        const { first } = await engine.log.info(log, at);
        if (first > position) throw new TandemError('NOT_FOUND', `${log} is trimmed past ${position}`);
        // A replica of the engine that lags says so too: only what stays gone is gone.
        if (clock.monotonic() + rereadMsMax >= at.deadline)
          throw new TandemError(
            'CORRUPT',
            `${log} names a large entry at ${position} that cannot be read (${message}): restore the engine's data or a backup`,
            { cause: thrown },
          );
        await sleep(clock, backoffMs(random, attempt, 10, rereadMsMax));
      }
    }
  }

  /**
   * Deletes what was stored for positions before `first`, where the log begins. Call it before the next trim: then one who
   * had just read an entry as it was trimmed has as long as from one trim to the next to read its blob.
   */
  async collect(log: string, first: number): Promise<number> {
    const { blobs } = this.#o.engine;
    const prefix = prefixOf(log);
    let collected = 0;
    for (const blob of await blobs.list(prefix, this.#at())) {
      if (Number(blob.slice(prefix.length, prefix.length + 16)) >= first) continue;
      await blobs.delete(blob, this.#at());
      collected++;
    }
    return collected;
  }

  #at(): { deadline: number } {
    return { deadline: this.#o.clock.monotonic() + this.#o.engineTimeoutMs };
  }
}

const rereadMsMax = 500;

function prefixOf(log: string): string {
  return `large/${log}/`;
}

export function sha256Of(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex');
}

import type { Clock } from '../core/clock.ts';
import type { Disk, DiskFile } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import { BatchCache } from './batch-cache.ts';
import type { AppendResult, EngineOptions, Entry, Log, LogInfo } from './engine.ts';
import { LogIndex, livingIn, locationOf, offsetOf, segmentOf } from './log-index.ts';
import {
  readRecord,
  recordBytes,
  recordHeadBytes,
  recordKind,
  segmentHeadBytes,
  writeRecord,
} from './record-format.ts';
import { directoryBody, type recover } from './recovery.ts';
import { createSegment, type Segment, segmentBytes } from './segments.ts';

export interface EmbeddedEngineOptions {
  readonly directory: string;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** `fsync` (default): acknowledged means on disk. `os`: in the page cache, so that a power failure may lose the last moments. */
  readonly durability?: 'fsync' | 'os';
  /** Default 8 MiB. */
  readonly segmentBytes?: number;
}

/** A record of the batch that is being gathered. */
interface Placed {
  readonly log: LogIndex;
  readonly position: number;
  /** Offset in the batch. */
  readonly at: number;
  readonly length: number;
  /** Written again from an old segment: it moves, nothing becomes durable by it. */
  readonly copy: boolean;
}

interface Waiting {
  readonly log: LogIndex;
  readonly position: number;
  readonly resolve: (result: AppendResult) => void;
}

/** What waits for the disk: bounded in bytes, so that a slow disk refuses instead of eating memory. */
const pendingBytesMax = 64 * 1024 * 1024;
const batchBytesMax = 4 * 1024 * 1024;

export class EmbeddedLog implements Log {
  readonly #options: EmbeddedEngineOptions;
  readonly #directory: string;
  readonly #incarnation: string;
  readonly #logs: Map<string, LogIndex>;
  readonly #byId: Map<number, LogIndex>;
  readonly #segments: Segment[];
  readonly #segmentBytes: number;
  /** The last segment, for appending to it. */
  #writer: DiskFile | undefined;
  readonly #cache = new BatchCache();
  /** Logs that are followed before their first entry. */
  readonly #awaited = new Map<string, Set<() => void>>();
  #end: number;
  #batch: number;
  #nextId: number;
  #gathering = Buffer.allocUnsafe(256 * 1024);
  #spare = Buffer.allocUnsafe(256 * 1024);
  #gathered = 0;
  #placed: Placed[] = [];
  #waiting: Waiting[] = [];
  #scheduled = false;
  #flushing: Promise<void> | undefined;
  #next: Promise<Segment> | undefined;
  #dropping: Promise<void> = Promise.resolve();
  #failure: TandemError | undefined;
  #closed = false;

  constructor(
    options: EmbeddedEngineOptions,
    directory: string,
    incarnation: string,
    recovered: Awaited<ReturnType<typeof recover>>,
  ) {
    this.#options = options;
    this.#directory = directory;
    this.#incarnation = incarnation;
    this.#logs = recovered.logs;
    this.#byId = recovered.byId;
    this.#segments = recovered.segments;
    this.#segmentBytes = options.segmentBytes ?? segmentBytes;
    this.#end = recovered.end;
    this.#batch = recovered.lastBatch;
    this.#nextId = Math.max(0, ...recovered.byId.keys()) + 1;
  }

  async start(): Promise<void> {
    if (this.#segments.length === 0) await this.#roll(0);
  }

  append(
    name: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    _options: EngineOptions,
  ): Promise<AppendResult> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (this.#closed) return Promise.reject(new TandemError('CLOSED', 'the engine is stopping'));
    let bytes = 0;
    for (const body of bodies) {
      if (body.length > limits.entryBytesMax) {
        return Promise.reject(
          new TandemError(
            'TOO_LARGE',
            `an entry of ${body.length} bytes is over the limit of ${limits.entryBytesMax}`,
            { details: { limitBytes: limits.entryBytesMax } },
          ),
        );
      }
      bytes += recordBytes(body.length);
    }
    if (this.#gathered + bytes > pendingBytesMax) {
      return Promise.reject(
        new TandemError('OVERLOADED', `${pendingBytesMax} bytes wait for the disk`, { details: { retryAfterMs: 50 } }),
      );
    }
    const log = this.#logs.get(name);
    const tail = log?.tail ?? 0;
    if (expected !== 'any' && expected !== tail) return Promise.resolve({ kind: 'conflict', tail });
    if (bodies.length === 0) return Promise.resolve({ kind: 'appended', position: tail });
    return this.#gather(log ?? this.#create(name), bodies, bytes);
  }

  #gather(log: LogIndex, bodies: readonly Uint8Array[], bytes: number): Promise<AppendResult> {
    this.#reserve(bytes);
    for (const body of bodies) {
      const position = ++log.tail;
      this.#placed.push({ log, position, at: this.#gathered, length: body.length, copy: false });
      this.#gathered = writeRecord(
        this.#gathering,
        this.#gathered,
        { kind: recordKind.entry, logId: log.id, batch: this.#batch + 1, position },
        body,
      );
    }
    this.#schedule();
    return new Promise(resolve => this.#waiting.push({ log, position: log.tail, resolve }));
  }

  #create(name: string): LogIndex {
    const log = new LogIndex(name, this.#nextId++);
    this.#logs.set(name, log);
    this.#byId.set(log.id, log);
    const body = directoryBody([log]);
    this.#reserve(recordBytes(body.length));
    this.#gathered = writeRecord(
      this.#gathering,
      this.#gathered,
      { kind: recordKind.directory, logId: 0, batch: this.#batch + 1, position: 0 },
      body,
    );
    for (const wake of this.#awaited.get(name) ?? []) wake();
    this.#awaited.delete(name);
    return log;
  }

  #reserve(bytes: number): void {
    const needed = this.#gathered + bytes;
    if (needed <= this.#gathering.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#gathering.length * 2));
    this.#gathering.copy(larger, 0, 0, this.#gathered);
    this.#gathering = larger;
  }

  #schedule(): void {
    if (this.#scheduled || this.#flushing) return;
    this.#scheduled = true;
    this.#options.clock.defer(() => {
      this.#scheduled = false;
      void this.#startFlush();
    });
  }

  #startFlush(): Promise<void> {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined;
      // What was gathered between the last look and now would otherwise wait for the next append.
      if (this.#gathered > 0) this.#schedule();
    });
    return this.#flushing;
  }

  /** Writes and syncs one batch after the other until nothing is gathered. */
  async #flush(): Promise<void> {
    while (this.#gathered > 0 && !this.#failure) {
      const buffer = this.#gathering;
      const length = this.#gathered;
      const placed = this.#placed;
      const waiting = this.#waiting;
      this.#gathering = this.#spare;
      this.#spare = buffer.length <= batchBytesMax ? buffer : Buffer.allocUnsafe(256 * 1024);
      this.#gathered = 0;
      this.#placed = [];
      this.#waiting = [];
      this.#batch++;
      try {
        await this.#write(buffer.subarray(0, length), placed);
      } catch (cause) {
        this.#fail(cause, waiting);
        return;
      }
      const touched = new Set<LogIndex>();
      for (const { log, position, copy } of placed) {
        if (copy) continue;
        log.durable = position;
        touched.add(log);
      }
      for (const { position, resolve } of waiting) resolve({ kind: 'appended', position });
      for (const log of touched) log.wake();
    }
  }

  async #write(bytes: Buffer, placed: readonly Placed[]): Promise<void> {
    if (this.#end + bytes.length > this.#segmentBytes) await this.#roll(bytes.length);
    const { path, number } = this.#segments.at(-1)!;
    const at = this.#end;
    this.#writer ??= await this.#openWriter(path);
    await this.#writer.write(at, bytes);
    this.#cache.add(locationOf(number, at), bytes);
    this.#end = at + bytes.length;
    for (const entry of placed) entry.log.place(entry.position, locationOf(number, at + entry.at), entry.length);
    if (this.#end > this.#segmentBytes / 2 && !this.#next) this.#prepare(number + 1);
  }

  #openWriter(path: string): Promise<DiskFile> {
    return this.#options.disk.open(path, { durable: this.#options.durability !== 'os' });
  }

  /** Makes the next segment while there is still room in this one. */
  #prepare(number: number): void {
    this.#next = createSegment(this.#options.disk, this.#directory, number, this.#segmentBytes);
    this.#next.catch(() => {});
  }

  async #roll(bytes: number): Promise<void> {
    const number = (this.#segments.at(-1)?.number ?? 0) + 1;
    const directory = directoryBody(this.#logs.values());
    const room = segmentHeadBytes + recordBytes(directory.length) + bytes;
    const prepared = await this.#next?.catch(() => undefined);
    this.#next = undefined;
    const { disk } = this.#options;
    const fits = prepared !== undefined && room <= this.#segmentBytes;
    if (prepared && !fits) {
      await prepared.file.close();
      await disk.remove(prepared.path);
    }
    const bytesWanted = Math.max(room, this.#segmentBytes);
    const segment = fits ? prepared : await createSegment(disk, this.#directory, number, bytesWanted);
    const record = Buffer.alloc(recordBytes(directory.length));
    writeRecord(record, 0, { kind: recordKind.directory, logId: 0, batch: this.#batch, position: 0 }, directory);
    await this.#writer?.close();
    this.#writer = undefined;
    this.#writer = await this.#openWriter(segment.path);
    await this.#writer.write(segmentHeadBytes, record);
    this.#segments.push(segment);
    this.#end = segmentHeadBytes + record.length;
  }

  /** After this nothing is acknowledged: what was written may be on disk or not, and the kernel will not say. */
  #fail(cause: unknown, waiting: readonly Waiting[]): void {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC';
    const mend = full ? 'free some disk space' : 'look at the disk';
    this.#failure = new TandemError(
      'UNAVAILABLE',
      `the engine cannot write to ${this.#directory} (${reason}); it acknowledges nothing more. To go on: ${mend}, then restart the engine`,
    );
    this.#options.logger.error('the engine stopped taking appends', { reason });
    for (const { resolve } of waiting) resolve({ kind: 'unknown', cause });
    for (const { resolve } of this.#waiting) resolve({ kind: 'unknown', cause });
    this.#waiting = [];
    this.#gathered = 0;
    this.#placed = [];
  }

  /** A read suffices: one process owns the directory, so its durable tail is the tail. */
  barrier(name: string): Promise<number> {
    if (this.#failure) return Promise.reject(this.#failure);
    return Promise.resolve(this.#logs.get(name)?.durable ?? 0);
  }

  async read(name: string, from: number, bytesMax: number): Promise<readonly Entry[]> {
    const log = this.#logs.get(name);
    if (!log) return [];
    if (from < log.first)
      throw new TandemError('NOT_FOUND', `'${name}' is trimmed up to ${log.first}; load a snapshot`, {
        details: { first: log.first },
      });
    const entries: Entry[] = [];
    let bytes = 0;
    for (let position = from; position <= log.durable && (bytes < bytesMax || entries.length === 0); position++) {
      const body = this.#cached(log, position) ?? (await this.#load(log, position));
      entries.push({ position, body });
      bytes += body.length;
    }
    return entries;
  }

  #cached(log: LogIndex, position: number): Uint8Array | undefined {
    const location = log.locate(position);
    // A gap of the index is NaN, which no batch holds.
    return location === undefined
      ? undefined
      : this.#cache.get(location, recordHeadBytes + log.lengthAt(position))?.subarray(recordHeadBytes);
  }

  async #load(log: LogIndex, position: number): Promise<Uint8Array> {
    const location = log.locate(position);
    const segment =
      location === undefined ? undefined : this.#segments.find(candidate => candidate.number === segmentOf(location));
    if (location === undefined || !segment)
      throw new TandemError('NOT_FOUND', `'${log.name}' no longer has position ${position}`);
    const length = log.lengthAt(position);
    const buffer = Buffer.from(await segment.file.read(offsetOf(location), recordBytes(length)));
    const head = readRecord(buffer, 0);
    if (typeof head === 'string' || head.logId !== log.id || head.position !== position) {
      throw new TandemError(
        'CORRUPT',
        `${segment.path} is damaged at byte ${offsetOf(location)} ('${log.name}' position ${position}); run \`tandem log verify\``,
      );
    }
    return buffer.subarray(recordHeadBytes, recordHeadBytes + head.length);
  }

  async *follow(name: string, from: number, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    let next = from;
    while (!signal.aborted && !this.#closed) {
      const log = this.#logs.get(name);
      const durable = log?.durable ?? 0;
      if (next > (log?.tail ?? 0) + 1)
        throw new TandemError(
          'LOG_LOST',
          `'${name}' ends at ${log?.tail ?? 0}, but ${next - 1} was known: the log is gone or was replaced`,
        );
      if (next <= durable) {
        const entries = await this.read(name, next, 256 * 1024);
        if (signal.aborted) return;
        next = entries.at(-1)!.position + 1;
        yield entries;
      } else await this.#untilMore(name, signal);
    }
  }

  #untilMore(name: string, signal: AbortSignal): Promise<void> {
    const log = this.#logs.get(name);
    let waiting = log?.waiting ?? this.#awaited.get(name);
    if (!waiting) {
      waiting = new Set();
      this.#awaited.set(name, waiting);
    }
    const list = waiting;
    return new Promise(resolve => {
      const wake = (): void => {
        list.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      list.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  async begin(name: string, first: number): Promise<void> {
    if (this.#failure) throw this.#failure;
    if (this.#logs.has(name)) throw new TandemError('CONFLICT', `there is a log '${name}' already`);
    const log = this.#create(name);
    log.tail = first - 1;
    log.durable = first - 1;
    await this.#trimTo(log, first);
  }

  async trim(name: string, before: number): Promise<void> {
    const log = this.#logs.get(name);
    if (!log || before <= log.first) return;
    if (this.#failure) throw this.#failure;
    await this.#trimTo(log, Math.min(before, log.durable + 1));
    await this.#dropDead();
  }

  async #trimTo(log: LogIndex, before: number): Promise<void> {
    this.#reserve(recordBytes(0));
    this.#gathered = writeRecord(
      this.#gathering,
      this.#gathered,
      { kind: recordKind.trim, logId: log.id, batch: this.#batch + 1, position: before },
      new Uint8Array(0),
    );
    log.trim(before);
    const durable = new Promise<AppendResult>(resolve => this.#waiting.push({ log, position: log.tail, resolve }));
    this.#schedule();
    const result = await durable;
    if (result.kind !== 'appended')
      throw new TandemError('UNAVAILABLE', 'the trim was not stored', { outcome: 'unknown' });
  }

  /** One at a time: two that look at the same oldest segment would both remove it, and one of them the next. */
  #dropDead(): Promise<void> {
    this.#dropping = this.#dropping.then(
      () => this.#dropOldest(),
      () => this.#dropOldest(),
    );
    return this.#dropping;
  }

  /** Removes the oldest segments while nothing in them lives; what little lives on in the oldest is written again. */
  async #dropOldest(): Promise<void> {
    while (this.#segments.length > 1 && !this.#failure && !this.#closed) {
      const oldest = this.#segments[0]!;
      const living = livingIn(this.#logs.values(), oldest.number);
      let bytes = 0;
      for (const { log, position } of living) bytes += log.lengthAt(position);
      if (bytes > this.#segmentBytes / 4) return;
      await this.#copy(living);
      if (livingIn(this.#logs.values(), oldest.number).length > 0) return;
      this.#segments.shift();
      await oldest.file.close();
      await this.#options.disk.remove(oldest.path);
      await this.#options.disk.syncDirectory(this.#directory);
    }
  }

  async #copy(living: readonly { log: LogIndex; position: number }[]): Promise<void> {
    if (living.length === 0) return;
    const bodies: Uint8Array[] = [];
    for (const { log, position } of living) bodies.push(await this.#load(log, position));
    for (const [index, { log, position }] of living.entries()) {
      const body = bodies[index]!;
      this.#reserve(recordBytes(body.length));
      const at = this.#gathered;
      this.#gathered = writeRecord(
        this.#gathering,
        at,
        { kind: recordKind.copy, logId: log.id, batch: this.#batch + 1, position },
        body,
      );
      this.#placed.push({ log, position, at, length: body.length, copy: true });
    }
    const last = living.at(-1)!;
    const written = new Promise<AppendResult>(resolve =>
      this.#waiting.push({ log: last.log, position: last.position, resolve }),
    );
    this.#schedule();
    const result = await written;
    if (result.kind !== 'appended')
      throw new TandemError('UNAVAILABLE', 'the copy was not stored', { outcome: 'unknown' });
  }

  info(name: string): Promise<LogInfo> {
    const log = this.#logs.get(name);
    if (!log || (log.durable === 0 && log.first === 1))
      return Promise.reject(new TandemError('NOT_FOUND', `there is no log '${name}'`));
    return Promise.resolve({ incarnation: this.#incarnation, first: log.first, tail: log.durable, bytes: log.bytes });
  }

  list(prefix: string): Promise<readonly string[]> {
    const names: string[] = [];
    for (const log of this.#logs.values())
      if (log.name.startsWith(prefix) && (log.durable > 0 || log.first > 1)) names.push(log.name);
    return Promise.resolve(names.sort());
  }

  async close(): Promise<void> {
    this.#closed = true;
    while (this.#gathered > 0 && !this.#failure) {
      await this.#startFlush();
    }
    await this.#flushing;
    await this.#dropping.catch(() => {});
    for (const log of this.#logs.values()) log.wake();
    for (const waiting of this.#awaited.values()) for (const wake of waiting) wake();
    const prepared = await this.#next?.catch(() => undefined);
    await prepared?.file.close();
    if (prepared) await this.#options.disk.remove(prepared.path);
    await this.#writer?.close();
    for (const segment of this.#segments) await segment.file.close();
  }
}

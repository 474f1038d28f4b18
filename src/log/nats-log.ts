/**
 * Logs on JetStream: one stream per log, a position is a sequence of its stream. Reads and stream info of a leader that was
 * paused are stale (measured), so a barrier is an append of an empty body; and a read goes to any replica, so that one which
 * answers less than this process has seen is asked again.
 */
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs } from '../core/random.ts';
import type { AppendResult, EngineOptions, Entry, Log, LogInfo } from './engine.ts';
import { appendEntries, checkSizes, type NatsContext, type PublishAnswer } from './nats-append.ts';
import {
  apiCode,
  asUnavailable,
  late,
  noLeader,
  noLog,
  noMessage,
  streamNotFound,
  trimmed,
  unavailable,
} from './nats-errors.ts';
import { followStream } from './nats-follow.ts';
import { logOf, streamOf, subjectOf } from './nats-names.ts';
import { type Answered, ask, askUntilTaken, isNobody, untilConnected, within } from './nats-request.ts';
import { NatsStreams } from './nats-streams.ts';

/** Messages of one read: bounded by count as well as by bytes. */
const readMax = 512;
/** A stream without a leader may not be told of; asking again shows the next one sooner. */
const lookMs = 500;

export class NatsLog implements Log {
  readonly #c: NatsContext;
  readonly #streams: NatsStreams;
  /** The furthest position of each log that this process knows to be committed. */
  readonly #known = new Map<string, number>();

  constructor(context: NatsContext) {
    this.#c = context;
    this.#streams = new NatsStreams(context);
  }

  async append(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    options: EngineOptions,
  ): Promise<AppendResult> {
    checkSizes(bodies, this.#c.entryBytesMax);
    const begins = expected === 'any' || expected === 0;
    if (!(await this.#streams.ensure(log, begins, options))) return { kind: 'conflict', tail: 0 };
    const result = await appendEntries(this.#c, log, expected, bodies, options.deadline);
    if (result.kind === 'appended') this.#know(log, result.position);
    return result;
  }

  async barrier(log: string, options: EngineOptions): Promise<number> {
    const { link } = this.#c;
    const subject = subjectOf(link.address.app, log);
    const send = (timeoutMs: number): Promise<Answered> => ask(link, subject, new Uint8Array(0), undefined, timeoutMs);
    // Nobody there: either no stream has this subject, or its leader is not there.
    let exists = true;
    const answered = await askUntilTaken(send, this.#c, options.deadline, async () => {
      const deadline = Math.min(options.deadline, this.#c.clock.monotonic() + lookMs);
      exists = await this.#exists(log, { deadline }).catch(() => true);
      return !exists;
    });
    if (!exists) return 0;
    if (answered.kind === 'nobody') throw noLeader(log);
    if (answered.kind === 'silence') throw late(log, answered.cause);
    const { seq, error } = answered.body as PublishAnswer;
    if (seq === undefined || error) throw unavailable(log, error?.description);
    this.#know(log, seq);
    return seq;
  }

  async read(log: string, from: number, bytesMax: number, options: EngineOptions): Promise<readonly Entry[]> {
    const { clock, random, stopped } = this.#c;
    for (let attempt = 0; ; attempt++) {
      const entries = await this.#readOnce(log, from, bytesMax, options);
      if (entries.length > 0 || from > (this.#known.get(log) ?? 0)) return entries;
      // All was trimmed away, or the replica that answered lags behind what this process has seen.
      const { first } = await this.info(log, options);
      if (from < first) throw trimmed(log, first);
      await sleep(clock, 5 + backoffMs(random, attempt, 5, 200), stopped);
      if (stopped.aborted || clock.monotonic() >= options.deadline) throw late(log);
    }
  }

  async #readOnce(log: string, from: number, bytesMax: number, options: EngineOptions): Promise<readonly Entry[]> {
    const { link, clock } = this.#c;
    await untilConnected(link, clock, options.deadline);
    const entries: Entry[] = [];
    const take = async (): Promise<void> => {
      let bytes = 0;
      const batch = await link.manager.direct.getBatch(streamOf(link.address.app, log), {
        seq: from,
        batch: readMax,
        max_bytes: Math.max(bytesMax, 1),
      });
      for await (const { seq, data } of batch) {
        const due = from + entries.length;
        if (seq !== due) {
          if (entries.length === 0 && seq > due) throw trimmed(log, seq);
          break;
        }
        if (entries.length > 0 && bytes + data.length > bytesMax) break;
        bytes += data.length;
        entries.push({ position: seq, body: data.slice() });
      }
    };
    try {
      await within(take(), options.deadline, clock, `reading ${log}`);
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      const code = apiCode(cause);
      if (code === noMessage || code === 404) return [];
      // A stream that does not exist has nobody who answers.
      const nobody = code === streamNotFound || isNobody(cause) || /503/.test(String(cause));
      if (nobody && !(await this.#exists(log, options))) return [];
      throw unavailable(log, String(cause), cause);
    }
    return entries;
  }

  follow(log: string, from: number, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    const { link, stopped } = this.#c;
    const context = {
      ...this.#c,
      log,
      stream: streamOf(link.address.app, log),
      info: (options: EngineOptions) => this.info(log, options),
      barrier: (options: EngineOptions) => this.barrier(log, options),
    };
    return followStream(context, from, AbortSignal.any([signal, stopped]));
  }

  async begin(log: string, first: number, { deadline }: EngineOptions): Promise<void> {
    await this.#streams.begin(log, first, deadline);
  }

  async trim(log: string, before: number, options: EngineOptions): Promise<void> {
    const { link, clock } = this.#c;
    const found = await this.#find(log, options);
    if (!found || before <= found.first) return;
    // Beyond the tail a purge would move it. Information that is old makes this trim less.
    const seq = Math.min(before, found.tail + 1);
    const purged = link.manager.streams.purge(streamOf(link.address.app, log), { seq });
    await within(purged, options.deadline, clock, `trimming ${log}`).catch(asUnavailable(log));
  }

  async info(log: string, options: EngineOptions): Promise<LogInfo> {
    const { link, clock } = this.#c;
    const asked = link.manager.streams.info(streamOf(link.address.app, log));
    const { state, created } = await within(asked, options.deadline, clock, `looking at ${log}`).catch(cause => {
      if (apiCode(cause) === streamNotFound) throw noLog(log);
      return asUnavailable(log)(cause);
    });
    const { first_seq: first, last_seq: tail, bytes } = state;
    if (tail === 0) throw noLog(log);
    this.#know(log, tail);
    return { incarnation: created, first: Math.max(1, first), tail, bytes };
  }

  async list(prefix: string, { deadline }: EngineOptions): Promise<readonly string[]> {
    const { link, clock } = this.#c;
    const { app } = link.address;
    const collect = async (): Promise<string[]> => {
      const logs: string[] = [];
      for await (const stream of link.manager.streams.names(`${app}.log.>`)) {
        const log = logOf(app, stream);
        if (log?.startsWith(prefix)) logs.push(log);
      }
      return logs.sort();
    };
    return within(collect(), deadline, clock, 'listing logs').catch(asUnavailable(prefix));
  }

  #know(log: string, position: number): void {
    if (position > (this.#known.get(log) ?? 0)) this.#known.set(log, position);
  }

  /** Undefined for a log that has no entries. @throws UNAVAILABLE (not-done) */
  async #find(log: string, options: EngineOptions): Promise<LogInfo | undefined> {
    try {
      return await this.info(log, options);
    } catch (cause) {
      const { code, message } = TandemError.from(cause);
      if (code !== 'NOT_FOUND') throw new TandemError('UNAVAILABLE', message, { cause, outcome: 'not-done' });
      return undefined;
    }
  }

  async #exists(log: string, options: EngineOptions): Promise<boolean> {
    return (await this.#find(log, options)) !== undefined;
  }
}

/**
 * Logs on JetStream: one stream per log, a position is a sequence of its stream. The guard of an append is the stream's
 * expected last sequence, which the leader judges against what is committed and under way. Several bodies travel as one atomic
 * batch (NATS ADR-50). Reads and stream info of a leader that was paused are stale (measured), so a barrier is an append of
 * an empty body.
 */
import type { MsgHdrs } from '@nats-io/transport-node';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { AppendResult, EngineOptions, Entry, Log, LogInfo } from './engine.ts';
import { checkStream } from './nats-checks.ts';
import { type Answered, apiCode, ask, type NatsLink, noMessage, streamNotFound, within } from './nats-connection.ts';
import { followStream } from './nats-follow.ts';
import { logOf, streamOf, subjectOf } from './nats-names.ts';

export interface NatsContext {
  readonly link: NatsLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stopped: AbortSignal;
  /** Largest body that fits a message with its headers. */
  readonly entryBytesMax: number;
}

/** NATS takes at most so many messages in one atomic batch. */
const batchMax = 1000;
/** Messages of one read: bounded by count as well as by bytes. */
const readMax = 512;
/** From here on a cluster works for its streams more than for their entries; each one with replicas is a Raft group. */
const streamsMany = 300;

const expectedSequence = 'Nats-Expected-Last-Sequence';
/** Refusals that say for certain that nothing was stored, by NATS's own numbers. */
const wrongSequence: ReadonlySet<number> = new Set([10_071, 10_164]);
const full: ReadonlySet<number> = new Set([10_023, 10_047, 10_077, 10_086]);
const tooLarge: ReadonlySet<number> = new Set([10_054, 10_199]);

interface PublishAnswer {
  readonly seq?: number;
  readonly error?: { readonly err_code?: number; readonly description?: string };
}

export class NatsLog implements Log {
  readonly #c: NatsContext;
  /** Streams that were seen to be as they must. */
  readonly #checked = new Map<string, Promise<void>>();
  #warned = false;

  constructor(context: NatsContext) {
    this.#c = context;
  }

  async append(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    options: EngineOptions,
  ): Promise<AppendResult> {
    const { entryBytesMax } = this.#c;
    const large = bodies.find(body => body.length > entryBytesMax);
    if (large || bodies.length > batchMax) {
      const message = large
        ? `an entry of ${large.length} bytes is over the limit of ${entryBytesMax}`
        : `${bodies.length} entries are over the limit of ${batchMax} for one append`;
      throw new TandemError('TOO_LARGE', message, { outcome: 'not-done' });
    }
    await this.#ensure(log, options);
    const answered = await this.#publish(log, expected, bodies, options);
    if (answered.kind === 'nobody') throw noLeader(log);
    if (answered.kind === 'silence') return { kind: 'unknown', cause: answered.cause };
    const { seq, error } = answered.body as PublishAnswer;
    if (!error && seq !== undefined) return { kind: 'appended', position: seq };
    const code = error?.err_code ?? 0;
    const text = error?.description ?? 'no reason given';
    if (wrongSequence.has(code)) return { kind: 'conflict', tail: Number(/(\d+)\s*$/.exec(text)?.[1] ?? 0) };
    if (tooLarge.has(code)) throw new TandemError('TOO_LARGE', `NATS: ${text}`, { outcome: 'not-done' });
    if (full.has(code)) throw new TandemError('UNAVAILABLE', `NATS: ${text}`, { outcome: 'not-done' });
    return { kind: 'unknown', cause: new Error(`NATS ${code}: ${text}`) };
  }

  /** Sent once; all messages of a batch but the last go without an answer, which the last one's stands for. */
  #publish(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    { deadline }: EngineOptions,
  ): Promise<Answered> {
    const { link, clock, random } = this.#c;
    const subject = subjectOf(link.address.app, log);
    const timeoutMs = deadline - clock.monotonic();
    const id = bodies.length > 1 ? random.id() : undefined;
    const headersOf = (index: number): MsgHdrs | undefined => {
      if (index > 0 && id === undefined) return undefined;
      if (index === 0 && id === undefined && expected === 'any') return undefined;
      const headers = link.headers();
      if (index === 0 && expected !== 'any') headers.set(expectedSequence, String(expected));
      if (id !== undefined) {
        headers.set('Nats-Batch-Id', id);
        headers.set('Nats-Batch-Sequence', String(index + 1));
        if (index === bodies.length - 1) headers.set('Nats-Batch-Commit', '1');
      }
      return headers;
    };
    const last = bodies.length - 1;
    if (link.connected) {
      for (let i = 0; i < last; i++) link.connection.publish(subject, bodies[i]!, { headers: headersOf(i)! });
    }
    return ask(link, subject, bodies[last]!, headersOf(last), timeoutMs);
  }

  async barrier(log: string, options: EngineOptions): Promise<number> {
    const { link, clock } = this.#c;
    const subject = subjectOf(link.address.app, log);
    const timeoutMs = options.deadline - clock.monotonic();
    const answered = await ask(link, subject, new Uint8Array(0), undefined, timeoutMs);
    if (answered.kind === 'answer') {
      const { seq, error } = answered.body as PublishAnswer;
      if (seq !== undefined && !error) return seq;
      throw unavailable(log, error?.description);
    }
    if (answered.kind === 'silence') throw late(log, answered.cause);
    // Nobody there: either no stream has this subject, or its leader is not there.
    if (await this.#exists(log, options)) throw noLeader(log);
    return 0;
  }

  async read(log: string, from: number, bytesMax: number, options: EngineOptions): Promise<readonly Entry[]> {
    const { link, clock } = this.#c;
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
      if (code === noMessage || code === 404 || (await this.#isNobody(log, cause, options))) return [];
      throw unavailable(log, String(cause), cause);
    }
    return entries;
  }

  follow(log: string, from: number, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    const { link } = this.#c;
    return followStream(
      {
        ...this.#c,
        log,
        stream: streamOf(link.address.app, log),
        info: options => this.info(log, options),
        barrier: options => this.barrier(log, options),
      },
      from,
      AbortSignal.any([signal, this.#c.stopped]),
    );
  }

  async trim(log: string, before: number, { deadline }: EngineOptions): Promise<void> {
    const { link, clock } = this.#c;
    const stream = streamOf(link.address.app, log);
    await within(link.manager.streams.purge(stream, { seq: before }), deadline, clock, `trimming ${log}`).catch(
      cause => {
        throw cause instanceof TandemError ? cause : unavailable(log, String(cause), cause);
      },
    );
  }

  async info(log: string, { deadline }: EngineOptions): Promise<LogInfo> {
    const { link, clock } = this.#c;
    try {
      const found = await within(
        link.manager.streams.info(streamOf(link.address.app, log)),
        deadline,
        clock,
        `looking at ${log}`,
      );
      const { first_seq: first, last_seq: tail, bytes } = found.state;
      if (tail === 0) throw notFound(log);
      return { incarnation: found.created, first: Math.max(1, first), tail, bytes };
    } catch (cause) {
      if (cause instanceof TandemError) throw cause;
      throw apiCode(cause) === streamNotFound ? notFound(log) : unavailable(log, String(cause), cause);
    }
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
    return within(collect(), deadline, clock, 'listing logs').catch(cause => {
      throw cause instanceof TandemError ? cause : unavailable(prefix, String(cause), cause);
    });
  }

  async #exists(log: string, options: EngineOptions): Promise<boolean> {
    try {
      await this.info(log, options);
      return true;
    } catch (cause) {
      const { code, message } = TandemError.from(cause);
      if (code !== 'NOT_FOUND') throw new TandemError('UNAVAILABLE', message, { cause, outcome: 'not-done' });
      return false;
    }
  }

  /** A stream that does not exist has nobody who answers. */
  async #isNobody(log: string, cause: unknown, options: EngineOptions): Promise<boolean> {
    if (!/no responders|503/i.test(String(cause)) && apiCode(cause) !== streamNotFound) return false;
    return !(await this.#exists(log, options));
  }

  /** Makes the stream when it is not there; adding one that is there as it should be changes nothing. */
  #ensure(log: string, options: EngineOptions): Promise<void> {
    let checked = this.#checked.get(log);
    if (!checked) {
      checked = this.#make(log, options);
      this.#checked.set(log, checked);
      checked.catch(() => this.#checked.delete(log));
    }
    return checked;
  }

  async #make(log: string, { deadline }: EngineOptions): Promise<void> {
    const { link, clock } = this.#c;
    if (!link.connected) throw new TandemError('UNAVAILABLE', 'NATS cannot be reached', { outcome: 'not-done' });
    const { app } = link.address;
    const name = streamOf(app, log);
    const streams = link.manager.streams;
    const made = async (): Promise<void> => {
      const found = await streams.info(name).catch(cause => {
        if (apiCode(cause) === streamNotFound) return undefined;
        throw cause;
      });
      if (found) return checkStream(name, found.config as never, link.replicas);
      await streams.add({
        name,
        subjects: [subjectOf(app, log)],
        retention: 'limits',
        storage: 'file',
        discard: 'new',
        num_replicas: link.replicas,
        max_msgs: -1,
        max_bytes: -1,
        max_age: 0,
        max_msgs_per_subject: -1,
        deny_delete: true,
        deny_purge: false,
        allow_rollup_hdrs: false,
        allow_direct: true,
        allow_atomic: true,
        // A message is told from its repeat by the guard and by what it holds, not by an id.
        duplicate_window: 0,
      } as never);
      void this.#count();
    };
    await within(made(), deadline, clock, `making ${log}`).catch(cause => {
      if (cause instanceof TandemError && cause.code !== 'DEADLINE_EXCEEDED') throw cause;
      throw unavailable(log, cause instanceof Error ? cause.message : String(cause), cause);
    });
  }

  async #count(): Promise<void> {
    const { clock, logger } = this.#c;
    if (this.#warned) return;
    try {
      const { length } = await this.list('', { deadline: clock.monotonic() + limits.engineTimeoutMs });
      if (length <= streamsMany) return;
      this.#warned = true;
      logger.warn('this app has many streams on NATS; fewer partitions would serve it better', { streams: length });
    } catch {
      // Counting is a courtesy.
    }
  }
}

function notFound(log: string): TandemError {
  return new TandemError('NOT_FOUND', `there is no log ${log}`, { outcome: 'not-done' });
}
export function trimmed(log: string, first: number): TandemError {
  return new TandemError('NOT_FOUND', `${log} begins at ${first}: what was before is trimmed`, { outcome: 'not-done' });
}
function noLeader(log: string): TandemError {
  return new TandemError('UNAVAILABLE', `${log} has no leader on NATS at the moment`, { outcome: 'not-done' });
}
function unavailable(log: string, why: string | undefined, cause?: unknown): TandemError {
  return new TandemError('UNAVAILABLE', `${log}: ${why ?? 'NATS gave no reason'}`, { cause, outcome: 'not-done' });
}
function late(log: string, cause: unknown): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', `${log}: NATS did not answer in time`, { cause, outcome: 'not-done' });
}

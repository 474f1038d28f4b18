/**
 * Appends one source's events to one topic log, in order, each batch only after the one before it is confirmed. A
 * batch of unknown fate is sent again with the same numbers: readers skip what they have. So nothing is lost, nothing
 * counts twice, and order holds, without any compare-and-append.
 */
import type { Clock } from '../core/clock.ts';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { AppendResult, Engine } from '../log/engine.ts';
import { LargeEvents, moreRoom } from './large-events.ts';

interface Waiting {
  readonly body: Uint8Array;
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  settled: boolean;
}

/** What of an engine topics need. */
export type TopicEngine = Pick<Engine, 'log' | 'blobs' | 'capabilities'>;

export interface TopicWriterOptions {
  readonly engine: TopicEngine;
  readonly topicLog: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** Events of one batch: bounded so that one append stays well below the engine's own limits. */
const batchMax = 256;
const batchBytesMax = limits.entryBytesMax;
/** An event with its source, number and key. */
const encodedBytesMax = limits.eventBytesMax + 262_144;
/** Events that may wait for one topic log, and their bytes. */
export const queueMax = 8192;
const queueBytesMax = 67_108_864;

export class TopicWriter {
  readonly #options: TopicWriterOptions;
  readonly #large: LargeEvents;
  #queue: Waiting[] = [];
  #queuedBytes = 0;
  /** The batch that is being sent: its fate is open until it is confirmed. */
  #batch: Waiting[] = [];
  readonly #stopped = new AbortController();
  #sending = false;

  constructor(options: TopicWriterOptions) {
    this.#options = options;
    this.#large = new LargeEvents(options);
  }

  /** Events that are not yet confirmed. */
  get pending(): number {
    return this.#queue.length + this.#batch.length;
  }

  /** Resolves when the event is durable. Call in number order. @throws OVERLOADED, TOO_LARGE, CLOSED, UNAVAILABLE (not done), DEADLINE_EXCEEDED (its outcome says what is known). */
  send(body: Uint8Array, deadline: number): Promise<void> {
    const { topicLog } = this.#options;
    if (this.#stopped.signal.aborted) return Promise.reject(new TandemError('CLOSED', 'this publisher is closed'));
    if (body.length > encodedBytesMax) {
      const message = `an event for ${topicLog} has ${body.length} bytes, more than ${encodedBytesMax}`;
      return Promise.reject(new TandemError('TOO_LARGE', message, { details: { bytesMax: encodedBytesMax } }));
    }
    if (this.#queue.length >= queueMax || (this.#queuedBytes > 0 && this.#queuedBytes + body.length > queueBytesMax)) {
      const details = { retryAfterMs: 100 };
      const what = `${this.#queue.length} events of ${this.#queuedBytes} bytes wait for ${topicLog}`;
      return Promise.reject(new TandemError('OVERLOADED', what, { details }));
    }
    return new Promise((resolve, reject) => {
      this.#queuedBytes += body.length;
      this.#queue.push({ body, deadline, resolve, reject, settled: false });
      if (!this.#sending) void this.#drain();
    });
  }

  /** Ends at once: what was not sent is not done, what is on its way is of unknown fate. */
  close(): void {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort();
    const unknown = new TandemError('CLOSED', 'the publisher was closed while the event was on its way', {
      outcome: 'unknown',
    });
    for (const waiting of this.#batch) fail(waiting, unknown);
    for (const waiting of this.#emptied()) fail(waiting, new TandemError('CLOSED', 'this publisher is closed'));
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    while (this.#queue.length > 0) {
      this.#batch = this.#take();
      const failure = await this.#confirm(this.#batch);
      for (const waiting of this.#batch) failure ? fail(waiting, failure) : succeed(waiting);
      this.#batch = [];
      if (failure) this.#refuseQueued(failure);
    }
    this.#sending = false;
  }

  /** What waits behind a failed batch must not pass it: a reader would take the later numbers and skip the failed ones when they are sent again. */
  #refuseQueued(cause: TandemError): void {
    const refusal = new TandemError('UNAVAILABLE', `${this.#options.topicLog} does not take events now`, { cause });
    for (const waiting of this.#emptied()) fail(waiting, refusal);
  }

  #emptied(): Waiting[] {
    this.#queuedBytes = 0;
    return this.#queue.splice(0);
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      bytes += waiting.body.length;
      if (count === batchMax || (count > 0 && bytes > batchBytesMax)) break;
      count++;
    }
    const batch = this.#queue.splice(0, count);
    for (const { body } of batch) this.#queuedBytes -= body.length;
    return batch;
  }

  /** Sends the whole batch, those who gave up on waiting included, until it is certain or nobody waits any more. */
  async #confirm(batch: readonly Waiting[]): Promise<TandemError | undefined> {
    const { engine, topicLog, clock, random } = this.#options;
    const { signal } = this.#stopped;
    const bodies = batch.map(waiting => waiting.body);
    // Larger than a batch, it is one by itself.
    const isLarge = bodies[0]!.length > engine.capabilities.entryBytesMax;
    let room = 1;
    let reason: unknown;
    for (let attempt = 0; !signal.aborted; attempt++) {
      this.#expire(batch, attempt > 0, reason);
      const waits = batch.filter(waiting => !waiting.settled);
      if (waits.length === 0) break;
      const now = clock.monotonic();
      const first = waits.reduce((least, waiting) => Math.min(least, waiting.deadline), Number.POSITIVE_INFINITY);
      try {
        const deadline = Math.min(first, now + limits.engineTimeoutMs);
        const result = await this.#unlessClosed(
          isLarge
            ? this.#large.append(topicLog, bodies[0]!, room, deadline)
            : engine.log.append(topicLog, 'any', bodies, { deadline }),
        );
        if (result?.kind === 'appended') return undefined;
        reason = result?.kind === 'unknown' ? result.cause : undefined;
        if (result?.kind === 'conflict') room = moreRoom(room);
      } catch (cause) {
        reason = cause;
        if (TandemError.from(cause).code === 'TOO_LARGE') return TandemError.from(cause);
      }
      if (signal.aborted) break;
      this.#expire(batch, true, reason);
      await sleep(clock, 1 + backoffMs(random, attempt, 20, 1000), signal);
    }
    return late(topicLog, true, reason);
  }

  #unlessClosed(append: Promise<AppendResult>): Promise<AppendResult | undefined> {
    const { signal } = this.#stopped;
    return new Promise((resolve, reject) => {
      const stop = (): void => resolve(undefined);
      signal.addEventListener('abort', stop, { once: true });
      append.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
    });
  }

  /** Tells those whose time is over. What was sent goes on being sent, for order; what only waited in line is taken out. */
  #expire(batch: readonly Waiting[], sent: boolean, reason: unknown): void {
    const { clock, topicLog } = this.#options;
    const now = clock.monotonic();
    for (const waiting of batch) if (waiting.deadline <= now) fail(waiting, late(topicLog, sent, reason));
    if (!this.#queue.some(waiting => waiting.deadline <= now)) return;
    for (const waiting of this.#queue) if (waiting.deadline <= now) fail(waiting, late(topicLog, false, reason));
    this.#queue = this.#queue.filter(waiting => !waiting.settled);
    this.#queuedBytes = this.#queue.reduce((sum, { body }) => sum + body.length, 0);
  }
}

function late(topicLog: string, sent: boolean, cause: unknown): TandemError {
  const fate = sent ? 'the event may or may not be there' : 'the event was not sent';
  return new TandemError('DEADLINE_EXCEEDED', `${topicLog} did not confirm in time; ${fate}`, {
    outcome: sent ? 'unknown' : 'not-done',
    cause,
  });
}

function succeed(waiting: Waiting): void {
  if (waiting.settled) return;
  waiting.settled = true;
  waiting.resolve();
}

function fail(waiting: Waiting, error: TandemError): void {
  if (waiting.settled) return;
  waiting.settled = true;
  waiting.reject(error);
}

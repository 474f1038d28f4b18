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
import type { Log } from '../log/engine.ts';

interface Waiting {
  readonly body: Uint8Array;
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

export interface TopicWriterOptions {
  readonly log: Log;
  readonly topicLog: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** Events of one batch: bounded so that one append stays well below the engine's own limits. */
const batchMax = 256;
const batchBytesMax = limits.entryBytesMax;
const queueMax = 8192;

export class TopicWriter {
  readonly #options: TopicWriterOptions;
  readonly #queue: Waiting[] = [];
  readonly #stopped = new AbortController();
  #sending = false;

  constructor(options: TopicWriterOptions) {
    this.#options = options;
  }

  /** Resolves when the event is durable. Call in number order. @throws OVERLOADED, CLOSED, DEADLINE_EXCEEDED (its fate is then unknown). */
  send(body: Uint8Array, deadline: number): Promise<void> {
    if (this.#stopped.signal.aborted) return Promise.reject(new TandemError('CLOSED', 'this publisher is closed'));
    if (this.#queue.length >= queueMax) {
      return Promise.reject(
        new TandemError('OVERLOADED', `${queueMax} events wait for ${this.#options.topicLog}`, {
          details: { retryAfterMs: 100 },
        }),
      );
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ body, deadline, resolve, reject });
      if (!this.#sending) void this.#drain();
    });
  }

  close(): void {
    this.#stopped.abort();
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    while (this.#queue.length > 0) {
      const batch = this.#take();
      const failure = await this.#confirm(batch);
      for (const waiting of batch) failure ? waiting.reject(failure) : waiting.resolve();
      if (failure) this.#refuseQueued(failure);
    }
    this.#sending = false;
  }

  /** What waits behind a failed batch must not pass it: a reader would take the later numbers and skip the failed ones when they are sent again. */
  #refuseQueued(cause: TandemError): void {
    const refusal = new TandemError('UNAVAILABLE', `${this.#options.topicLog} does not take events now`, { cause });
    for (const waiting of this.#queue.splice(0)) waiting.reject(refusal);
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#queue) {
      bytes += waiting.body.length;
      if (count === batchMax || (count > 0 && bytes > batchBytesMax)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  /** Sends until it is certain, or until the last waiter's deadline. A later batch never passes an unconfirmed one: it fails with it. */
  async #confirm(batch: readonly Waiting[]): Promise<TandemError | undefined> {
    const { log, topicLog, clock, random } = this.#options;
    const bodies = batch.map(waiting => waiting.body);
    const giveUpAt = Math.max(...batch.map(waiting => waiting.deadline));
    let reason: unknown;
    for (let attempt = 0; !this.#stopped.signal.aborted && clock.monotonic() < giveUpAt; attempt++) {
      try {
        const deadline = Math.min(giveUpAt, clock.monotonic() + limits.engineTimeoutMs);
        const result = await log.append(topicLog, 'any', bodies, { deadline });
        if (result.kind === 'appended') return undefined;
        reason = result.kind === 'unknown' ? result.cause : undefined;
      } catch (cause) {
        reason = cause;
        if (TandemError.from(cause).code === 'TOO_LARGE') return TandemError.from(cause);
      }
      await sleep(clock, backoffMs(random, attempt, 20, 1000), this.#stopped.signal);
    }
    return new TandemError(
      'DEADLINE_EXCEEDED',
      `${topicLog} did not confirm in time; the events may or may not be there`,
      { cause: reason },
    );
  }
}

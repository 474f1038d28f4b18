/**
 * Following a stream: an ordered consumer brings its messages, and what it brings is checked here, for it recovers by itself
 * from gaps but proves nothing. A stream that is shorter than what was seen, or was made anew, is lost, never followed on.
 */
import type { ConsumerMessages } from '@nats-io/jetstream';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { EngineOptions, Entry, LogInfo } from './engine.ts';
import type { NatsLink } from './nats-connection.ts';
import { trimmed } from './nats-errors.ts';

export interface FollowContext {
  readonly link: NatsLink;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly log: string;
  readonly stream: string;
  readonly info: (options: EngineOptions) => Promise<LogInfo>;
  readonly barrier: (options: EngineOptions) => Promise<number>;
}

/** How often a stream is looked at: it may have been made anew, or its consumer be gone, and say nothing of that. */
const lookMs = 3000;
/** Between two looks for a stream that nobody has made yet. */
const absentMs = 100;
const batchMax = 512;
/**
 * What may wait for a slow reader. The library asks for more as soon as messages come, however slowly they are read; so beyond
 * this the consumer is ended, and another made when all that waited was read.
 */
const waitingBytesMax = 8 * 1024 * 1024;
const waitingMax = 8192;

export async function* followStream(
  context: FollowContext,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<readonly Entry[]> {
  const { clock, random, logger, log } = context;
  const end: End = { next: from, incarnation: undefined };
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      if ((await begin(context, end)) !== undefined) {
        for await (const entries of messages(context, end, signal)) {
          attempt = 0;
          yield entries;
          if (signal.aborted) return;
        }
      } else {
        await sleep(clock, absentMs, signal);
        attempt = 0;
        continue;
      }
    } catch (cause) {
      const error = TandemError.from(cause);
      if (signal.aborted) return;
      if (error.code === 'NOT_FOUND' || error.code === 'LOG_LOST') throw error;
      logger.debug('following again', { log, code: error.code, message: error.message });
    }
    await sleep(clock, backoffMs(random, attempt, 25, 1000), signal);
  }
}

interface End {
  /** The position that is due. */
  next: number;
  incarnation: string | undefined;
}

/** Looks whether the stream still holds what is due, and gives its tail; undefined when there is no stream yet. */
async function begin({ clock, log, info, barrier }: FollowContext, end: End): Promise<number | undefined> {
  const at = (): EngineOptions => ({ deadline: clock.monotonic() + limits.engineTimeoutMs });
  const found = await info(at()).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return undefined;
    throw cause;
  });
  if (!found) {
    if (end.next > 1) throw lost(log, 'its stream is not there any more');
    return undefined;
  }
  end.incarnation ??= found.incarnation;
  if (found.incarnation !== end.incarnation) throw lost(log, 'its stream was made anew');
  if (found.first > end.next) {
    throw trimmed(log, found.first);
  }
  // Such information may be old; only an append shows the tail. It lies behind the tail that it shows.
  if (found.tail < end.next - 1 && (await barrier(at())) < end.next) {
    throw lost(log, `it ends before ${end.next - 1}`);
  }
  return found.tail;
}

function lost(log: string, why: string): TandemError {
  return new TandemError('LOG_LOST', `${log}: ${why}; restore the streams of this app, and find out what removed them`);
}

/** Messages in order from `end.next` on, in batches as they come; ends when the stream must be looked at again. */
async function* messages(context: FollowContext, end: End, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
  const { link, clock, stream } = context;
  const { jetstream } = await import('@nats-io/jetstream');
  const consumer = await jetstream(link.connection).consumers.get(stream, {
    deliver_policy: 'by_start_sequence',
    opt_start_seq: end.next,
  } as never);
  let waiting: Entry[] = [];
  let waitingBytes = 0;
  let wake: (() => void) | undefined;
  let over = false;
  const finish = (): void => {
    over = true;
    wake?.();
  };
  let consuming: ConsumerMessages | undefined;
  consuming = await consumer.consume({
    max_messages: batchMax,
    callback: message => {
      if (over) return;
      // A copy: the library's buffer holds the whole of what came in one read.
      waiting.push({ position: message.seq, body: message.data.slice() });
      waitingBytes += message.data.length;
      if (waitingBytes > waitingBytesMax || waiting.length > waitingMax) {
        finish();
        consuming?.stop();
      } else wake?.();
    },
  });
  void consuming.closed().then(finish, finish);
  signal.addEventListener('abort', finish, { once: true });
  const disconnected = link.onConnection(finish);
  let lookAt = clock.monotonic() + lookMs;
  let lookedAtNext = end.next;
  try {
    while (!over || waiting.length > 0) {
      if (waiting.length === 0) {
        const pause = new AbortController();
        await Promise.race([
          new Promise<void>(resolve => {
            wake = resolve;
          }),
          sleep(clock, Math.max(0, lookAt - clock.monotonic()), pause.signal),
        ]);
        pause.abort();
        wake = undefined;
      }
      if (waiting.length > 0) {
        const batch = inOrder(waiting, end);
        waiting = [];
        waitingBytes = 0;
        if (batch === undefined) return;
        if (batch.length > 0) yield batch;
      }
      if (signal.aborted) return;
      if (clock.monotonic() < lookAt) continue;
      const tail = await begin(context, end);
      // A consumer may be gone with the server that had it, and not come back: with entries due and none come, another is made.
      if (tail !== undefined && tail >= end.next && end.next === lookedAtNext) return;
      lookedAtNext = end.next;
      lookAt = clock.monotonic() + lookMs;
    }
  } finally {
    disconnected();
    signal.removeEventListener('abort', finish);
    await consuming.close().catch(() => {});
  }
}

/** What is new; undefined after a gap. */
function inOrder(entries: readonly Entry[], end: End): readonly Entry[] | undefined {
  const batch: Entry[] = [];
  for (const entry of entries) {
    if (entry.position < end.next) continue;
    if (entry.position > end.next) return batch.length > 0 ? batch : undefined;
    batch.push(entry);
    end.next++;
  }
  return batch;
}

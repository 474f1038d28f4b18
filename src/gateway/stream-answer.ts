/**
 * A stream of items as Server-Sent Events, or as one JSON per line when the client asks for `application/x-ndjson`. The client's own pace holds the stream
 * back (no item is pulled while the socket is full). An SSE stream ends with an `end` or `error` event, so a client can tell an end from a cut; NDJSON has
 * no place for an error, so a failed stream is cut off without the final chunk.
 */
import type { ServerResponse } from 'node:http';
import { type Clock, every } from '../core/clock.ts';
import { breakOff, isGone } from './http-version.ts';
import { type Problem, problemOf } from './problem.ts';

export interface StreamAnswerOptions {
  readonly clock: Clock;
  readonly ndjson: boolean;
  readonly heartbeatMs: number;
  readonly requestId: string;
  readonly headers: () => string[];
}

/** How long an answer's head waits for the first item, so that a refusal can still be an HTTP status. */
const headWaitMs = 250;

/** Resolves when the answer is over, with the problem that ended it, if any. @throws what the stream throws before the head was sent. */
export async function answerStream(
  response: ServerResponse,
  items: AsyncIterable<unknown>,
  options: StreamAnswerOptions,
): Promise<Problem | undefined> {
  const iterator = items[Symbol.asyncIterator]();
  let next = iterator.next();
  await first(next, options.clock);
  const type = options.ndjson ? 'application/x-ndjson' : 'text/event-stream';
  const head = ['content-type', type, 'cache-control', 'no-store', 'x-accel-buffering', 'no', ...options.headers()];
  response.writeHead(200, head);
  response.flushHeaders();
  const beat = every(options.clock, options.heartbeatMs, () => {
    if (!options.ndjson && !response.writableNeedDrain) response.write(':\n\n');
  });
  try {
    for (;;) {
      const step = await next;
      if (step.done) break;
      const text = JSON.stringify(step.value ?? null);
      const writable = response.write(options.ndjson ? `${text}\n` : `data: ${text}\n\n`);
      if (!writable && !(await drained(response))) return undefined;
      next = iterator.next();
    }
    response.end(options.ndjson ? undefined : 'event: end\ndata: {}\n\n');
    return undefined;
  } catch (thrown) {
    const problem = problemOf(thrown, options.requestId);
    if (options.ndjson) breakOff(response);
    else response.end(`event: error\ndata: ${JSON.stringify(problem)}\n\n`);
    return problem;
  } finally {
    beat.cancel();
    await iterator.return?.();
  }
}

/** Waits for the first item, not too long. @throws what it throws, so that the caller can answer with a status. */
function first(next: Promise<unknown>, clock: Clock): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(headWaitMs, () => resolve(undefined));
    next.then(
      value => {
        timer.cancel();
        resolve(value);
      },
      thrown => {
        timer.cancel();
        reject(thrown);
      },
    );
  });
}

/** False when the client is gone. */
function drained(response: ServerResponse): Promise<boolean> {
  if (isGone(response)) return Promise.resolve(false);
  return new Promise(resolve => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve(!isGone(response));
    };
    response.on('drain', done).on('close', done);
  });
}

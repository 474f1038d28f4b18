/** Where in a topic partition a time or an amount of bytes begins: found by reading on from the first event that is kept. */
import type { Engine, Log } from '../log/engine.ts';
import { decodeEvent } from './event.ts';
import { largeBlobs, largeBytes } from './large-events.ts';

const readBytes = 1_048_576;
/** The first look: mostly nothing is to be passed over. */
const lookBytes = 1024;

export interface RangeOptions {
  readonly log: Log;
  readonly topicLog: string;
  /** Of the next step, of which a long log takes many: absolute, monotonic ms. */
  readonly deadline: () => number;
}

export interface SizeOptions extends RangeOptions {
  readonly engine: Pick<Engine, 'blobs'>;
}

/**
 * Position of the first event that was stamped at `atMs` (wall ms) or later; the one behind the tail when there is none. A
 * source that was cut off sends older events late, so times do not only grow along a log: nothing but looking at all tells.
 */
export async function positionAt({ log, topicLog, deadline }: RangeOptions, atMs: number): Promise<number> {
  const { first, tail } = await log.info(topicLog, { deadline: deadline() });
  for (let next = first; next <= tail; ) {
    const entries = await log.read(topicLog, next, next === first ? lookBytes : readBytes, { deadline: deadline() });
    if (entries.length === 0) break;
    for (const { position, body } of entries) {
      // What a barrier left.
      if (body.length > 0 && decodeEvent(body).at >= atMs) return position;
      next = position + 1;
    }
  }
  return tail + 1;
}

/** Position from which on at most `bytes` are kept, large events included; the newest event is, whatever its size. */
export async function positionOfLast({ engine, log, topicLog, deadline }: SizeOptions, bytes: number): Promise<number> {
  const info = await log.info(topicLog, { deadline: deadline() });
  const inBlobs = largeBytes(await largeBlobs(engine, `${topicLog}/`, deadline()));
  let over = info.bytes + inBlobs - bytes;
  let next = info.first;
  while (over > 0 && next <= info.tail) {
    const entries = await log.read(topicLog, next, readBytes, { deadline: deadline() });
    if (entries.length === 0) break;
    for (const { position, body } of entries) {
      if (over <= 0) break;
      over -= body.length;
      if (inBlobs > 0 && body.length > 0) over -= decodeEvent(body).large?.bytes ?? 0;
      next = position + 1;
    }
  }
  return Math.min(next, Math.max(info.first, info.tail));
}

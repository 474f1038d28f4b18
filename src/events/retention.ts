/**
 * Drops old events of the topics that a service subscribes to, or says it publishes to: past their age, or beyond the bytes that a partition of the
 * topic may hold. As in Kafka it asks no reader: a group that has not read them by then is stopped and says so. Whichever
 * instance writes the state partition that a topic partition's name falls into does it; several services of one topic do
 * the same work twice, which is harmless.
 */
import type { Topic } from '../contract/topic.ts';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Engine } from '../log/engine.ts';
import type { Keyspace } from '../state/keyspace.ts';
import type { LargeEvents } from './large-events.ts';
import { positionAt, positionOfLast, type SizeOptions } from './log-range.ts';
import { topicLog } from './publisher.ts';

/** Between two looks. An event may live so much longer than it must. */
export const retentionIntervalMs = 60_000;

export interface RetentionOptions {
  readonly topics: readonly Topic[];
  readonly keyspace: Pick<Keyspace, 'partitionOf' | 'isWriter'>;
  readonly engine: Pick<Engine, 'log' | 'blobs'>;
  readonly large: LargeEvents;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function openRetention(options: RetentionOptions): { close(): void } {
  const { topics, keyspace, engine, large, clock, logger } = options;
  /**
   * Where each log began at the look before, as far as its large events are collected. One look later than it is trimmed, so
   * who had just read such an event has until then to read its body.
   */
  const collected = new Map<string, number>();
  const bounded = [...new Map(topics.map(topic => [topic.name, topic])).values()].filter(
    ({ retention }) => retention.ageMs < Number.POSITIVE_INFINITY || retention.bytes < Number.POSITIVE_INFINITY,
  );
  let closed = false;
  // Of each step: how long it takes to read through a backlog says nothing about the engine.
  const deadline = (): number => {
    if (closed) throw new TandemError('CLOSED', 'this instance stops');
    return clock.monotonic() + limits.engineTimeoutMs;
  };
  const look = async (): Promise<void> => {
    for (const { name, partitions, retention } of bounded) {
      for (let partition = 0; partition < partitions; partition++) {
        const topic = topicLog(name, partition);
        if (closed) return;
        if (!keyspace.isWriter(keyspace.partitionOf(topic))) continue;
        await enforce({ engine, log: engine.log, topicLog: topic, deadline }, retention, clock, logger, async first => {
          if (collected.get(topic) === first) return;
          await large.collect(topic, first);
          collected.set(topic, first);
        }).catch(cause => {
          const { code, message } = TandemError.from(cause);
          // A topic without a first event has no log yet.
          if (code !== 'NOT_FOUND' && !closed)
            logger.warn('old events could not be dropped; tried again', { topic, code, message });
        });
      }
    }
  };
  const timer = every(clock, retentionIntervalMs, look);
  return {
    close: () => {
      closed = true;
      timer.cancel();
    },
  };
}

async function enforce(
  at: SizeOptions,
  { ageMs, bytes }: Topic['retention'],
  clock: Clock,
  logger: Logger,
  collect: (first: number) => Promise<void>,
): Promise<void> {
  const { log, deadline } = at;
  const { first } = await log.info(at.topicLog, { deadline: deadline() });
  await collect(first);
  const byAge = ageMs < Number.POSITIVE_INFINITY ? await positionAt(at, clock.now() - ageMs) : first;
  const byBytes = bytes < Number.POSITIVE_INFINITY ? await positionOfLast(at, bytes) : first;
  const before = Math.max(byAge, byBytes);
  if (before <= first) return;
  await log.trim(at.topicLog, before, { deadline: deadline() });
  logger.info('old events were dropped', { topicLog: at.topicLog, from: first, before });
}

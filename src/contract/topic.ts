/** A named, durable, ordered sequence of events of one shape; order holds per key. Topics change by addition only. */
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { AnySchema, Out } from '../core/schema.ts';
import type { Scalar } from './method.ts';
import { checkName } from './name.ts';

// biome-ignore lint/suspicious/noExplicitAny: the event type is inferred where a topic is used
export interface Topic<E = any> {
  readonly kind: 'topic';
  readonly name: string;
  readonly schema: AnySchema;
  /** The field of the event that orders it. */
  readonly key: string;
  readonly partitions: number;
  /** How long and how much of it is kept, per partition; Infinity without a bound. */
  readonly retention: { readonly ageMs: number; readonly bytes: number };
  readonly compatibility?: Compatibility;
  /** Carries the type only; never set. */
  readonly __event?: E;
}

/**
 * What a new version of an event must keep: `backward`, it reads the old events; `forward`, those who read the old ones read the
 * new; `full`, both; `none`, nothing: readers may get what they cannot read.
 */
export type Compatibility = 'full' | 'backward' | 'forward' | 'none';

export interface TopicOptions<S> {
  readonly key: Scalar<Out<S>>;
  /** Parallelism of readers; fixed once the topic has data. Default 8. */
  readonly partitions?: number;
  /**
   * What is kept of each partition: events are dropped past `age` (default 7 days; `'forever'`) and, the oldest first, beyond
   * `bytes` (default without a bound), whether every group has read them or not: a group that is behind stops, and says so.
   * Enforced each minute by services that subscribe or say that they publish (`publishes`). Dead letters are kept until they are redriven.
   */
  readonly retention?: { readonly age?: Duration | 'forever'; readonly bytes?: number };
  /** Checked by `tandem contract check` and when an instance starts. Default full: publishers and subscribers may be renewed in any order. */
  readonly compatibility?: Compatibility;
}

/** @throws INVALID on a bad name: lower case words joined by dots or dashes. */
export function topic<S extends AnySchema>(name: string, schema: S, options: TopicOptions<S>): Topic<Out<S>> {
  checkName('topic', name);
  const { key, partitions = limits.topicPartitions, retention, compatibility } = options;
  if (compatibility !== undefined && !['full', 'backward', 'forward', 'none'].includes(compatibility))
    throw new TandemError(
      'INVALID',
      `topic '${name}': compatibility '${String(compatibility)}' is none of full, backward, forward, none`,
    );
  return {
    kind: 'topic',
    name,
    schema,
    key,
    partitions,
    retention: retentionOf(name, retention),
    ...(compatibility && { compatibility }),
  };
}

function retentionOf(name: string, { age, bytes }: TopicOptions<AnySchema>['retention'] = {}): Topic['retention'] {
  const fallback = name.startsWith('dead.') ? Number.POSITIVE_INFINITY : limits.topicRetentionMs;
  const ageMs = age === undefined ? fallback : age === 'forever' ? Number.POSITIVE_INFINITY : durationMs(age);
  if (ageMs <= 0 || (bytes !== undefined && !(bytes > 0)))
    throw new TandemError(
      'INVALID',
      `topic '${name}': retention keeps nothing; give an age or a number of bytes above 0`,
    );
  return { ageMs, bytes: bytes ?? Number.POSITIVE_INFINITY };
}

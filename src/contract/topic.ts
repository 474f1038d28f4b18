/** A named, durable, ordered sequence of events of one shape; order holds per key. Topics change by addition only. */
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
  /** Carries the type only; never set. */
  readonly __event?: E;
}

export interface TopicOptions<S> {
  readonly key: Scalar<Out<S>>;
  /** Parallelism of readers; fixed once the topic has data. Default 8. */
  readonly partitions?: number;
}

/** @throws INVALID on a bad name: lower case words joined by dots or dashes. */
export function topic<S extends AnySchema>(name: string, schema: S, options: TopicOptions<S>): Topic<Out<S>> {
  checkName('topic', name);
  return { kind: 'topic', name, schema, key: options.key, partitions: options.partitions ?? limits.topicPartitions };
}

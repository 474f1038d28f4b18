/** Publishes events of one source (this process's start) outside of a transaction. Fire and forget is not awaiting it. */
import type { Topic } from '../contract/topic.ts';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { validate } from '../core/schema.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { keyOf, packEvent } from '../state/table-codec.ts';
import { encodeEvent } from './event.ts';
import { dueTime, type LaterOptions, publishLater, type When } from './later.ts';
import { type TopicEngine, TopicWriter } from './topic-writer.ts';

export interface PublisherOptions {
  readonly engine: TopicEngine;
  /** Unique per process start. */
  readonly source: string;
  readonly clock: Clock;
  readonly random: Random;
  /** What keeps events for later; without it they are refused. */
  readonly later?: Pick<LaterOptions, 'registry' | 'caller' | 'home'>;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #writers = new Map<string, TopicWriter>();
  #number = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Resolves when durable. @throws INVALID, OVERLOADED, TOO_LARGE, CLOSED, UNSUPPORTED (not done), DEADLINE_EXCEEDED (unknown). */
  async publish(
    topic: Topic,
    event: unknown,
    deadline: number,
    traceparent: string | undefined,
    when: When = {},
  ): Promise<void> {
    const at = dueTime(when, this.#options.clock.now());
    const body = (await validate(topic.schema, event, `event of '${topic.name}'`)) as Record<string, unknown>;
    const key = keyOf(topic, body);
    if (at === undefined) await this.publishRaw(topic.name, topic.partitions, key, body, deadline, traceparent);
    else await this.publishRawAt(at, topic, key, body, deadline, traceparent);
  }

  /** As `publishRaw`, at a time (wall ms): durable at once, seen by readers then. */
  async publishRawAt(
    at: number,
    topic: Pick<Topic, 'name' | 'partitions'>,
    key: string,
    event: unknown,
    deadline: number,
    traceparent: string | undefined,
  ): Promise<void> {
    const { later, clock, random } = this.#options;
    if (!later) throw new TandemError('UNSUPPORTED', 'this publisher sends events at once only');
    packEvent(topic.name, key, event); // refused here rather than where it would wait
    return publishLater({ ...later, clock, random }, topic, { key, event, at, traceparent }, deadline);
  }

  /** For tools that know a topic from its descriptor only. */
  publishRaw(
    topic: string,
    partitions: number,
    key: string,
    body: unknown,
    deadline: number,
    traceparent: string | undefined,
  ): Promise<void> {
    const { clock, source } = this.#options;
    const packed = packEvent(topic, key, body);
    const encoded = encodeEvent({
      source,
      number: this.#number++,
      key,
      body: packed.body,
      at: clock.now(),
      traceparent,
    });
    return this.#writer(topicLog(topic, partitionOf(key, partitions))).send(encoded, deadline);
  }

  /** Lets what was published go out, for at most `graceMs`, then ends. */
  async close(graceMs = 1000): Promise<void> {
    const { clock } = this.#options;
    const end = clock.monotonic() + graceMs;
    const writers = [...this.#writers.values()];
    while (writers.some(writer => writer.pending > 0) && clock.monotonic() < end) await sleep(clock, 5);
    for (const writer of writers) writer.close();
  }

  #writer(log: string): TopicWriter {
    let writer = this.#writers.get(log);
    if (!writer) {
      writer = new TopicWriter({ ...this.#options, topicLog: log });
      this.#writers.set(log, writer);
    }
    return writer;
  }
}

export function topicLog(topic: string, partition: number): string {
  return `topic/${topic}/${partition}`;
}

/** The topic that takes what a subscription gave up on. */
export function deadLetterTopic(service: string, subscription: string): string {
  return `dead.${service}.${subscription}`;
}

/** @throws NOT_FOUND when no running service knows the topic. */
export function unknownTopic(topic: string, known: readonly string[]): TandemError {
  return new TandemError(
    'NOT_FOUND',
    `no running service knows the topic '${topic}'; known: ${known.join(', ') || 'none'}`,
  );
}

/**
 * What subscriptions gave up on: reading it, and sending it into its topic again. A redriven event is a new event at the
 * end, meant for that one subscription only, so the other readers of the topic do not see it twice. The letters behind
 * it are trimmed away: the dead-letter log itself is the memory of what is left to do. A redrive that is repeated after a
 * crash sends the same (source, number), which readers recognise.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { pack } from '../replication/codec.ts';
import { bodyOf, decodeEvent, encodeEvent } from './event.ts';
import { LargeEvents } from './large-events.ts';
import type { ResumeForm } from './parking.ts';
import { deadLetterTopic, topicLog } from './publisher.ts';
import { type TopicEngine, TopicWriter } from './topic-writer.ts';

export interface DeadLetter {
  /** `service.subscription` */
  readonly subscription: string;
  readonly topic: string;
  /** Partitions of the topic. */
  readonly partitions: number;
  /** The event's key in its topic. */
  readonly key: string;
  /** The event; absent when its topic had let go of a large one before it was given up. */
  readonly event?: unknown;
  readonly error: { readonly code: string; readonly message: string };
  readonly attempts: number;
  /** Names the delivery: group, topic partition and replay. */
  readonly source: string;
  /** Position in the topic partition. */
  readonly number: number;
  /** Wall ms. */
  readonly at: number;
  /** With `onDead: 'park'`: the key that waits, event included. */
  readonly parked?: string;
}

/** A dead letter and where it lies. */
export interface StoredLetter {
  readonly log: string;
  readonly position: number;
  readonly letter: DeadLetter;
  /** Of the letter itself, as an event. */
  readonly source: string;
  readonly number: number;
  /** Of the event: which trace it belongs to. */
  readonly traceparent: string | undefined;
  /** Of the letter, about those of its event. */
  readonly bytes: number;
}

export interface DeadLetterOptions {
  readonly engine: TopicEngine;
  readonly service: string;
  readonly subscription: string;
  /** Absolute, monotonic ms. */
  readonly deadline: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface SettledOptions extends DeadLetterOptions {
  /** Whether the key of a parked letter still waits because of it. */
  readonly holds: (form: ResumeForm) => Promise<boolean>;
}

export interface RedriveOptions extends DeadLetterOptions {
  /** Oldest first of each partition; default all that are there when it begins. */
  readonly limit?: number;
  /** Lets the key of a parked letter go on; false when this letter does not hold it any more. */
  readonly resume: (form: ResumeForm) => Promise<boolean>;
}

const readBytes = 1_048_576;

/** Oldest first within each partition, each letter once. @throws CORRUPT */
export async function* readDeadLetters(options: DeadLetterOptions): AsyncGenerator<StoredLetter> {
  const { log } = options.engine;
  const { deadline } = options;
  const large = new LargeEvents(options);
  const prefix = topicLog(deadLetterTopic(options.service, options.subscription), 0).slice(0, -1);
  for (const name of await log.list(prefix, { deadline })) {
    const { first, tail } = await log.info(name, { deadline });
    const numbers = new Map<string, number>();
    for (let next = first; next <= tail; ) {
      for (const entry of await log.read(name, next, readBytes, { deadline })) {
        next = entry.position + 1;
        if (entry.body.length === 0) continue;
        const event = decodeEvent(entry.body);
        if (event.number <= (numbers.get(event.source) ?? -1)) continue;
        numbers.set(event.source, event.number);
        const { source, number, traceparent } = event;
        const whole = await large.whole(name, entry.position, event);
        const letter = bodyOf(whole) as DeadLetter;
        const bytes = whole.body.length;
        yield { log: name, position: entry.position, letter, source, number, traceparent, bytes };
      }
    }
  }
}

/** How many dead letters wait. Counts a relay's repeats twice, which only a crash makes. */
export async function countDeadLetters({
  engine: { log },
  deadline,
  ...options
}: Omit<DeadLetterOptions, 'clock' | 'random'>): Promise<number> {
  const prefix = topicLog(deadLetterTopic(options.service, options.subscription), 0).slice(0, -1);
  let count = 0;
  for (const name of await log.list(prefix, { deadline })) {
    const { first, tail } = await log.info(name, { deadline });
    count += tail - first + 1;
  }
  return count;
}

/**
 * Drops the oldest letters of parked keys that went on otherwise: discarded, or resumed by name. Those behind a letter that is
 * still needed stay until that one goes, since a log is trimmed from its beginning only.
 */
export async function dropSettled(options: SettledOptions): Promise<void> {
  const large = new LargeEvents(options);
  const { engine, subscription, deadline, holds } = options;
  const settled = new Map<string, number>();
  const ended = new Set<string>();
  for await (const { log, position, letter } of readDeadLetters(options)) {
    if (ended.has(log)) continue;
    const { parked, source, number } = letter;
    if (parked === undefined || (await holds({ subscription, key: parked, dead: { source, number }, look: true })))
      ended.add(log);
    else settled.set(log, position + 1);
  }
  for (const [log, before] of settled) {
    await engine.log.trim(log, before, { deadline });
    await large.collect(log, before);
  }
}

/**
 * Sends dead letters into their topic as new events and drops the letters. Answers how many were sent.
 * @throws UNSUPPORTED at a letter without its event (nothing behind it is sent), DEADLINE_EXCEEDED: repeat, it goes on.
 */
export async function redrive(options: RedriveOptions): Promise<number> {
  const { engine, clock, random, deadline, limit = Number.POSITIVE_INFINITY } = options;
  const large = new LargeEvents(options);
  const writers = new Map<string, TopicWriter>();
  let sent = 0;
  const send = async ({ log: from, letter, source, number, traceparent }: StoredLetter): Promise<boolean> => {
    if (letter.parked !== undefined) {
      return options.resume({
        subscription: options.subscription,
        key: letter.parked,
        dead: { source: letter.source, number: letter.number },
      });
    }
    if (!('event' in letter)) {
      throw new TandemError('UNSUPPORTED', `the letter of ${letter.source} ${letter.number} does not hold its event`);
    }
    const target = topicLog(letter.topic, partitionOf(letter.key, letter.partitions));
    const writer = writers.get(target) ?? new TopicWriter({ engine, topicLog: target, clock, random });
    writers.set(target, writer);
    const event = {
      source: `redrive/${from}/${source}`,
      number,
      key: letter.key,
      body: pack(letter.event),
      at: clock.now(),
      traceparent,
      only: letter.subscription,
    };
    await writer.send(encodeEvent(event), deadline);
    return true;
  };
  try {
    let previous: StoredLetter | undefined;
    const drop = async ({ log: name, position }: StoredLetter): Promise<void> => {
      await engine.log.trim(name, position + 1, { deadline });
      await large.collect(name, position + 1);
    };
    for await (const stored of readDeadLetters(options)) {
      if (previous && previous.log !== stored.log) await drop(previous);
      if (sent >= limit) break;
      if (await send(stored)) sent++;
      previous = stored;
    }
    if (previous) await drop(previous);
    return sent;
  } finally {
    for (const writer of writers.values()) writer.close();
  }
}

/**
 * What a topic looks like now, gathered when someone asks: its logs from the engine, its readers from the instances that
 * run them, dead letters from their logs. Nothing is counted while events flow. Rate and skew come from the newest events
 * themselves: all that were published since a moment from which on the sample is complete in every partition.
 */
import { type Clock, isoTime } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Log, LogInfo } from '../log/engine.ts';
import type { Registry } from '../naming/registry.ts';
import type { Sender } from '../state/keyspace.ts';
import { countDeadLetters } from './dead-letters.ts';
import { decodeEvent } from './event.ts';
import { largeBlobs, largeBytes } from './large-events.ts';
import { topicLog } from './publisher.ts';
import type { StoppedBy } from './reader.ts';
import type { TopicEngine } from './topic-writer.ts';

/** What an instance answers to `$event.readers`. */
export interface ReadersForm {
  readonly readers: readonly {
    readonly subscription: string;
    readonly topic: string;
    readonly partition: number;
    /** All entries up to here are done. */
    readonly position: number;
    /** Entries taken up to here. */
    readonly taken: number;
    readonly stopped: StoppedBy;
  }[];
  readonly parked: readonly { readonly subscription: string; readonly keys: number; readonly events: number }[];
}

export interface TopicView {
  readonly topic: string;
  readonly key: string;
  readonly partitions: readonly {
    readonly partition: number;
    readonly first: number;
    readonly tail: number;
    readonly events: number;
    readonly bytes: number;
  }[];
  readonly groups: readonly GroupView[];
  /** Undefined unless asked for. */
  readonly recent?: RecentView;
}

export interface GroupView {
  /** `service.subscription` */
  readonly group: string;
  /** Events that wait or are being handled; null while some partition has no reader. */
  readonly lag: number | null;
  readonly oldestWaitingMs: number | null;
  /** Keys that wait for a person, and their events. */
  readonly parked: { readonly keys: number; readonly events: number };
  readonly dead: number;
  readonly readers: readonly {
    readonly partition: number;
    /** Null while nobody reads it, or who does could not be asked. */
    readonly instance: string | null;
    readonly position: number | null;
    readonly lag: number | null;
    /** Age of the oldest event that is not done; null when there is none. */
    readonly oldestWaitingMs: number | null;
    readonly stopped: StoppedBy;
  }[];
}

/** Of the newest events: at most `sampleMax` of each partition. */
export interface RecentView {
  /** Every event published since then is counted here. */
  readonly since: string | null;
  readonly events: number;
  /** Over the last minute, or since `since` where that is less. */
  readonly perSecond: number;
  readonly overMs: number;
  /** By partition. */
  readonly partitions: readonly number[];
  /** The busiest, most events first. */
  readonly keys: readonly { readonly key: string; readonly events: number; readonly share: number }[];
}

export interface TopicViewOptions {
  readonly engine: TopicEngine;
  readonly registry: Registry;
  readonly caller: Sender;
  readonly clock: Clock;
  /** Absolute, monotonic ms. */
  readonly deadline: number;
}

const sampleMax = 1000;
const sampleBytesMax = 4_194_304;
const readBytes = 1_048_576;
const keysShown = 5;
const rateOverMs = 60_000;
/** An instance that does not answer must not hold up the rest. */
const askMs = 2000;

/** One topic with its recent events, or all of them without. @throws NOT_FOUND */
export async function viewTopics(options: TopicViewOptions, wanted: string | undefined): Promise<TopicView[]> {
  const { registry } = options;
  const descriptors = registry.services().map(service => registry.descriptor(service)!);
  const topics = new Map(descriptors.flatMap(({ topics: of }) => of).map(topic => [topic.name, topic]));
  if (wanted !== undefined && !topics.has(wanted)) {
    const known = [...topics.keys()].sort().join(', ') || 'none';
    throw new TandemError('NOT_FOUND', `no running service knows the topic '${wanted}'; known: ${known}`);
  }
  const shown = [...topics.values()]
    .filter(({ name }) => wanted === undefined || name === wanted)
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const answers = await askReaders(options);
  const large = await largeBlobs(
    options.engine,
    wanted === undefined ? 'topic/' : `topic/${wanted}/`,
    options.deadline,
  );
  return Promise.all(
    shown.map(async ({ name, key, partitions: count }) => {
      const { log } = options.engine;
      const { deadline } = options;
      const partitions = await Promise.all(
        Array.from({ length: count }, async (_, partition) => {
          const { first, tail, bytes } = await infoOf(log, topicLog(name, partition), deadline);
          const inBlobs = largeBytes(large.filter(blob => blob.startsWith(`large/${topicLog(name, partition)}/`)));
          return { partition, first, tail, events: tail - first + 1, bytes: bytes + inBlobs };
        }),
      );
      const groups = descriptors.flatMap(({ service, subscriptions }) =>
        subscriptions
          .filter(({ topic }) => topic === name)
          .map(subscription => viewGroup(options, service, subscription.name, name, partitions, answers)),
      );
      const recent = wanted === undefined ? undefined : await viewRecent(options, name, partitions);
      return { topic: name, key, partitions, groups: await Promise.all(groups), ...(recent && { recent }) };
    }),
  );
}

interface Answer extends ReadersForm {
  readonly service: string;
  readonly instance: string;
}

async function askReaders({ registry, caller, clock, deadline }: TopicViewOptions): Promise<Answer[]> {
  const until = Math.min(deadline, clock.monotonic() + askMs);
  const asked = registry.services().flatMap(service => {
    if (!registry.descriptor(service)?.keyspace) return [];
    return registry.instances(service).map(async member => {
      const { body } = await caller.send(member, '$event.readers', null, { deadline: until });
      return { ...(body as ReadersForm), service, instance: member.beat.id };
    });
  });
  const settled = await Promise.allSettled(asked);
  return settled.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
}

async function viewGroup(
  options: TopicViewOptions,
  service: string,
  subscription: string,
  topic: string,
  partitions: TopicView['partitions'],
  answers: readonly Answer[],
): Promise<GroupView> {
  const { engine, clock, deadline } = options;
  const { log } = engine;
  const mine = answers.filter(answer => answer.service === service);
  const readers = await Promise.all(
    partitions.map(async ({ partition, tail }) => {
      // While a reader moves two may answer; the one that is ahead goes on.
      const found = mine
        .flatMap(({ readers: of, instance }) => of.map(reader => ({ ...reader, instance })))
        .filter(reader => reader.subscription === subscription && reader.partition === partition)
        .sort((a, b) => b.position - a.position)[0];
      if (!found) return { partition, instance: null, position: null, lag: null, oldestWaitingMs: null, stopped: null };
      const { instance, position, stopped } = found;
      const lag = Math.max(0, tail - position);
      const at = lag > 0 ? await publishedAt(log, topicLog(topic, partition), position + 1, deadline) : undefined;
      const oldestWaitingMs = at === undefined ? null : Math.max(0, clock.now() - at);
      return { partition, instance, position, lag, oldestWaitingMs, stopped };
    }),
  );
  const parked = { keys: 0, events: 0 };
  for (const part of mine.flatMap(answer => answer.parked)) {
    if (part.subscription !== subscription) continue;
    parked.keys += part.keys;
    parked.events += part.events;
  }
  const ages = readers.flatMap(({ oldestWaitingMs }) => oldestWaitingMs ?? []);
  return {
    group: `${service}.${subscription}`,
    lag: readers.some(({ lag }) => lag === null) ? null : readers.reduce((sum, { lag }) => sum + lag!, 0),
    oldestWaitingMs: ages.length > 0 ? Math.max(...ages) : null,
    parked,
    dead: await countDeadLetters({ engine, service, subscription, deadline }),
    readers,
  };
}

/** Newest events, oldest first, at most `sampleMax` and about `sampleBytesMax` of each partition. */
async function viewRecent(
  { engine: { log }, clock, deadline }: TopicViewOptions,
  topic: string,
  partitions: TopicView['partitions'],
): Promise<RecentView> {
  const samples = await Promise.all(
    partitions.map(async ({ partition, first, tail, events, bytes }) => {
      const count = Math.min(sampleMax, Math.max(1, Math.floor((sampleBytesMax * events) / Math.max(1, bytes))));
      const from = Math.max(first, tail - count + 1);
      const found: { key: string; at: number }[] = [];
      for (let next = from; next <= tail; ) {
        const entries = await log.read(topicLog(topic, partition), next, readBytes, { deadline }).catch(trimmedAway);
        if (entries.length === 0) break;
        for (const { position, body } of entries) {
          next = position + 1;
          if (body.length === 0) continue; // a barrier
          const { key, at } = decodeEvent(body);
          found.push({ key, at });
        }
      }
      return { found, whole: from <= first };
    }),
  );
  // Of a partition that was cut off, all is known since its first event here; so since the latest of those moments all is known of all.
  const cuts = samples.flatMap(({ found, whole }) => (whole ? [] : (found[0]?.at ?? [])));
  const oldest = Math.min(...samples.flatMap(({ found }) => found.map(({ at }) => at)));
  const since = cuts.length > 0 ? Math.max(...cuts) : oldest;
  const nowMs = clock.now();
  const overMs = Number.isFinite(since) ? Math.max(1, Math.min(rateOverMs, nowMs - since)) : rateOverMs;
  const counts = new Map<string, number>();
  let lately = 0;
  let events = 0;
  const byPartition = samples.map(({ found }) => {
    const within = found.filter(({ at }) => at >= since);
    for (const { key, at } of within) {
      counts.set(key, (counts.get(key) ?? 0) + 1);
      if (at >= nowMs - overMs) lately++;
    }
    events += within.length;
    return within.length;
  });
  const keys = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, keysShown);
  return {
    since: Number.isFinite(since) ? isoTime(since) : null,
    events,
    perSecond: lately / (overMs / 1000),
    overMs,
    partitions: byPartition,
    keys: keys.map(([key, count]) => ({ key, events: count, share: count / events })),
  };
}

/** When the event at, or next behind, a position was published. */
async function publishedAt(log: Log, name: string, from: number, deadline: number): Promise<number | undefined> {
  for (let next = from; ; ) {
    const entries = await log.read(name, next, 1, { deadline }).catch(trimmedAway);
    if (entries.length === 0) return undefined;
    for (const { position, body } of entries) {
      next = position + 1;
      if (body.length > 0) return decodeEvent(body).at;
    }
  }
}

/** Retention may pass between two questions. */
function trimmedAway(cause: unknown): readonly [] {
  if (TandemError.from(cause).code === 'NOT_FOUND') return [];
  throw cause;
}

async function infoOf(log: Log, name: string, deadline: number): Promise<Pick<LogInfo, 'first' | 'tail' | 'bytes'>> {
  return log.info(name, { deadline }).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return { first: 1, tail: 0, bytes: 0 };
    throw cause;
  });
}

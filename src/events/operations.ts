/**
 * What a person does to a subscription, from a terminal or a test: looks at what it gave up on and at keys that wait, lets them
 * go on or drops what holds them up, and lets it read its topic again. Each finds the instances by the registry.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Registry } from '../naming/registry.ts';
import type { Sender } from '../state/keyspace.ts';
import { type DeadLetter, type DeadLetterOptions, dropSettled, readDeadLetters, redrive } from './dead-letters.ts';
import { positionAt, type RangeOptions } from './log-range.ts';
import type { ParkedKey, ResumeForm } from './parking.ts';
import { topicLog } from './publisher.ts';
import { checkReplay, type ReplayForm } from './replay.ts';
import type { TopicEngine } from './topic-writer.ts';

export interface OperationsOptions {
  readonly engine: TopicEngine;
  readonly registry: Registry;
  readonly caller: Sender;
  readonly clock: Clock;
  readonly random: Random;
  /** The deadline of what may take so long; waits until it is known who is there. Default: everybody is known. */
  readonly deadline?: (timeoutMs: number) => Promise<number>;
}

/** A dead letter, and the trace that its event belongs to. */
export interface ShownLetter extends DeadLetter {
  readonly traceId?: string;
}

export type ReplayStart =
  | 'earliest'
  | { readonly position: number; readonly partition: number }
  | { readonly atMs: number };

/** Where a replay begins in one partition of the topic. */
export interface ReplayedPartition {
  readonly partition: number;
  readonly from: number;
  readonly events: number;
  /** It begins with the oldest that is kept: there were older ones, which retention has dropped. */
  readonly dropped: boolean;
}

/** Each takes `service.subscription`. @throws NOT_FOUND for one that no running service has. */
export interface Operations {
  /** What it gave up on, up to `limit`, oldest first of each partition. Bodies beyond about 4 MiB are left out. */
  deadLetters(subscription: string, limit: number, timeoutMs: number): Promise<readonly ShownLetter[]>;
  /** Sends up to `limit` of them into their topic again, or lets their parked keys go on; answers how many. */
  redrive(subscription: string, limit: number, timeoutMs: number): Promise<number>;
  /** Keys that wait because an event of theirs was given up, up to `limit`. */
  parked(subscription: string, limit: number, timeoutMs: number): Promise<readonly ParkedKey[]>;
  /** Lets one parked key go on with the event that failed. False when it is not parked. */
  resume(subscription: string, key: string, timeoutMs: number): Promise<boolean>;
  /** Drops the event that holds up a parked key; those behind it go on. False when the key is not parked. */
  discard(subscription: string, key: string, timeoutMs: number): Promise<boolean>;
  /** Lets a group read its topic again, from `from` on in each partition, or in one. Answers where each begins. */
  replay(subscription: string, from: ReplayStart, timeoutMs: number): Promise<readonly ReplayedPartition[]>;
}

/** While a partition goes from one writer to the next, it has none. */
const triesMax = 20;
/** What one answer may hold of events: it must fit a frame. */
const shownBytesMax = 4_194_304;

export function operationsOn(options: OperationsOptions): Operations {
  const { engine, registry, caller, clock, random } = options;

  const lettersOf = async (name: string, timeoutMs: number): Promise<DeadLetterOptions> => {
    const deadline = await (options.deadline?.(timeoutMs) ?? clock.monotonic() + timeoutMs);
    const known = registry
      .services()
      .flatMap(service => registry.descriptor(service)?.subscriptions.map(each => `${service}.${each.name}`) ?? []);
    if (!known.includes(name)) {
      const list = known.join(', ') || 'none';
      throw new TandemError('NOT_FOUND', `no running service has the subscription '${name}'; known: ${list}`);
    }
    const dot = name.indexOf('.');
    return { engine, service: name.slice(0, dot), subscription: name.slice(dot + 1), deadline, clock, random };
  };

  /** Any instance that is ready: it passes on what another must do. */
  const askOne = async (service: string, method: string, body: unknown, deadline: number): Promise<unknown> => {
    for (let attempt = 0; ; attempt++) {
      const ready = registry.instances(service).filter(({ beat, verdict }) => beat.ready && verdict === 'alive');
      try {
        const member = ready[attempt % ready.length];
        if (!member) throw new TandemError('UNAVAILABLE', `no instance of '${service}' is ready`);
        return (await caller.send(member, method, body, { deadline })).body;
      } catch (cause) {
        const { code, outcome } = TandemError.from(cause);
        const pauseMs = 50 + backoffMs(random, attempt, 50, 500);
        const passes = outcome === 'not-done' && (code === 'MOVED' || code === 'UNAVAILABLE');
        if (!passes || attempt >= triesMax || clock.monotonic() + pauseMs >= deadline) throw cause;
        await sleep(clock, pauseMs);
      }
    }
  };

  const letGo = async (name: string, key: string, discard: boolean, timeoutMs: number): Promise<boolean> => {
    const letters = await lettersOf(name, timeoutMs);
    const ask = async (form: ResumeForm): Promise<boolean> =>
      (await askOne(letters.service, '$event.resume', form, letters.deadline)) as boolean;
    const found = await ask({ subscription: letters.subscription, key, ...(discard ? { discard } : {}) });
    // Its letter has said what it had to. What fails here is done with the next key, or by a redrive.
    if (found) await dropSettled({ ...letters, holds: ask }).catch(() => {});
    return found;
  };

  return {
    async deadLetters(name, limit, timeoutMs) {
      const found: ShownLetter[] = [];
      let bytes = 0;
      for await (const { letter, traceparent, bytes: size } of readDeadLetters(await lettersOf(name, timeoutMs))) {
        const { event, ...about } = letter;
        bytes += size;
        const traceId = traceparent?.split('-')[1];
        found.push({ ...(bytes <= shownBytesMax ? letter : about), ...(traceId ? { traceId } : {}) });
        if (found.length >= limit) break;
      }
      return found;
    },
    async redrive(name, limit, timeoutMs) {
      const letters = await lettersOf(name, timeoutMs);
      const resume = async (form: ResumeForm): Promise<boolean> =>
        (await askOne(letters.service, '$event.resume', form, letters.deadline)) as boolean;
      return redrive({ ...letters, limit, resume });
    },
    async parked(name, limit, timeoutMs) {
      const { service, subscription, deadline } = await lettersOf(name, timeoutMs);
      const answers = await Promise.all(
        registry
          .instances(service)
          .map(member => caller.send(member, '$event.parked', { subscription, limit }, { deadline })),
      );
      return answers.flatMap(({ body }) => body as readonly ParkedKey[]).slice(0, limit);
    },
    resume: (name, key, timeoutMs) => letGo(name, key, false, timeoutMs),
    discard: (name, key, timeoutMs) => letGo(name, key, true, timeoutMs),
    async replay(name, from, timeoutMs) {
      const { service, subscription, deadline } = await lettersOf(name, timeoutMs);
      const descriptor = registry.descriptor(service)!;
      const topic = descriptor.subscriptions.find(each => each.name === subscription)!.topic;
      const count = descriptor.topics.find(each => each.name === topic)!.partitions;
      const wanted = typeof from === 'object' && 'position' in from ? [from.partition] : [...Array(count).keys()];
      // All are looked at before any is put back: what is refused has changed nothing.
      const begun: ReplayedPartition[] = [];
      for (const partition of wanted) {
        const at = { log: engine.log, topicLog: topicLog(topic, partition), deadline: () => deadline };
        const start = await startOf(at, from);
        // Nothing was ever published there.
        if (start) begun.push({ partition, ...start });
      }
      for (const { partition, from: position } of begun) {
        const form: ReplayForm = { subscription, topicPartition: partition, from: position };
        await askOne(service, '$event.replay', form, deadline);
      }
      return begun;
    },
  };
}

/** Where a replay begins in one topic partition, and how many entries lie from there on; undefined when there is none. */
async function startOf(at: RangeOptions, from: ReplayStart): Promise<Omit<ReplayedPartition, 'partition'> | undefined> {
  const info = await at.log.info(at.topicLog, { deadline: at.deadline() }).catch(cause => {
    if (TandemError.from(cause).code === 'NOT_FOUND') return undefined;
    throw cause;
  });
  if (!info) return undefined;
  const { first, tail } = info;
  let position = first;
  if (from !== 'earliest') position = 'atMs' in from ? await positionAt(at, from.atMs) : from.position;
  checkReplay(at.topicLog, position, info);
  const events = Math.max(0, tail - position + 1);
  return { from: position, events, dropped: first > 1 && position === first && events > 0 };
}

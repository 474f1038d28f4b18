/**
 * The event side of one instance: relays what its partitions emit, reads the topic partitions whose cursors lie in
 * partitions that it writes, and handles deliveries that others send it. Everything follows the writer of a state
 * partition, so a take-over moves relays and readers along with it.
 */
import type { Topic } from '../contract/topic.ts';
import type { Answerer, Incoming, Reply } from '../core/channel.ts';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import { livingNumbers } from '../partitioning/partition-map.ts';
import type { Keyspace, Sender } from '../state/keyspace.ts';
import { type CursorRow, mayReplace } from './cursor.ts';
import { Floors } from './floors.ts';
import { type Delivery, type FloorForm, Handling } from './handling.ts';
import { LargeEvents } from './large-events.ts';
import type { LaterForm } from './later.ts';
import { type ParkedKey, parkedKeys, type ResumeForm, resume } from './parking.ts';
import { topicLog } from './publisher.ts';
import { Reader } from './reader.ts';
import { Relay } from './relay.ts';
import { checkReplay, type ReplayForm, replayed } from './replay.ts';
import { Resuming } from './resuming.ts';
import { openRetention } from './retention.ts';
import {
  type DelivererOptions,
  type DeliveryFate,
  type DeliveryForm,
  deliver,
  Slots,
  type SubscriptionDefinition,
} from './subscription.ts';
import type { ReadersForm } from './topic-view.ts';

export type { Delivery } from './handling.ts';

export interface EventsOptions {
  readonly service: string;
  readonly keyspace: Keyspace;
  readonly engine: Engine;
  readonly caller: Sender;
  readonly subscriptions: readonly SubscriptionDefinition[];
  /** Topics that the service says it publishes to: it keeps their retention, also when nobody subscribes. */
  readonly publishes?: readonly Topic[];
  readonly handle: (delivery: Delivery) => Promise<unknown>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
}

export interface Events {
  /** Answers `$event` and what begins with `$event.`. */
  readonly answer: Answerer;
  handles(method: string): boolean;
  /** Takes nothing more on, and waits up to `graceMs` for what is being handled. */
  close(graceMs?: number): Promise<void>;
}

/** Asks for parked keys of a subscription. */
export interface ParkedForm {
  readonly subscription: string;
  readonly limit: number;
}

/** Deliveries of one subscription under way at once from one process: one slow subscription does not starve the others. */
const deliveriesMax = 128;
/** Between two looks whether a partition is about to be handed over. */
const handOverLookMs = 100;

export function openEvents(options: EventsOptions): Events {
  const { keyspace, engine, clock, random, logger, meter, service } = options;
  const subscriptions = new Map(options.subscriptions.map(subscription => [subscription.name, subscription]));
  const slots = new Map(options.subscriptions.map(({ name }) => [name, new Slots(deliveriesMax)]));
  const large = new LargeEvents(options);
  const handling = new Handling({ ...options, subscriptions, large });
  const relays = new Map<number, Relay>();
  const resuming = new Map<number, Resuming>();
  const readers = new Map<
    string,
    {
      readonly partition: number;
      readonly subscription: string;
      readonly topic: string;
      readonly topicPartition: number;
      readonly reader: Reader;
    }
  >();
  const retention = openRetention({
    ...options,
    topics: [...(options.publishes ?? []), ...options.subscriptions.map(({ topic }) => topic)],
    large,
  });
  const closing = new Set<Promise<void>>();
  let closed = false;

  const deadline = (): number => clock.monotonic() + limits.engineTimeoutMs;

  /** A row of a reader or relay that has lost its partition is the next writer's; a write from here would take the partition back. */
  const update = async <V>(
    partition: number,
    table: string,
    key: string,
    next: (stored: V | undefined) => V,
  ): Promise<V> => {
    if (!keyspace.isWriter(partition))
      throw new TandemError('MOVED', `partition ${partition} is written elsewhere now`);
    return keyspace.system(partition).transact(
      undefined,
      tx => {
        const stored = tx.get(table, key) as V | undefined;
        const value = next(stored);
        if (value !== stored) tx.put(table, key, value);
        return value;
      },
      { deadline: deadline() },
    );
  };

  const openRelay = (partition: number): Relay =>
    new Relay({
      source: position => keyspace.logOf(partition, position),
      engine,
      emitted: (from, signal) => keyspace.emitted(partition, from, signal),
      loadPosition: async () => (keyspace.system(partition).get('$relay', 'position') as number | undefined) ?? 0,
      savePosition: async position => {
        await update<number>(partition, '$relay', 'position', stored => Math.max(stored ?? 0, position));
      },
      onRelayed: position => keyspace.setTrimFloor(partition, position),
      onSent: position => keyspace.relayed(partition, position),
      clock,
      random,
      logger,
    });

  const delivererOf = (subscription: SubscriptionDefinition): Omit<DelivererOptions, 'source' | 'send'> => {
    const attributes = { topic: subscription.topic.name, subscription: `${service}.${subscription.name}` };
    return {
      subscription,
      slots: slots.get(subscription.name)!,
      whole: (event, position) => handling.whole(event, subscription.topic, position),
      clock,
      random,
      logger,
      retried: meter.counter(metricNames.topicRetried, attributes),
      handled: meter.counter(metricNames.topicHandled, attributes),
      died: meter.counter(metricNames.topicDead, attributes),
      parked: meter.counter(metricNames.topicParked, attributes),
    };
  };

  const openResuming = (partition: number): Resuming => {
    const parks = options.subscriptions.filter(({ onDead }) => onDead === 'park');
    return new Resuming({
      partition,
      keyspace,
      clock,
      logger,
      deliverers: new Map(parks.map(subscription => [subscription.name, delivererOf(subscription)])),
      handle: (form, until, signal) => handling.run(form, until, signal),
    });
  };

  const openReader = (subscription: SubscriptionDefinition, topicPartition: number, partition: number): Reader => {
    const { topic } = subscription;
    const group = `${service}.${subscription.name}`;
    const source = sourceOf(service, subscription, topicPartition);
    const attributes = { topic: topic.name, subscription: group };
    const byPartition = { ...attributes, partition: String(topicPartition) };
    let floors: Floors | undefined;
    const deliverer = {
      ...delivererOf(subscription),
      source,
      send: (form: DeliveryForm, until: number, cancel: AbortSignal) => {
        const target = keyspace.partitionOf(form.key);
        floors?.touch(target, form.number);
        return send<DeliveryFate>(target, '$event', form, until, cancel);
      },
    };
    return new Reader({
      topicLog: topicLog(topic.name, topicPartition),
      group,
      from: subscription.from,
      log: engine.log,
      deliver: (event, at, signal, cancel) => deliver(deliverer, event, at, signal, cancel),
      openCursor: async first => {
        const stored = keyspace.system(partition).get('$cursor', source) as CursorRow | undefined;
        const begin = stored ?? (await first());
        const row = stored ?? (await update<CursorRow>(partition, '$cursor', source, now => now ?? begin));
        for (const generation of row.retired ?? []) await fence(`${source}/${generation}`);
        floors?.close();
        const floorSource = `${source}/${row.generation}`;
        floors = new Floors({
          // Ids went to every partition that it was divided into since.
          raise: async (touched, number) => {
            for (const partition of keyspace.heirs(touched))
              await raiseFloor({ partition, source: floorSource, number });
          },
          touched: row.touched ?? [],
          clock,
          logger,
        });
        return row;
      },
      saveCursor: async given => {
        const row = { ...given, touched: floors?.partitions() ?? [] };
        const stored = await update<CursorRow>(partition, '$cursor', source, now =>
          mayReplace(row, now) ? row : now!,
        );
        if (stored === row || mayReplace(row, stored)) floors?.stored(row.position);
      },
      lag: meter.gauge(metricNames.topicLag, byPartition),
      stopped: meter.gauge(metricNames.topicStopped, byPartition),
      clock,
      random,
      logger,
    });
  };

  const raiseFloor = (floor: FloorForm): Promise<void> =>
    send(floor.partition, '$event.floor', floor, deadline(), new AbortController().signal);

  /** No delivery of `source` has an effect any more. Anywhere: which partitions it reached since the cursor was stored last nobody knows. */
  const fence = async (source: string): Promise<void> => {
    for (const partition of livingNumbers(keyspace.map))
      await raiseFloor({ partition, source, number: Number.MAX_SAFE_INTEGER });
  };

  /** To the writer of the partition: here, or over the link. */
  const send = async <R>(
    partition: number,
    method: string,
    body: unknown,
    until: number,
    signal: AbortSignal,
  ): Promise<R> => {
    const route = keyspace.route(partition, false);
    if (route.here) return (await handle(method, body, until, signal)) as R;
    const reply = await options.caller.send(route.member, method, body, { deadline: until, signal, meta: { hops: 1 } });
    return reply.body as R;
  };

  /**
   * To the writer of the partition, from who is not it: once, and never to oneself. Between two writers nobody is.
   * @throws MOVED, which is safe to repeat.
   */
  const passOn = <R>(
    partition: number,
    method: string,
    body: unknown,
    until: number,
    signal: AbortSignal,
    hops: number,
  ): Promise<R> => {
    if (hops === 0 && !keyspace.route(partition, false).here) return send(partition, method, body, until, signal);
    throw new TandemError('MOVED', `partition ${partition} is not written by this instance now; try again`);
  };

  const handle = async (
    method: string,
    body: unknown,
    until: number,
    signal: AbortSignal,
    hops = 0,
  ): Promise<unknown> => {
    if (method === '$event') return handling.run(body as DeliveryForm, until, signal);
    if (method === '$event.floor') return handling.raiseFloor(body as FloorForm, until);
    if (method === '$event.replay') return replay(body as ReplayForm, until, signal, hops);
    if (method === '$event.later') return keep(body as LaterForm, until);
    if (method === '$event.parked') return parkedHere(body as ParkedForm);
    if (method === '$event.readers') return readersHere();
    if (method === '$event.resume') return resumeKey(body as ResumeForm, until, signal, hops);
    throw new TandemError('NOT_FOUND', `events do not answer '${method}'`);
  };

  /** Whoever is asked; the writer of the cursor's partition does it. */
  const replay = async (form: ReplayForm, until: number, signal: AbortSignal, hops: number): Promise<unknown> => {
    const subscription = subscriptions.get(form.subscription);
    if (!subscription) throw new TandemError('MOVED', `this instance has no subscription '${form.subscription}'`);
    const source = sourceOf(service, subscription, form.topicPartition);
    const partition = keyspace.partitionOf(source);
    if (!keyspace.isWriter(partition)) return passOn(partition, '$event.replay', form, until, signal, hops);
    const topic = topicLog(subscription.topic.name, form.topicPartition);
    checkReplay(topic, form.from, await engine.log.info(topic, { deadline: until }));
    const before = readers.get(source)?.reader;
    readers.delete(source);
    try {
      // What it handles now is dropped: it comes again.
      await before?.close(0);
      await update<CursorRow>(partition, '$cursor', source, stored => replayed(stored, form.from));
    } finally {
      if (!closed && keyspace.isWriter(partition)) starting(partition);
    }
    return null;
  };
  const readersHere = (): ReadersForm => ({
    readers: [...readers.values()].flatMap(({ subscription, topic, topicPartition, reader }) => {
      const { progress } = reader;
      return progress ? [{ subscription, topic, partition: topicPartition, ...progress }] : [];
    }),
    parked: options.subscriptions
      .filter(({ onDead }) => onDead === 'park')
      .map(({ name }) => {
        const heads = parkedHere({ subscription: name, limit: Number.MAX_SAFE_INTEGER });
        return {
          subscription: name,
          keys: heads.length,
          events: heads.reduce((sum, { first, next }) => sum + next - first, 0),
        };
      }),
  });

  /** Parked keys of one subscription in the partitions that are written here. */
  const parkedHere = ({ subscription, limit }: ParkedForm): readonly ParkedKey[] =>
    [...resuming.keys()]
      .flatMap(partition => parkedKeys(keyspace.system(partition), subscription, limit))
      .slice(0, limit);

  /** Whoever is asked; the writer of the key's partition does it. Answers whether the key was parked. */
  const resumeKey = async (form: ResumeForm, until: number, signal: AbortSignal, hops: number): Promise<boolean> => {
    const partition = keyspace.partitionOf(form.key);
    if (!keyspace.isWriter(partition)) return passOn(partition, '$event.resume', form, until, signal, hops);
    const found = await keyspace.system(partition).transact(undefined, tx => resume(tx, form), { deadline: until });
    resuming.get(partition)?.wake();
    return found;
  };

  /** An event for later, put on the due list of its key's partition. */
  const keep = async (form: LaterForm, until: number): Promise<void> => {
    const { topic: name, partitions, key, event, at, id, born, repeated, traceparent } = form;
    const request = { id, born, inputHash: id, repeated };
    await keyspace
      .system(keyspace.partitionOf(key))
      .transact(request, tx => tx.emit({ name, partitions }, key, event, at), {
        deadline: until,
        ...(traceparent ? { traceparent } : {}),
      });
  };

  /** Who publishes from outside may not know the writer: it is sent on once. */
  const forwardLater = async ({ body, deadline: until, signal, meta }: Incoming): Promise<void> => {
    const partition = keyspace.partitionOf((body as LaterForm).key);
    if (hopsOf({ meta }) > 0) handling.checkHere(partition);
    await send(partition, '$event.later', body, until, signal);
  };

  const starting = (partition: number): void => {
    if (!relays.has(partition)) relays.set(partition, openRelay(partition));
    if (!resuming.has(partition)) resuming.set(partition, openResuming(partition));
    for (const subscription of subscriptions.values()) {
      for (let topicPartition = 0; topicPartition < subscription.topic.partitions; topicPartition++) {
        const source = sourceOf(service, subscription, topicPartition);
        if (keyspace.partitionOf(source) !== partition || readers.has(source)) continue;
        const reader = openReader(subscription, topicPartition, partition);
        const { name, topic } = subscription;
        readers.set(source, { partition, subscription: name, topic: topic.name, topicPartition, reader });
      }
    }
  };

  const track = (ending: Promise<void>): void => {
    const tracked = ending.finally(() => closing.delete(tracked));
    closing.add(tracked);
  };

  const stopping = (partition: number, graceMs?: number): void => {
    const relay = relays.get(partition);
    relays.delete(partition);
    if (relay) track(relay.close());
    stopReading(partition, graceMs);
  };

  const stopReading = (partition: number, graceMs?: number): void => {
    const resumer = resuming.get(partition);
    resuming.delete(partition);
    if (resumer) track(resumer.close(graceMs));
    for (const [source, { partition: home, reader }] of readers) {
      if (home !== partition) continue;
      readers.delete(source);
      track(reader.close(graceMs));
    }
  };

  const unsubscribe = keyspace.onWriting((partition, writing) => {
    if (closed) return;
    if (writing) starting(partition);
    else stopping(partition);
  });

  /** Readers end before their partition goes: what they handled is in their cursor by then, and is not handled again. */
  const paused = new Set<number>();
  const watching = every(clock, handOverLookMs, () => {
    for (const partition of relays.keys()) {
      if (keyspace.isHandingOver(partition)) {
        if (paused.has(partition)) continue;
        paused.add(partition);
        stopReading(partition);
      } else if (paused.delete(partition)) starting(partition);
    }
    for (const partition of paused) if (!relays.has(partition)) paused.delete(partition);
  });

  return {
    handles: method => method === '$event' || method.startsWith('$event.'),
    answer: async (incoming: Incoming): Promise<Reply> => ({
      body:
        (await (incoming.method === '$event.later'
          ? forwardLater(incoming)
          : handle(incoming.method, incoming.body, incoming.deadline, incoming.signal, hopsOf(incoming)))) ?? null,
    }),
    close: async graceMs => {
      closed = true;
      retention.close();
      unsubscribe();
      watching.cancel();
      for (const partition of [...relays.keys()]) stopping(partition, graceMs);
      await Promise.allSettled([...closing]);
      await handling.close(graceMs ?? 1000);
    },
  };
}

function hopsOf({ meta }: Pick<Incoming, 'meta'>): number {
  return ((meta ?? {}) as { hops?: number }).hops ?? 0;
}

/** Names the reader of a topic partition; hashed, it also says which partition holds its cursor. No `/` before the number: each is placed by itself. */
function sourceOf(service: string, subscription: SubscriptionDefinition, topicPartition: number): string {
  return `${service}.${subscription.name}:${subscription.topic.name}:${topicPartition}`;
}

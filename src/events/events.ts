/**
 * The event side of one instance: relays what its partitions emit, reads the topic partitions whose cursors lie in
 * partitions that it writes, and handles deliveries that others send it. Everything follows the writer of a state
 * partition, so a take-over moves relays and readers along with it.
 */
import { Session } from '../calling/session.ts';
import type { Answerer, Incoming, Reply } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { validate } from '../core/schema.ts';
import type { Engine } from '../log/engine.ts';
import { unpack } from '../replication/codec.ts';
import type { Keyspace, Scope, Sender } from '../state/keyspace.ts';
import type { CursorRow } from './cursor.ts';
import { deadLetterTopic, topicLog } from './publisher.ts';
import { Reader } from './reader.ts';
import { Relay } from './relay.ts';
import { type DeliveryForm, deliver, Slots, type SubscriptionDefinition } from './subscription.ts';

/** What the handler of one delivery is given. */
export interface Delivery {
  readonly subscription: string;
  readonly event: unknown;
  readonly scope: Scope;
  readonly session: Session;
  readonly requestId: string;
  readonly attempt: number;
  readonly deadline: number;
  readonly signal: AbortSignal;
  readonly traceparent: string | undefined;
}

export interface EventsOptions {
  readonly service: string;
  readonly keyspace: Keyspace;
  readonly engine: Engine;
  readonly caller: Sender;
  readonly subscriptions: readonly SubscriptionDefinition[];
  readonly handle: (delivery: Delivery) => Promise<unknown>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
}

export interface Events {
  /** Answers `$event` and `$event.floor`. */
  readonly answer: Answerer;
  handles(method: string): boolean;
  close(): Promise<void>;
}

/** Deliveries that one process handles at once. */
const deliveriesMax = 256;
const floorIntervalMs = 10_000;

export function openEvents(options: EventsOptions): Events {
  const { keyspace, engine, clock, random, logger, meter, service } = options;
  const slots = new Slots(deliveriesMax);
  const subscriptions = new Map(options.subscriptions.map(subscription => [subscription.name, subscription]));
  const relays = new Map<number, Relay>();
  const readers = new Map<string, Reader>();
  const closing = new Set<Promise<void>>();
  let closed = false;

  const deadline = (): number => clock.monotonic() + limits.engineTimeoutMs;

  const openRelay = (partition: number): Relay => {
    const system = keyspace.system(partition);
    return new Relay({
      source: keyspace.logOf(partition),
      log: engine.log,
      emitted: (from, signal) => keyspace.emitted(partition, from, signal),
      loadPosition: async () => (system.get('$relay', 'position') as number | undefined) ?? 0,
      savePosition: position =>
        system.transact(undefined, tx => tx.put('$relay', 'position', position), { deadline: deadline() }),
      onRelayed: position => keyspace.setTrimFloor(partition, position),
      clock,
      random,
      logger,
    });
  };

  const openReader = (subscription: SubscriptionDefinition, topicPartition: number, partition: number): Reader => {
    const { topic } = subscription;
    const source = sourceOf(service, subscription, topicPartition);
    const attributes = {
      topic: topic.name,
      subscription: `${service}.${subscription.name}`,
      partition: String(topicPartition),
    };
    const system = keyspace.system(partition);
    const touched = new Set<number>();
    let floorAt = clock.monotonic();
    const deliverer = {
      source,
      subscription,
      slots,
      clock,
      random,
      logger,
      send: async (key: string, form: DeliveryForm, until: number) => {
        touched.add(keyspace.partitionOf(key));
        await send(keyspace.partitionOf(key), '$event', form, until);
      },
      retried: meter.counter('tandem.event.retried', { topic: topic.name, subscription: attributes.subscription }),
      handled: meter.counter('tandem.event.handled', { topic: topic.name, subscription: attributes.subscription }),
      died: meter.counter('tandem.event.dead', { topic: topic.name, subscription: attributes.subscription }),
    };
    return new Reader({
      topicLog: topicLog(topic.name, topicPartition),
      from: subscription.from,
      log: engine.log,
      deliver: (event, at, signal) => deliver(deliverer, event, at, signal),
      loadCursor: async () => system.get('$cursor', source) as CursorRow | undefined,
      saveCursor: async row => {
        await system.transact(undefined, tx => tx.put('$cursor', source, row), { deadline: deadline() });
        if (clock.monotonic() - floorAt < floorIntervalMs) return;
        floorAt = clock.monotonic();
        const floor = { source: `${source}/${row.generation}`, number: row.position };
        for (const target of [...touched]) {
          await send(target, '$event.floor', { ...floor, partition: target }, deadline());
          touched.delete(target);
        }
      },
      lag: meter.gauge('tandem.topic.lag', attributes),
      clock,
      random,
      logger,
    });
  };

  /** To the writer of the partition: here, or over the link. */
  const send = async (partition: number, method: string, body: unknown, until: number): Promise<void> => {
    const route = keyspace.route(partition, false);
    if (route.here) await handle(method, body, until, new AbortController().signal);
    else await options.caller.send(route.member, method, body, { deadline: until, meta: { hops: 1 } });
  };

  const handle = async (method: string, body: unknown, until: number, signal: AbortSignal): Promise<void> => {
    if (method === '$event.floor') {
      const { partition, source, number } = body as { partition: number; source: string; number: number };
      await keyspace.system(partition).raiseFloor(source, number, { deadline: until });
      return;
    }
    const form = body as DeliveryForm;
    const subscription = subscriptions.get(form.subscription);
    if (!subscription) throw new TandemError('MOVED', `this instance has no subscription '${form.subscription}'`);
    const event = unpack(form.event.body) as Record<string, unknown>;
    const key = String(event[subscription.key] ?? form.event.key);
    const partition = keyspace.partitionOf(key);
    const requestId = `${form.source}/${form.number}`;
    const request = { id: requestId, inputHash: requestId, delivery: { source: form.source, number: form.number } };
    if (form.dead) await giveUp(form, subscription, event, key, partition, request, until);
    else {
      const session = new Session();
      const position = Math.floor(form.event.number / 65_536);
      if (form.event.source.startsWith('state/')) session.advance(form.event.source, position);
      const scope = keyspace.scope({
        partition,
        level: 'sequential',
        session,
        deadline: until,
        signal,
        request,
        traceparent: form.event.traceparent,
      });
      const valid = await validate(subscription.topic.schema, event, `event of '${subscription.topic.name}'`);
      const { attempt } = form;
      const { traceparent } = form.event;
      await options.handle({
        subscription: subscription.name,
        event: valid,
        scope,
        session,
        requestId,
        attempt,
        deadline: until,
        signal,
        traceparent,
      });
    }
  };

  /** Under the delivery's own id: if a try did succeed after all, this changes nothing. */
  const giveUp = async (
    form: DeliveryForm,
    subscription: SubscriptionDefinition,
    event: unknown,
    key: string,
    partition: number,
    request: { id: string; delivery: { source: string; number: number } },
    until: number,
  ): Promise<void> => {
    const letter = {
      event,
      error: form.dead,
      attempts: form.attempt,
      topic: subscription.topic.name,
      source: form.source,
      number: form.number,
      at: clock.now(),
    };
    const topic = { name: deadLetterTopic(service, subscription.name), partitions: subscription.topic.partitions };
    await keyspace.system(partition).transact(request, tx => tx.emit(topic, key, letter), { deadline: until });
  };

  const starting = (partition: number): void => {
    if (!relays.has(partition)) relays.set(partition, openRelay(partition));
    for (const subscription of subscriptions.values()) {
      for (let topicPartition = 0; topicPartition < subscription.topic.partitions; topicPartition++) {
        const source = sourceOf(service, subscription, topicPartition);
        if (keyspace.partitionOf(source) === partition && !readers.has(source)) {
          readers.set(source, openReader(subscription, topicPartition, partition));
        }
      }
    }
  };

  const stopping = (partition: number): void => {
    const gone: { close(): Promise<void> }[] = [];
    const relay = relays.get(partition);
    if (relay) gone.push(relay);
    relays.delete(partition);
    for (const [source, reader] of readers) {
      if (keyspace.partitionOf(source) !== partition) continue;
      gone.push(reader);
      readers.delete(source);
    }
    for (const one of gone) {
      const closed = one.close().finally(() => closing.delete(closed));
      closing.add(closed);
    }
  };

  const unsubscribe = keyspace.onWriting((partition, writing) => {
    if (closed) return;
    if (writing) starting(partition);
    else stopping(partition);
  });

  return {
    handles: method => method === '$event' || method === '$event.floor',
    answer: async (incoming: Incoming): Promise<Reply> => {
      await handle(incoming.method, incoming.body, incoming.deadline, incoming.signal);
      return { body: null };
    },
    close: async () => {
      closed = true;
      unsubscribe();
      for (const partition of [...relays.keys()]) stopping(partition);
      await Promise.allSettled([...closing]);
    },
  };
}

/** Names the reader of a topic partition; hashed, it also says which partition holds its cursor. No `/` before the number: each is placed by itself. */
function sourceOf(service: string, subscription: SubscriptionDefinition, topicPartition: number): string {
  return `${service}.${subscription.name}:${subscription.topic.name}:${topicPartition}`;
}

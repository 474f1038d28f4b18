/**
 * The receiving end of a delivery: at the writer of the key's partition, runs the handler under the delivery's id, or
 * stores the dead letter under that same id. Who comes to the wrong place is told so, which is always safe to repeat.
 */
import { Session } from '../calling/session.ts';
import type { Topic } from '../contract/topic.ts';
import { type Clock, isoTime, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { validate } from '../core/schema.ts';
import { partitionOf } from '../partitioning/hash.ts';
import type { Keyspace, Scope } from '../state/keyspace.ts';
import type { DeadLetter } from './dead-letters.ts';
import { bodyOf, positionOf, type StoredEvent } from './event.ts';
import type { LargeEvents } from './large-events.ts';
import { join, park, parkedKey } from './parking.ts';
import { deadLetterTopic, topicLog } from './publisher.ts';
import type { DeliveryFate, DeliveryForm, SubscriptionDefinition } from './subscription.ts';

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

export interface HandlingOptions {
  readonly service: string;
  readonly keyspace: Keyspace;
  readonly subscriptions: ReadonlyMap<string, SubscriptionDefinition>;
  readonly handle: (delivery: Delivery) => Promise<unknown>;
  readonly large: LargeEvents;
  readonly clock: Clock;
}

/** Deliveries that one process handles at once, whoever sends them. */
const handlingMax = 1024;

export class Handling {
  readonly #options: HandlingOptions;
  #running = 0;
  #closing = false;

  constructor(options: HandlingOptions) {
    this.#options = options;
  }

  /** @throws MOVED, OVERLOADED (not counted as tries), or what the handler threw. */
  async run(form: DeliveryForm, until: number, signal: AbortSignal): Promise<DeliveryFate> {
    const { keyspace, subscriptions } = this.#options;
    const subscription = subscriptions.get(form.subscription);
    if (!subscription) throw new TandemError('MOVED', `this instance has no subscription '${form.subscription}'`);
    const partition = keyspace.partitionOf(form.key);
    this.checkHere(partition);
    // A handler that runs as its partition goes would run again at the next writer.
    if (this.#closing || keyspace.isHandingOver(partition))
      throw new TandemError('MOVED', `partition ${partition} is being handed over; repeat`);
    if (this.#running >= handlingMax) {
      const details = { retryAfterMs: 100 };
      throw new TandemError('OVERLOADED', `${handlingMax} events are being handled here`, { details });
    }
    this.#running++;
    try {
      if (form.dead) return await this.#giveUp(form, subscription, partition, until);
      const waits = await this.#waits(form, subscription, partition, until);
      if (waits) return waits;
      await this.#handle(form, subscription, partition, until, signal);
      return 'handled';
    } finally {
      this.#running--;
    }
  }

  /** Begins nothing more, and waits up to `graceMs` for what runs. */
  async close(graceMs: number): Promise<void> {
    const { clock } = this.#options;
    this.#closing = true;
    for (const end = clock.monotonic() + graceMs; this.#running > 0 && clock.monotonic() < end; ) await sleep(clock, 5);
  }

  /** When its key is parked it is put behind those that wait, under its own id. @throws MOVED when the key was just resumed. */
  async #waits(
    form: DeliveryForm,
    { onDead, name, topic }: SubscriptionDefinition,
    partition: number,
    deadline: number,
  ): Promise<DeliveryFate | undefined> {
    if (onDead !== 'park' || form.parked) return undefined;
    const system = this.#options.keyspace.system(partition);
    if (!parkedKey(system, name, form.key)) return undefined;
    const event = await this.whole(form.event, topic, form.number);
    // What came before, and was done or has joined then, is not run again.
    let fate: DeliveryFate = 'handled';
    await system.transact(
      requestOf(form),
      tx => {
        // Nothing is stored then, and the delivery comes again.
        if (!join(tx, name, form.key, event))
          throw new TandemError('MOVED', `key '${form.key}' of '${name}' is not parked any more`);
        fate = 'parked';
      },
      { deadline },
    );
    return fate;
  }

  /** What waits or is given up holds its body itself: its topic may let go of it. @throws NOT_FOUND, CORRUPT */
  whole(event: StoredEvent, topic: Topic, position: number): Promise<StoredEvent> {
    if (!event.large) return Promise.resolve(event);
    return this.#options.large.whole(topicLog(topic.name, partitionOf(event.key, topic.partitions)), position, event);
  }

  async raiseFloor(floor: FloorForm, until: number): Promise<void> {
    this.checkHere(floor.partition);
    const system = this.#options.keyspace.system(floor.partition);
    await system.raiseFloor(floor.source, floor.number, { deadline: until });
  }

  /** @throws MOVED when another writes this partition: the sender's map was old. */
  checkHere(partition: number): void {
    const route = this.#options.keyspace.route(partition, false);
    if (route.here && !route.arriving) return;
    const details = route.here ? { partition } : { instance: route.member.beat.id };
    throw new TandemError('MOVED', `partition ${partition} is not written by this instance`, { details });
  }

  async #handle(
    form: DeliveryForm,
    { topic }: SubscriptionDefinition,
    partition: number,
    deadline: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { traceparent, source, number } = form.event;
    const request = requestOf(form);
    // what the event's transaction wrote is there for its handler
    const session = new Session();
    if (source.startsWith('state/')) {
      session.advance(source, positionOf(number));
      await this.#options.keyspace.noteLog(source);
    }
    const event = await this.#read(form, topic);
    const scope = this.#options.keyspace.scope({
      partition,
      key: form.key,
      level: 'sequential',
      session,
      deadline,
      signal,
      request,
      traceparent,
    });
    await this.#options.handle({
      subscription: form.subscription,
      event,
      scope,
      session,
      requestId: request.id,
      attempt: form.attempt,
      deadline,
      signal,
      traceparent,
    });
  }

  /** What breaks the schema is tried again like what fails, since in a roll the next try may meet newer code; then it is a dead letter. @throws INVALID */
  async #read({ event, number, subscription }: DeliveryForm, topic: Topic): Promise<unknown> {
    const body = bodyOf(await this.whole(event, topic, number));
    try {
      return await validate(topic.schema, body, `event of '${topic.name}'`);
    } catch (cause) {
      const { code, message, details } = TandemError.from(cause);
      if (code !== 'INVALID') throw cause;
      const group = `${this.#options.service}.${subscription}`;
      const what = `the schema of '${group}' cannot read the event at position ${number} of its partition, published ${isoTime(event.at)}: ${message}`;
      const advice = `make the schema take it, then: tandem topic redrive ${group}`;
      throw new TandemError('INVALID', `${what}; ${advice}`, details ? { details } : {});
    }
  }

  /** Under the delivery's own id: if a try did succeed after all, this changes nothing, and the event counts as handled. */
  async #giveUp(
    form: DeliveryForm,
    { topic, name, onDead }: SubscriptionDefinition,
    partition: number,
    deadline: number,
  ): Promise<DeliveryFate> {
    const { keyspace, clock, service } = this.#options;
    const { dead, number, source, attempt } = form;
    const event = await this.whole(form.event, topic, number).catch(unlessGone);
    const letter: Omit<DeadLetter, 'event'> = {
      subscription: `${service}.${name}`,
      topic: topic.name,
      partitions: topic.partitions,
      key: form.event.key,
      error: dead ?? { code: 'INTERNAL', message: '' },
      attempts: attempt,
      source,
      number,
      at: clock.now(),
      ...(onDead === 'park' && event ? { parked: form.key } : {}),
    };
    const body: DeadLetter = event ? { ...letter, event: bodyOf(event) } : letter;
    const { traceparent } = form.event;
    const to = { name: deadLetterTopic(service, name), partitions: topic.partitions };
    let fate: DeliveryFate = 'handled';
    await keyspace.system(partition).transact(
      requestOf(form),
      tx => {
        if (onDead === 'park' && event) park(tx, { ...form, event }, letter.error);
        tx.emit(to, form.key, body);
        fate = 'dead';
      },
      { deadline, ...(traceparent ? { traceparent } : {}) },
    );
    return fate;
  }
}

/** What retention took, or a lost blob, is undefined; anything else may be mended by another try. */
function unlessGone(cause: unknown): undefined {
  const { code } = TandemError.from(cause);
  if (code !== 'NOT_FOUND' && code !== 'CORRUPT') throw cause;
}

export interface FloorForm {
  readonly partition: number;
  readonly source: string;
  readonly number: number;
}

function requestOf({ source, number }: DeliveryForm): {
  id: string;
  inputHash: string;
  delivery: { source: string; number: number };
} {
  const id = `${source}/${number}`;
  return { id, inputHash: id, delivery: { source, number } };
}

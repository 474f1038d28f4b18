/**
 * Delivers the events of one subscription. A delivery is a keyed call that the platform makes: it runs at the writer of
 * the key's partition under a request id made of the group, its generation and the event, so what its transaction does
 * happens once, however often it is delivered. A handler that fails is tried again with backoff; when it is given up,
 * that too is a transaction under the same id, so nobody can still succeed with it (data core, rules 17 and 18).
 */
import type { Topic } from '../contract/topic.ts';
import type { Clock } from '../core/clock.ts';
import { sleep } from '../core/clock.ts';
import { TandemError, toErrorForm } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Counter } from '../core/meter.ts';
import { backoffMs, type Random } from '../core/random.ts';
import { bodyOf, type StoredEvent } from './event.ts';
import type { EventPlace } from './reader.ts';

export interface SubscriptionDefinition {
  readonly name: string;
  readonly topic: Topic;
  /** The event field that orders and places the handler. */
  readonly key: string;
  readonly attemptsMax: number;
  readonly onDead: 'skip' | 'park';
  readonly from: 'earliest' | 'latest';
  /** Of one try. Default `handlerTimeoutMs`. */
  readonly timeoutMs?: number;
}

/** What travels to the instance that handles the event. */
export interface DeliveryForm {
  readonly subscription: string;
  /** Names the group, topic partition and replay: the source of the delivery's number. */
  readonly source: string;
  /** Position in the topic partition. */
  readonly number: number;
  /** Places the handler. */
  readonly key: string;
  readonly attempt: number;
  readonly event: StoredEvent;
  /** It waited with its key, which was resumed (`onDead: 'park'`). */
  readonly parked?: true;
  /** Set when this delivery is being given up: why. */
  readonly dead?: { readonly code: string; readonly message: string };
}

/** What became of a delivery: done by its handler, stored as a dead letter, or put behind others of its parked key. */
export type DeliveryFate = 'handled' | 'dead' | 'parked';

export interface DelivererOptions {
  /** Group and topic partition: `order-mails.notify:order.shipped:3`. */
  readonly source: string;
  readonly subscription: SubscriptionDefinition;
  /** Sends to the writer of the key's partition. @throws what the handler threw, or the system's error. */
  readonly send: (delivery: DeliveryForm, deadline: number, cancel: AbortSignal) => Promise<DeliveryFate>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly retried: Counter;
  readonly died: Counter;
  readonly handled: Counter;
  readonly parked: Counter;
  /** The event at a position of the topic partition, with its body. */
  readonly whole: (event: StoredEvent, position: number) => Promise<StoredEvent>;
  /** Deliveries of this subscription under way at once in this process; the rest wait. */
  readonly slots: Slots;
}

/** Codes that say nothing about the event: the place was wrong or away. They do not count as attempts. */
const notTheEventsFault: ReadonlySet<string> = new Set(['UNAVAILABLE', 'MOVED', 'CLOSED', 'OVERLOADED', 'CANCELED']);
/** One try of one handler. */
export const handlerTimeoutMs = 30_000;
/** An outage is told once, then every so many tries. */
const outageTriesPerRecord = 20;

/** @returns whether the event is over, handled or dead; false only when `signal` or `cancel` ended it early. */
export async function deliver(
  options: DelivererOptions,
  event: StoredEvent,
  at: EventPlace,
  signal: AbortSignal,
  cancel: AbortSignal,
): Promise<boolean> {
  const { subscription, clock, random, logger, slots } = options;
  const { timeoutMs = handlerTimeoutMs } = subscription;
  const source = deliverySource(options.source, at);
  const delivery = {
    subscription: subscription.name,
    source,
    number: at.position,
    event,
  };
  let key: string | undefined;
  const about = { subscription: subscription.name, source, number: at.position };
  let attempt = at.attempt;
  let dead: DeliveryForm['dead'];
  if (attempt > subscription.attemptsMax) {
    dead = { code: 'INTERRUPTED', message: `the process ended ${attempt - 1} times while it handled this event` };
  }
  for (let outages = 0; !signal.aborted; ) {
    let waitMs = 0;
    await slots.enter();
    try {
      if (signal.aborted) return false;
      key ??= dead && event.large ? event.key : await keyOf(options, event, at.position);
      const form: DeliveryForm = { ...delivery, key, attempt, ...(dead ? { dead } : {}) };
      const fate = await unlessAborted(options.send(form, clock.monotonic() + timeoutMs, cancel), cancel);
      if (fate === 'dead') options.died.add(1);
      else if (fate === 'parked') options.parked.add(1);
      else options.handled.add(1);
      return true;
    } catch (cause) {
      const { code, message } = toErrorForm(cause);
      const record = { ...about, attempt, code, message };
      if (cancel.aborted) return false;
      if (dead || notTheEventsFault.has(code)) {
        if (outages % outageTriesPerRecord === 0) logger.warn('an event cannot be delivered now; trying again', record);
        waitMs = 20 + backoffMs(random, outages++, 50, 2000);
      } else if (attempt >= subscription.attemptsMax) {
        logger.error('an event is given up and becomes a dead letter', record);
        dead = { code, message };
      } else {
        logger.warn('handling an event failed; trying again', record);
        options.retried.add(1);
        waitMs = 20 + backoffMs(random, 2 * attempt, 25, 10_000);
        attempt++;
      }
    } finally {
      slots.leave();
    }
    if (waitMs > 0) await sleep(clock, waitMs, signal);
  }
  return false;
}

/** Names the deliveries of one generation: their ids are forgotten together. */
export function deliverySource(source: string, { generation }: Pick<EventPlace, 'generation'>): string {
  return `${source}/${generation}`;
}

/** Places the handler: the topic's own key unless the subscription names another field. @throws CORRUPT, NOT_FOUND */
async function keyOf({ subscription, whole }: DelivererOptions, event: StoredEvent, position: number): Promise<string> {
  if (subscription.key === subscription.topic.key) return event.key;
  const value = (bodyOf(await whole(event, position)) as Record<string, unknown> | null)?.[subscription.key];
  return typeof value === 'string' || typeof value === 'number' ? String(value) : event.key;
}

/** A handler that does not look at its signal must not hold up the end of its reader. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new TandemError('CANCELED', 'this reader is stopping'));
    if (signal.aborted) stop();
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** A counting semaphore: the bound on what one process handles at once. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async enter(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}

/** @throws INVALID */
export function attemptsMaxOf(attempts: number | undefined): number {
  const max = attempts ?? limits.eventAttemptsMax;
  if (Number.isInteger(max) && max >= 1) return max;
  throw new TandemError('INVALID', `attempts: ${attempts} is not a whole number of at least 1`);
}

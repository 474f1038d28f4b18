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
import { unpack } from '../replication/codec.ts';
import type { StoredEvent } from './event.ts';
import type { EventPlace } from './reader.ts';

export interface SubscriptionDefinition {
  readonly name: string;
  readonly topic: Topic;
  /** The event field that orders and places the handler. */
  readonly key: string;
  readonly attemptsMax: number;
  readonly onDead: 'skip' | 'park';
  readonly from: 'earliest' | 'latest';
}

/** What travels to the instance that handles the event. */
export interface DeliveryForm {
  readonly subscription: string;
  /** Names the group, topic partition and replay: the source of the delivery's number. */
  readonly source: string;
  /** Position in the topic partition. */
  readonly number: number;
  readonly attempt: number;
  readonly event: StoredEvent;
  /** Set when this delivery is being given up: why. */
  readonly dead?: { readonly code: string; readonly message: string };
}

export interface DelivererOptions {
  /** Group and topic partition: `order-mails/notify/order.shipped/3`. */
  readonly source: string;
  readonly subscription: SubscriptionDefinition;
  /** Sends to the writer of the key's partition. @throws what the handler threw, or the system's error. */
  readonly send: (partitionKey: string, delivery: DeliveryForm, deadline: number) => Promise<void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly retried: Counter;
  readonly died: Counter;
  readonly handled: Counter;
  /** Deliveries under way at once in this process; the rest wait. */
  readonly slots: Slots;
}

/** Codes that say nothing about the event: the place was wrong or away. They do not count as attempts. */
const notTheEventsFault: ReadonlySet<string> = new Set(['UNAVAILABLE', 'MOVED', 'CLOSED', 'OVERLOADED', 'INTERRUPTED']);
const handlerTimeoutMs = 30_000;

export async function deliver(
  options: DelivererOptions,
  event: StoredEvent,
  at: EventPlace,
  signal: AbortSignal,
): Promise<boolean> {
  const { subscription, clock, random, logger } = options;
  const source = `${options.source}/${at.generation}`;
  const key = keyOf(subscription, event);
  const delivery = { subscription: subscription.name, source, number: at.position, event };
  let dead: DeliveryForm['dead'];
  let attempt = 1;
  for (let wait = 0; !signal.aborted; wait++) {
    await options.slots.enter();
    try {
      await options.send(
        key,
        { ...delivery, attempt, ...(dead ? { dead } : {}) },
        clock.monotonic() + handlerTimeoutMs,
      );
      if (dead) options.died.add(1);
      else options.handled.add(1);
      return true;
    } catch (cause) {
      const error = toErrorForm(cause);
      if (!dead && !notTheEventsFault.has(error.code)) {
        options.retried.add(1);
        if (attempt >= subscription.attemptsMax) {
          dead = { code: error.code, message: error.message };
          logger.error('an event is given up and becomes a dead letter', {
            subscription: subscription.name,
            source,
            number: at.position,
            attempt,
            code: error.code,
            message: error.message,
          });
          wait = -1;
          continue;
        }
        attempt++;
      }
    } finally {
      options.slots.leave();
    }
    await sleep(clock, 20 + backoffMs(random, wait, 100, 5000), signal);
  }
  return false;
}

/** Places the handler: the topic's own key unless the subscription names another field. */
function keyOf(subscription: SubscriptionDefinition, event: StoredEvent): string {
  if (subscription.key === subscription.topic.key) return event.key;
  return String((unpack(event.body) as Record<string, unknown>)[subscription.key] ?? event.key);
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

export function attemptsMaxOf(attempts: number | undefined): number {
  const max = attempts ?? limits.eventAttemptsMax;
  if (Number.isInteger(max) && max >= 1) return max;
  throw new TandemError('INVALID', `attempts: ${attempts} is not a whole number of at least 1`);
}

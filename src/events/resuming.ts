/**
 * At the writer of a partition: goes on with parked keys that were resumed, one event of a key after the other, keys side by
 * side. Each is a delivery like any other, with its tries and backoff, under an id of its own; a key whose event is given up
 * again stays parked.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs } from '../core/random.ts';
import type { Keyspace } from '../state/keyspace.ts';
import { leave, nextParked, type ParkedKey, parkedKey, parkedKeys, parkedKeysMax } from './parking.ts';
import {
  type DelivererOptions,
  type DeliveryFate,
  type DeliveryForm,
  deliver,
  deliverySource,
} from './subscription.ts';

type Deliverer = Omit<DelivererOptions, 'source' | 'send'>;

export interface ResumingOptions {
  readonly partition: number;
  readonly keyspace: Keyspace;
  readonly logger: Logger;
  /** By subscription, those that park. */
  readonly deliverers: ReadonlyMap<string, Deliverer>;
  readonly clock: Clock;
  readonly handle: (form: DeliveryForm, deadline: number, signal: AbortSignal) => Promise<DeliveryFate>;
}

export class Resuming {
  readonly #options: ResumingOptions;
  readonly #stop = new AbortController();
  readonly #cancel = new AbortController();
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: ResumingOptions) {
    this.#options = options;
    this.wake();
  }

  /** Looks for keys that were resumed. */
  wake(): void {
    const { keyspace, partition, deliverers } = this.#options;
    if (this.#stop.signal.aborted) return;
    const rows = keyspace.system(partition);
    for (const subscription of deliverers.keys()) {
      for (const head of parkedKeys(rows, subscription, parkedKeysMax)) if (head.resumed) this.#start(head);
    }
  }

  /** Takes nothing more on and waits up to `graceMs` for what runs. */
  async close(graceMs = 1000): Promise<void> {
    this.#stop.abort();
    const cancel = this.#options.clock.after(graceMs, () => this.#cancel.abort());
    await Promise.all(this.#running.values());
    cancel.cancel();
  }

  #start({ subscription, key }: ParkedKey): void {
    const name = `${subscription}\n${key}`;
    if (this.#running.has(name)) return;
    const running = this.#goOn(subscription, key).finally(() => {
      this.#running.delete(name);
      // It may have been resumed again since this run saw that it waits.
      this.wake();
    });
    this.#running.set(name, running);
  }

  async #goOn(subscription: string, key: string): Promise<void> {
    const { signal } = this.#stop;
    const deliverer = this.#options.deliverers.get(subscription)!;
    for (let failures = 0; !signal.aborted; ) {
      try {
        if (!(await this.#next(subscription, key, deliverer))) return;
        failures = 0;
      } catch (cause) {
        const { code, message } = TandemError.from(cause);
        this.#options.logger.warn('a parked key cannot go on now; trying again', { subscription, key, code, message });
        await sleep(deliverer.clock, 50 + backoffMs(deliverer.random, failures++, 100, 5000), signal);
      }
    }
  }

  /** One event of a resumed key. False when the key is empty, waits again, or this instance stops. */
  async #next(subscription: string, key: string, deliverer: Deliverer): Promise<boolean> {
    const { keyspace, partition, handle } = this.#options;
    const { signal } = this.#stop;
    const rows = keyspace.system(partition);
    const head = parkedKey(rows, subscription, key);
    const event = head && nextParked(rows, head);
    if (!head?.resumed || !event) return false;
    const send = (form: DeliveryForm, until: number, cancel: AbortSignal): Promise<DeliveryFate> =>
      handle({ ...form, parked: true }, until, cancel);
    const at = { generation: head.round, position: head.first, attempt: 1 };
    const source = `parked/${head.began.source}/${head.began.number}`;
    if (!(await deliver({ ...deliverer, source, send }, event, at, signal, this.#cancel.signal))) return false;
    // Given up again, it waits.
    if (!parkedKey(rows, subscription, key)?.resumed) return false;
    const deadline = deliverer.clock.monotonic() + limits.engineTimeoutMs;
    const isEmpty = await rows.transact(
      undefined,
      tx => {
        const stored = parkedKey(tx, subscription, key);
        return !stored || (stored.round === head.round && stored.first === head.first && leave(tx, stored));
      },
      { deadline },
    );
    // Its id is kept until nobody can come with it any more.
    await rows.raiseFloor(deliverySource(source, at), head.first, { deadline });
    return !isEmpty;
  }
}

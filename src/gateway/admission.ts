/**
 * How much a gateway takes on at once: requests, and bytes of their bodies, which are held until they are answered. Bounded, and shed by priority: `optional` work is turned away first, so that there is room for the
 * rest, and `critical` work last. A request that waits is worse than one that is refused at once: its client waits for both.
 */
import type { Priority } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';

/** Shares of the limit that each priority may fill. */
const shares: Readonly<Record<Priority, number>> = { optional: 0.7, default: 0.9, critical: 1 };
const retryAfterMs = 1000;

type Bounds = Readonly<Record<Priority, number>>;

export class Admission {
  readonly #requests: Bounds;
  readonly #bytes: Bounds;
  #inflight = 0;
  #bodyBytes = 0;

  constructor(inflightMax: number, bodiesBytesMax: number) {
    this.#requests = boundsOf(inflightMax);
    this.#bytes = boundsOf(bodiesBytesMax);
  }

  get inflight(): number {
    return this.#inflight;
  }

  /** Bytes of bodies in memory. */
  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  /** Each enter that did not throw needs one leave. @throws OVERLOADED. */
  enter(priority: Priority): void {
    if (this.#inflight >= this.#requests[priority])
      throw overloaded(`has ${this.#inflight} requests under way, its limit for '${priority}'`);
    this.#inflight++;
  }

  /** What was declared is only compared: a client that sends nothing must not keep others out. @throws OVERLOADED. */
  checkBody(bytes: number, priority: Priority): void {
    if (this.#bodyBytes + bytes > this.#bytes[priority])
      throw overloaded(
        `holds ${this.#bodyBytes} bytes of bodies, and ${bytes} more are over its limit for '${priority}'`,
      );
  }

  /** Counts bytes that have come; `leave` gives them back. @throws OVERLOADED. */
  takeBody(bytes: number, priority: Priority): void {
    this.checkBody(bytes, priority);
    this.#bodyBytes += bytes;
  }

  /** Counts what is there anyway. */
  hold(bytes: number): void {
    this.#bodyBytes += bytes;
  }

  /** Gives back what is no longer held, of a request that goes on. */
  giveBody(bytes: number): void {
    this.#bodyBytes -= bytes;
  }

  leave(bodyBytes: number): void {
    this.#inflight--;
    this.#bodyBytes -= bodyBytes;
  }
}

function boundsOf(whole: number): Bounds {
  const bound = (priority: Priority): number => Math.max(1, Math.floor(whole * shares[priority]));
  return { optional: bound('optional'), default: bound('default'), critical: bound('critical') };
}

function overloaded(reason: string): TandemError {
  return new TandemError('OVERLOADED', `the gateway ${reason}`, { details: { retryAfterMs } });
}

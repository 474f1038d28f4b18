/** One server of a group: what is known of it, and its connections. */
import { Candidate } from '../calling/candidate.ts';
import type { Clock } from '../core/clock.ts';
import type { Counter } from '../core/meter.ts';
import { openCircuitBreaker } from '../degradation/circuit-breaker.ts';
import { Connection, type Place } from './connection.ts';

const idleMax = 256;
/** After failures in a row nobody is sent there for half a second, then twice as long, at most so long. */
const breakerOpenMsMax = 4000;
/** An upstream says nothing of its load. */
const noLoad = { cpu: 0, loopDelayMs: 0, inflight: 0 };

export type Health = 'unknown' | 'well' | 'ill';

export interface UpstreamTargetOptions {
  readonly place: Place;
  readonly weight: number;
  readonly zone: string | undefined;
  readonly clock: Clock;
  readonly picked: (id: string) => Counter;
}

export class UpstreamTarget extends Candidate {
  readonly place: Place;
  readonly ownWeight: number;
  readonly zone: string | undefined;
  readonly load: typeof noLoad = noLoad;
  readonly picked: Counter;
  health: Health = 'unknown';
  /** What the last check or request that failed found. */
  lastFailure: string | undefined;
  /** No longer in the group: what is under way ends, nothing new comes. */
  gone = false;
  requests = 0;
  failures = 0;
  /** Wall time: since it joined or came back. */
  wellSince: number;
  readonly #idle: Connection[] = [];
  readonly #all = new Set<Connection>();
  readonly #onClosed = (connection: Connection): void => {
    this.#all.delete(connection);
    const at = connection.served > 0 ? this.#idle.indexOf(connection) : -1;
    if (at >= 0) this.#idle.splice(at, 1);
  };

  constructor({ place, weight, zone, clock, picked }: UpstreamTargetOptions) {
    const id = `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`;
    super(id, weight, openCircuitBreaker({ clock, openMsMax: breakerOpenMsMax }));
    this.place = place;
    this.ownWeight = weight;
    this.zone = zone;
    this.picked = picked(id);
    this.wellSince = clock.now();
  }

  ageMs(wallMs: number): number {
    return wallMs - this.wellSince;
  }

  get connections(): number {
    return this.#all.size;
  }
  get idle(): number {
    return this.#idle.length;
  }

  /** The one used last, which is the least likely to be closed by the other side; else a new one. */
  take(): Connection {
    return this.#idle.pop() ?? this.open();
  }

  open(): Connection {
    const connection = new Connection(this.place, this.#onClosed);
    this.#all.add(connection);
    return connection;
  }

  /** Its answer is complete. */
  giveBack(connection: Connection, idleUntilMs: number): void {
    connection.user = undefined;
    connection.served++;
    connection.idleUntilMs = idleUntilMs;
    if (this.gone || this.#idle.length >= idleMax) connection.destroy();
    else this.#idle.push(connection);
  }

  /** The connection became a tunnel. */
  lose(connection: Connection): void {
    this.#all.delete(connection);
  }

  sweep(nowMs: number): void {
    while (this.#idle.length > 0 && this.#idle[0]!.idleUntilMs <= nowMs) this.#idle[0]!.destroy();
  }

  /** Ends its idle connections. */
  leave(): void {
    this.gone = true;
    for (const connection of [...this.#idle]) connection.destroy();
  }

  destroy(): void {
    this.gone = true;
    for (const connection of [...this.#all]) connection.destroy();
  }
}

/**
 * Barriers of one partition, shared (data core, rule 9): all reads that arrived before a barrier is sent ride on it; one that
 * arrives while it is under way must not, because the answer may be older than the read, and takes the next.
 */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Replica } from '../replication/replica.ts';

export class Barrier {
  readonly #replica: Replica;
  readonly #ask: (deadline: number) => Promise<number>;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  /** Waits for its turn to be sent; joined by all that arrive till then. */
  #gathering: Promise<number> | undefined;
  #underWay: Promise<unknown> | undefined;

  /** `ask` gives a tail that covers every write acknowledged before it was called. */
  constructor(replica: Replica, ask: (deadline: number) => Promise<number>, clock: Clock, timeoutMs: number) {
    this.#replica = replica;
    this.#ask = ask;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** A position that covers every write acknowledged before this call. */
  position(): Promise<number> {
    this.#gathering ??= this.#next();
    return this.#gathering;
  }

  async #next(): Promise<number> {
    if (this.#underWay) await this.#underWay.catch(() => {});
    else await new Promise<void>(resolve => this.#clock.defer(resolve));
    this.#gathering = undefined;
    const sent = this.#send();
    this.#underWay = sent;
    try {
      return await sent;
    } finally {
      if (this.#underWay === sent) this.#underWay = undefined;
    }
  }

  async #send(): Promise<number> {
    const replica = this.#replica;
    const applied = replica.head.position;
    const tail = await this.#ask(this.#clock.monotonic() + this.#timeoutMs);
    if (tail < applied) {
      const error = new TandemError('LOG_LOST', `${replica.log} ends at ${tail}, but ${applied} was applied`);
      replica.fail(error);
      throw error;
    }
    replica.noteTail(tail);
    return tail;
  }
}

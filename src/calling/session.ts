/**
 * One client's causal past: for each log that it touched, a position that its next read must not be behind (data core,
 * rule 12). Bounded: when full the oldest pair goes and a flag is set, which makes logs that are not listed be read
 * behind a barrier, so forgetting costs time but never the guarantee.
 */
import { limits } from '../core/limits.ts';
import type { SessionForm } from '../core/meta.ts';

export class Session {
  /** In order of last use: a Map keeps insertion order, and an advance re-inserts. */
  readonly #positions = new Map<string, number>();
  #overflowed = false;
  /** What `toForm` last gave; undefined when it is out of date. */
  #form: SessionForm | undefined;
  #version = 0;

  get overflowed(): boolean {
    return this.#overflowed;
  }

  /** Grows with each thing learnt, not with what was known already. */
  get version(): number {
    return this.#version;
  }

  get size(): number {
    return this.#positions.size;
  }

  /** Position of a log, 0 when this session has not touched it (or forgot: see `overflowed`). */
  position(log: string): number {
    return this.#positions.get(log) ?? 0;
  }

  logs(): IterableIterator<string> {
    return this.#positions.keys();
  }

  /** Notes that this session has seen `log` up to `position`. */
  advance(log: string, position: number): void {
    const known = this.#positions.get(log);
    if (known === undefined || position > known) this.#version++;
    this.#form = undefined;
    if (known !== undefined) this.#positions.delete(log);
    this.#positions.set(log, Math.max(known ?? 0, position));
    if (this.#positions.size > limits.sessionPositionsMax) {
      this.#positions.delete(this.#positions.keys().next().value!);
      this.#overflowed = true;
    }
  }

  /** Takes in what another answer or token knows, by maximum. What is known already stays where it is in the order. */
  merge(form: SessionForm | undefined): void {
    if (!form) return;
    for (const [log, position] of form.positions) {
      if ((this.#positions.get(log) ?? -1) < position) this.advance(log, position);
    }
    if (!form.overflowed || this.#overflowed) return;
    this.#overflowed = true;
    this.#form = undefined;
    this.#version++;
  }

  /** Undefined when there is nothing to carry. */
  toForm(): SessionForm | undefined {
    if (this.#positions.size === 0 && !this.#overflowed) return undefined;
    if (!this.#form) {
      const positions = [...this.#positions];
      this.#form = this.#overflowed ? { positions, overflowed: true } : { positions };
    }
    return this.#form;
  }

  static fromForm(form: SessionForm | undefined): Session {
    const session = new Session();
    session.merge(form);
    return session;
  }
}

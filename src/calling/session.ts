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

  get overflowed(): boolean {
    return this.#overflowed;
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
    const known = this.#positions.get(log) ?? 0;
    this.#positions.delete(log);
    this.#positions.set(log, Math.max(known, position));
    if (this.#positions.size > limits.sessionPositionsMax) {
      this.#positions.delete(this.#positions.keys().next().value!);
      this.#overflowed = true;
    }
  }

  /** Takes in what another answer or token knows, by maximum. */
  merge(form: SessionForm | undefined): void {
    if (!form) return;
    for (const [log, position] of form.positions) this.advance(log, position);
    if (form.overflowed) this.#overflowed = true;
  }

  /** Undefined when there is nothing to carry. */
  toForm(): SessionForm | undefined {
    if (this.#positions.size === 0 && !this.#overflowed) return undefined;
    const positions = [...this.#positions];
    return this.#overflowed ? { positions, overflowed: true } : { positions };
  }

  static fromForm(form: SessionForm | undefined): Session {
    const session = new Session();
    session.merge(form);
    return session;
  }
}

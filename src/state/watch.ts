/**
 * Watching rows of one partition (data core, rule 13): state, not history. A watcher holds no queue, only the note that its
 * key changed, so one that is slow sees the latest value and costs nothing.
 */
import type { Applied } from '../replication/replica.ts';

export class Watches {
  readonly #byKey = new Map<string, Set<() => void>>();

  /** Calls `changed` after each commit that wrote the row. */
  add(table: string, key: string, changed: () => void): () => void {
    const name = `${table}\0${key}`;
    const set = this.#byKey.get(name) ?? new Set();
    this.#byKey.set(name, set);
    set.add(changed);
    return () => {
      set.delete(changed);
      if (set.size === 0) this.#byKey.delete(name);
    };
  }

  applied(batch: readonly Applied[]): void {
    if (this.#byKey.size === 0) return;
    for (const { entry } of batch) {
      for (const [table, key] of entry.writes) {
        const set = this.#byKey.get(`${table}\0${key}`);
        if (set) for (const changed of set) changed();
      }
    }
  }

  /** Wakes everyone: the rows were replaced as a whole. */
  reset(): void {
    for (const set of this.#byKey.values()) for (const changed of set) changed();
  }
}

/** One waiter over a changing thing: `wait` resolves at the next `notify`, or at once when one came since the last wait. */
export class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#wake?.();
  }

  async wait(signal: AbortSignal | undefined): Promise<void> {
    if (!this.#rung && !signal?.aborted) {
      await new Promise<void>(resolve => {
        // The signal often lives as long as the process: a listener left behind by each wait would be a leak.
        const wake = (): void => {
          signal?.removeEventListener('abort', wake);
          resolve();
        };
        this.#wake = wake;
        signal?.addEventListener('abort', wake, { once: true });
      });
    }
    this.#rung = false;
    this.#wake = undefined;
  }
}

/** Timers by time, then by the order of their making: a binary heap in which a cancelled one is skipped when its turn comes. */
import type { Timer } from '../core/clock.ts';

interface Waiting {
  readonly dueMs: number;
  readonly number: number;
  readonly task: () => void;
  live: boolean;
}

export class TimerQueue {
  readonly #heap: Waiting[] = [];
  #made = 0;
  #live = 0;

  /** Timers that wait, without the cancelled. */
  get size(): number {
    return this.#live;
  }

  /** When the next one is due; Infinity when none waits. */
  get nextMs(): number {
    this.#dropCancelled();
    return this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  add(dueMs: number, task: () => void): Timer {
    const waiting: Waiting = { dueMs, number: this.#made++, task, live: true };
    this.#live++;
    this.#rise(waiting);
    return {
      cancel: () => {
        if (!waiting.live) return;
        waiting.live = false;
        this.#live--;
      },
    };
  }

  /** Removes and returns the next one. */
  take(): { readonly dueMs: number; readonly task: () => void } | undefined {
    this.#dropCancelled();
    const first = this.#removeFirst();
    if (!first) return undefined;
    first.live = false;
    this.#live--;
    return first;
  }

  #dropCancelled(): void {
    while (this.#heap[0]?.live === false) this.#removeFirst();
  }

  #rise(waiting: Waiting): void {
    const heap = this.#heap;
    let at = heap.push(waiting) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(waiting, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = waiting;
  }

  #removeFirst(): Waiting | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Waiting, b: Waiting): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.number < b.number);
}

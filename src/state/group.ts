/** Transactions that will travel in one entry, and effectless ones whose answer waits for the same decision. */
import type { Emitted, Seal } from '../replication/entry.ts';
import type { Write } from '../replication/store.ts';
import { Overlay, type Rows } from './overlay.ts';
import { StoredIds } from './request-ids.ts';
import type { Outcome, Task } from './transaction.ts';

export class Group {
  /** The position on top of which it was computed: what the append must meet. */
  readonly base: number;
  /** The entry's time: the partition's clock for all its transactions. */
  readonly time: number;
  readonly rows: Overlay;
  readonly emitted: Emitted[] = [];
  bytes = 0;
  claims = false;
  resignsTo: string | undefined;
  /** Set for the log's last entry, which carries nothing else. */
  seal: Seal | undefined;
  #effects = false;
  readonly #ids = new StoredIds();
  readonly #ran: { readonly task: Task; readonly outcome: Outcome }[] = [];

  constructor(base: number, time: number, below: Rows) {
    this.base = base;
    this.time = time;
    this.rows = new Overlay(below);
  }

  get size(): number {
    return this.#ran.length;
  }
  /** Whether sending it decides anything. */
  get wanted(): boolean {
    return this.#ran.length > 0 || this.appends;
  }
  /** Whether it needs an entry; otherwise a barrier will do. */
  get appends(): boolean {
    return this.#effects || this.claims || this.resignsTo !== undefined || this.seal !== undefined;
  }

  add(task: Task, outcome: Outcome, bytes: number): void {
    for (const [table, key, value] of outcome.writes) this.rows.set(table, key, value);
    for (const event of outcome.emitted) this.emitted.push(event);
    // The answer to a repeat needs an entry even without effects: an earlier try that is still on its way would otherwise
    // find its slot free, and happen after it was answered that it did not.
    if (outcome.writes.length > 0 || outcome.emitted.length > 0 || (task.request?.repeated && !outcome.stored)) {
      this.#effects = true;
    }
    if (outcome.keptFrom !== undefined) this.#ids.add(task.request!.id, outcome.keptFrom);
    this.bytes += bytes;
    this.#ran.push({ task, outcome });
  }

  /** The effects of all, as the entry at `position` carries them. */
  writes(position: number): Write[] {
    this.#ids.write(this.rows, position);
    return this.rows.writes();
  }

  tasks(): Task[] {
    return this.#ran.map(({ task }) => task).filter(task => !task.settled);
  }

  /** Answers all: the decision they waited for is made. */
  answer(position: number): void {
    for (const { task, outcome } of this.#ran) {
      if (task.settled) continue;
      task.settled = true;
      if (outcome.failed) task.reject(outcome.error);
      else task.resolve(outcome.value, position);
    }
  }
}

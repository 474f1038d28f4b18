/**
 * How a copy of a partition begins that was divided off another (data core, rule 23): as a copy of the other, of which it
 * keeps its own share of the rows. It follows the other's log up to the seal like any replica, by way of this store, so it
 * is nearly there before the seal is; and since the share goes by table and key alone, all copies come to the same rows.
 */
import { TandemError } from '../core/errors.ts';
import type { Predecessor } from './entry.ts';
import { ancestorsOf, labelOf } from './incarnation.ts';
import {
  type Capture,
  emptyHead,
  type Head,
  type ReplicaStore,
  type Row,
  type ScanOptions,
  type Write,
} from './store.ts';

export interface Origin {
  readonly partition: number;
  readonly partitions: number;
  /** Which of its two successors this is for. */
  readonly side: 0 | 1;
  /** Whether a row of it is the successor's too. */
  readonly keeps: (table: string, key: string) => boolean;
  readonly knownElsewhere: () => boolean;
  /** Where it began itself. */
  readonly origin: Origin | undefined;
}

/** The successor's store as the copy of `partition` that it begins as: its head says whose position it counts. */
export class OriginStore implements ReplicaStore {
  readonly #inner: ReplicaStore;
  readonly #partition: number;
  readonly #keeps: Origin['keeps'];
  /** The head last asked for, and as it is shown. */
  #seen: Head | undefined;
  #shown: Head = emptyHead;

  constructor(inner: ReplicaStore, { partition, keeps }: Origin) {
    this.#inner = inner;
    this.#partition = partition;
    this.#keeps = keeps;
  }

  get head(): Head {
    const { head } = this.#inner;
    if (head.of === undefined) return emptyHead;
    if (head !== this.#seen) {
      this.#seen = head;
      this.#shown = head.of === this.#partition ? { ...head, of: undefined } : head;
    }
    return this.#shown;
  }

  get(table: string, key: string): Uint8Array | undefined {
    return this.#inner.get(table, key);
  }

  scan(table: string, prefix: string, options?: ScanOptions): Iterable<readonly [string, Uint8Array]> {
    return this.#inner.scan(table, prefix, options);
  }

  tables(): readonly string[] {
    return this.#inner.tables();
  }

  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    const own = writes.filter(([table, key]) => this.#keeps(table, key));
    this.#inner.commit(own, { ...head, of: head.of ?? this.#partition });
  }

  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void {
    this.#inner.replace(this.#share(rows), { ...head, of: head.of ?? this.#partition });
  }

  *#share(rows: Iterable<Row>): Iterable<Row> {
    for (const row of rows) if (this.#keeps(row[0], row[1])) yield row;
  }

  capture(): Capture {
    return this.#inner.capture();
  }

  /** The rows stay: the successor goes on with them. */
  async close(): Promise<void> {}
}

/** Whether a copy with this head began as what the genesis names. @throws LOG_LOST when the engine has another log under that name. */
export function beganAs(log: string, origin: Origin, head: Head, named: Predecessor | undefined): boolean {
  const { label, position, hash } = predecessorOf(log, head);
  if (head.of !== origin.partition) return false;
  if (named && named.label !== label)
    throw new TandemError('LOG_LOST', `partition ${origin.partition} was ${named.label}, but the engine has ${label}`);
  return named?.hash === hash && named.position === position;
}

/** Where a log goes on from that has this head, as the genesis says it. */
export function predecessorOf(log: string, head: Head): Predecessor {
  return { label: labelOf(log, head), position: head.position, hash: head.hash, ancestors: ancestorsOf(log, head) };
}

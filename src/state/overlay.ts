/**
 * Rows as they would be: changes laid over what is below (another overlay, at the bottom the replica's store). Nothing of a
 * transaction is visible outside of it before its append is decided (design, section 5); this is where it lives till then.
 */

import type { Emitted } from '../replication/entry.ts';
import { compareKeys } from '../replication/memory-store.ts';
import type { ScanOptions, Write } from '../replication/store.ts';

export interface Rows {
  get(table: string, key: string): Uint8Array | undefined;
  scan(table: string, prefix: string, options?: ScanOptions): Iterable<readonly [key: string, value: Uint8Array]>;
}

/** What a transaction's body gets before tables and topics are put over it. */
export interface RawTx {
  readonly rows: Overlay;
  /** The partition's clock (ms). */
  readonly now: number;
  emit(event: Emitted): void;
}

export class Overlay implements Rows {
  /** What is seen where this one says nothing. Replaced when the overlay below was committed. */
  below: Rows;
  readonly #tables = new Map<string, Map<string, Uint8Array | undefined>>();

  constructor(below: Rows) {
    this.below = below;
  }

  get(table: string, key: string): Uint8Array | undefined {
    const rows = this.#tables.get(table);
    return rows?.has(key) ? rows.get(key) : this.below.get(table, key);
  }

  set(table: string, key: string, value: Uint8Array | undefined): void {
    let rows = this.#tables.get(table);
    if (!rows) {
      rows = new Map();
      this.#tables.set(table, rows);
    }
    rows.set(key, value);
  }

  /** What was set in a table here; undefined for a row that was deleted. */
  changes(table: string): ReadonlyMap<string, Uint8Array | undefined> | undefined {
    return this.#tables.get(table);
  }

  /** Last change of each row. */
  writes(): Write[] {
    const writes: Write[] = [];
    for (const [table, rows] of this.#tables) for (const [key, value] of rows) writes.push([table, key, value]);
    return writes;
  }

  /** Merges the own changes into the rows below, both in key order. */
  *scan(table: string, prefix: string, options: ScanOptions = {}): IterableIterator<readonly [string, Uint8Array]> {
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    const rows = this.#tables.get(table);
    const own = rows ? [...rows.keys()].filter(key => key.startsWith(prefix)).sort(compareKeys) : [];
    if (own.length === 0) {
      yield* this.below.scan(table, prefix, options);
      return;
    }
    let next = 0;
    for (const [key, value] of this.below.scan(table, prefix)) {
      for (; next < own.length && compareKeys(own[next]!, key) < 0; next++) {
        const mine = rows!.get(own[next]!);
        if (mine && left-- > 0) yield [own[next]!, mine];
      }
      if (left <= 0) return;
      const replaced = own[next] === key;
      const seen = replaced ? rows!.get(own[next++]!) : value;
      if (seen) {
        left--;
        yield [key, seen];
      }
      if (left <= 0) return;
    }
    for (; next < own.length && left > 0; next++) {
      const mine = rows!.get(own[next]!);
      if (mine) {
        left--;
        yield [own[next]!, mine];
      }
    }
  }
}

/** A replica's rows in memory, for tests, `dev` and the simulator. Each table is a map plus its keys in order, sorted when scanned. */
import { Digest } from './digest.ts';
import {
  type Capture,
  emptyHead,
  type Head,
  isLocal,
  type ReplicaStore,
  type Row,
  type ScanOptions,
  type Write,
} from './store.ts';

class MemoryTable {
  readonly rows = new Map<string, Uint8Array>();
  #sorted: string[] | undefined;

  /** The value before. */
  set(key: string, value: Uint8Array): Uint8Array | undefined {
    const before = this.rows.get(key);
    if (!before) this.#sorted = undefined;
    this.rows.set(key, value);
    return before;
  }

  delete(key: string): Uint8Array | undefined {
    const before = this.rows.get(key);
    if (before) this.#sorted = undefined;
    this.rows.delete(key);
    return before;
  }

  sorted(): string[] {
    this.#sorted ??= [...this.rows.keys()].sort(compareKeys);
    return this.#sorted;
  }
}

/** Order of UTF-8 bytes, which is the order of code points; differs from `<` only for surrogate pairs. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x >= 0xd800 && y >= 0xd800) return Buffer.compare(Buffer.from(a), Buffer.from(b));
    return x - y;
  }
  return a.length - b.length;
}

/** First index at or after `prefix`. */
function lowerBound(keys: readonly string[], prefix: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle]!, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class MemoryStore implements ReplicaStore {
  #head: Head = emptyHead;
  #tables = new Map<string, MemoryTable>();

  get head(): Head {
    return this.#head;
  }

  get(table: string, key: string): Uint8Array | undefined {
    return this.#tables.get(table)?.rows.get(key);
  }

  *scan(table: string, prefix: string, options: ScanOptions = {}): IterableIterator<readonly [string, Uint8Array]> {
    const found = this.#tables.get(table);
    if (!found) return;
    const keys = found.sorted();
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    const start = options.after === undefined || options.after < prefix ? prefix : options.after;
    for (let i = lowerBound(keys, start); i < keys.length && left > 0; i++) {
      const key = keys[i]!;
      if (key === options.after) continue;
      if (!key.startsWith(prefix)) return;
      const value = found.rows.get(key);
      if (!value) continue;
      left--;
      yield [key, value];
    }
  }

  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    const digest = new Digest(this.#head.digest);
    for (const [table, key, value] of writes) {
      const rows = this.#table(table);
      const before = value ? rows.set(key, value) : rows.delete(key);
      if (isLocal(table)) continue;
      if (before) digest.remove(table, key, before);
      if (value) digest.add(table, key, value);
    }
    this.#head = { ...head, digest: digest.toString() };
  }

  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void {
    this.#tables = new Map();
    this.#head = emptyHead;
    this.commit([...rows], head);
  }

  capture(): Capture {
    const rows: Row[] = [];
    for (const [name, table] of this.#tables)
      if (!isLocal(name)) for (const [key, value] of table.rows) rows.push([name, key, value]);
    return { head: this.#head, rows, release() {} };
  }

  tables(): readonly string[] {
    return [...this.#tables].filter(([name, { rows }]) => !isLocal(name) && rows.size > 0).map(([name]) => name);
  }

  async close(): Promise<void> {}

  #table(name: string): MemoryTable {
    let table = this.#tables.get(name);
    if (!table) {
      table = new MemoryTable();
      this.#tables.set(name, table);
    }
    return table;
  }
}

/** Stores of one instance; reopening a partition finds what it held, so a test can restart an instance. */
export function memoryStores(): { open(partition: number): Promise<ReplicaStore> } {
  const stores = new Map<number, ReplicaStore>();
  return {
    open: async partition => {
      const store = stores.get(partition) ?? new MemoryStore();
      stores.set(partition, store);
      return store;
    },
  };
}

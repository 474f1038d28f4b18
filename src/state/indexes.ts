/**
 * Secondary indexes of a partition (data core, rule 14): rows of the replica's own, computed from its rows in the commit that
 * changes them. They are no effects and not in the log, so replicas of different code cannot disagree about data, and an index
 * whose code changed is built anew when its replica opens. Uniqueness is for the caller to check, within a partition.
 */
import { hash } from 'node:crypto';
import { type Head, isLocal, type ReplicaStore, type Row, type Write } from '../replication/store.ts';
import { Overlay, type Rows } from './overlay.ts';
import type { TableCodec } from './table-codec.ts';

type Codecs = ReadonlyMap<string, TableCodec>;

const own = '#';
const entry = new Uint8Array([1]);
/** Longer texts are filed under their hash, so that key and text together fit what a store takes as a key. */
const textLengthMax = 128;

/** A store that keeps the indexes of `codecs` beside the rows. Opening it builds what is not there or was made by other code. */
export function indexedStore(inner: ReplicaStore, codecs: Codecs): ReplicaStore {
  const print = printOf(codecs);
  const found = inner.get(own, 'indexes');
  const before = found && Buffer.from(found).toString();
  const store = new IndexedStore(inner, codecs, print);
  if ((before ?? '') !== print) store.rebuild(before ?? '');
  return print === '' ? inner : store;
}

/** Whether rows of `store` can be found by it: an instance of other code may keep other indexes. */
export function hasIndex(store: ReplicaStore, table: string, index: string): boolean {
  const found = store.get(own, 'indexes');
  return (
    found !== undefined &&
    Buffer.from(found)
      .toString()
      .includes(` ${indexTable(table, index)} `)
  );
}

export function indexTable(table: string, index: string): string {
  return `${own}${table}:${index}`;
}

/** What the keys of an index begin with for `value`; the row's key follows. */
export function indexPrefix(value: string): string {
  const escaped = value.replace(/[%\n]/g, char => (char === '%' ? '%25' : '%0A'));
  return `${escaped.length > textLengthMax ? `%#${hash('sha256', value, 'hex')}` : escaped}\n`;
}

/** Keys that `codec.indexes[index]` files under `value`, as a transaction sees the rows: its own changes included. */
export function findKeys(rows: Rows, codec: TableCodec, index: string, value: string): string[] {
  if (!(rows instanceof Overlay)) {
    const prefix = indexPrefix(value);
    return [...rows.scan(indexTable(codec.name, index), prefix)].map(([key]) => key.slice(prefix.length));
  }
  const changed = rows.changes(codec.name);
  const below = findKeys(rows.below, codec, index, value);
  if (!changed) return below;
  const keys = below.filter(key => !changed.has(key));
  for (const [key, bytes] of changed) if (bytes && textsOf(codec, index, bytes).includes(value)) keys.push(key);
  return keys;
}

class IndexedStore implements ReplicaStore {
  readonly #inner: ReplicaStore;
  readonly #codecs: Codecs;
  readonly #print: string;

  constructor(inner: ReplicaStore, codecs: Codecs, print: string) {
    this.#inner = inner;
    this.#codecs = codecs;
    this.#print = print;
    this.get = inner.get.bind(inner);
    this.scan = inner.scan.bind(inner);
    this.capture = inner.capture.bind(inner);
    this.tables = inner.tables.bind(inner);
    this.close = inner.close.bind(inner);
  }
  readonly get: ReplicaStore['get'];
  readonly scan: ReplicaStore['scan'];
  readonly capture: ReplicaStore['capture'];
  readonly tables: ReplicaStore['tables'];
  readonly close: ReplicaStore['close'];

  get head(): Head {
    return this.#inner.head;
  }

  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    this.#inner.commit(this.#withIndexes(writes), head);
  }

  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void {
    this.#inner.replace(this.#rowsWithIndexes(rows), head);
  }

  rebuild(before: string): void {
    const writes: Write[] = [];
    for (const table of before.split(' ').filter(isLocal))
      for (const [key] of this.#inner.scan(table, '')) writes.push([table, key, undefined]);
    for (const [name, codec] of this.#codecs) {
      if (Object.keys(codec.indexes).length === 0) continue;
      for (const [key, bytes] of this.#inner.scan(name, ''))
        for (const [table, at] of filed(codec, key, bytes)) writes.push([table, at, entry]);
    }
    writes.push([own, 'indexes', Buffer.from(this.#print)]);
    const { digest: _, ...head } = this.#inner.head;
    this.#inner.commit(writes, head);
  }

  #withIndexes(writes: readonly Write[]): readonly Write[] {
    const all: Write[] = [];
    /** A row may change several times in one commit. */
    const latest = new Map<string, Uint8Array | undefined>();
    for (const write of writes) {
      all.push(write);
      const [table, key, value] = write;
      const codec = this.#codecs.get(table);
      if (!codec) continue;
      const name = `${table}\0${key}`;
      const old = latest.has(name) ? latest.get(name) : this.#inner.get(table, key);
      latest.set(name, value);
      if (old) for (const [at, text] of filed(codec, key, old)) all.push([at, text, undefined]);
      if (value) for (const [at, text] of filed(codec, key, value)) all.push([at, text, entry]);
    }
    return all;
  }

  *#rowsWithIndexes(rows: Iterable<Row>): IterableIterator<Row> {
    for (const row of rows) {
      yield row;
      const [table, key, value] = row;
      const codec = this.#codecs.get(table);
      if (codec) for (const [at, text] of filed(codec, key, value)) yield [at, text, entry];
    }
    yield [own, 'indexes', Buffer.from(this.#print)];
  }
}

/** Where a row stands in the indexes of its table. */
function filed(codec: TableCodec, key: string, bytes: Uint8Array): [table: string, key: string][] {
  const places: [string, string][] = [];
  for (const index of Object.keys(codec.indexes))
    for (const text of textsOf(codec, index, bytes))
      places.push([indexTable(codec.name, index), indexPrefix(text) + key]);
  return places;
}

/** An index function that fails, or a row that this code cannot read, leaves the row out: it must not stop a replica. */
function textsOf(codec: TableCodec, index: string, bytes: Uint8Array): readonly string[] {
  try {
    const found: unknown = codec.indexes[index]!(codec.decode(bytes, 0) as never);
    if (typeof found === 'string') return [found];
    return Array.isArray(found) ? found.filter(text => typeof text === 'string') : [];
  } catch {
    return [];
  }
}

/** Names all indexes and their code; another print means other indexes. */
function printOf(codecs: Codecs): string {
  const parts: string[] = [];
  for (const [name, codec] of codecs)
    for (const [index, of] of Object.entries(codec.indexes))
      parts.push(`${indexTable(name, index)} ${hash('sha256', `${of} ${codec.shape}`, 'hex').slice(0, 16)}`);
  return parts.length === 0 ? '' : ` ${parts.sort().join(' ')} `;
}

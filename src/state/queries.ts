/**
 * Reading many rows: in pages, so that neither a reply nor this process ever holds a whole table, and from one partition or
 * all of them. Pages of one partition follow each other by key; rows of all partitions are merged into one order of keys.
 */
import type { PageOptions } from '../contract/context.ts';
import { compareKeys } from '../replication/memory-store.ts';
import type { ReplicaStore } from '../replication/store.ts';
import { indexPrefix, indexTable } from './indexes.ts';
import type { RowCodec } from './table-codec.ts';

/** Rows of a table by the beginning of their key, or by what an index files them under. */
export interface Range {
  readonly table: string;
  /** What keys begin with, or the indexed value. */
  readonly prefix: string;
  readonly index?: string | undefined;
  readonly after?: string | undefined;
  readonly limit: number;
}
export type RowOf<V> = readonly [key: string, value: V];
/** Rows, and whether there may be more behind them. */
export interface PageOf<V> {
  readonly rows: readonly RowOf<V>[];
  readonly more: boolean;
}
type Page<V> = (after: string | undefined, limit: number) => Promise<PageOf<V>>;

/** Rows of one page: many enough to be worth a round trip. */
export const pageRowsMax = 512;
/** A page is full with the row that reaches this: with the largest one it still fits a frame. */
export const pageBytesMax = 2_097_152;

/** One page as the store has it now; rows whose life is over are left out. */
export function readPage<V>(store: ReplicaStore, codec: RowCodec<V>, range: Range): PageOf<V> {
  const { table, prefix, index, after, limit } = range;
  const { time } = store.head;
  const rows: RowOf<V>[] = [];
  let size = 0;
  let more = false;
  const take = (key: string, bytes: Uint8Array | undefined): boolean => {
    const value = bytes && codec.decode(bytes, time, key);
    if (value !== undefined) rows.push([key, value]);
    size += bytes?.length ?? 0;
    more = rows.length >= limit || (size >= pageBytesMax && rows.length > 0);
    return !more;
  };
  if (index === undefined) {
    for (const [key, bytes] of store.scan(table, prefix, { after })) if (!take(key, bytes)) break;
    return { rows, more };
  }
  const text = indexPrefix(prefix);
  const from = after === undefined ? undefined : text + after;
  for (const [place] of store.scan(indexTable(table, index), text, { after: from })) {
    const key = place.slice(text.length);
    if (!take(key, store.get(table, key))) break;
  }
  return { rows, more };
}

/** The rows of one partition, page after page. */
export async function* pages<V>(page: Page<V>, options: PageOptions = {}): AsyncGenerator<RowOf<V>> {
  let left = options.limit ?? Number.POSITIVE_INFINITY;
  let { after } = options;
  while (left > 0) {
    const limit = Math.min(left, pageRowsMax);
    const { rows, more } = await page(after, limit);
    yield* rows;
    if (!more || rows.length === 0) return;
    left -= rows.length;
    after = rows[rows.length - 1]![0];
  }
}

/** Several streams of rows, each in order of keys, as one in order of keys. All are asked at once for what they begin with. */
export async function* merged<V>(
  streams: readonly AsyncGenerator<RowOf<V>>[],
  limit: number = Number.POSITIVE_INFINITY,
): AsyncGenerator<RowOf<V>> {
  const heads = await Promise.all(streams.map(stream => stream.next()));
  try {
    for (let left = limit; left > 0; left--) {
      let first = -1;
      for (let i = 0; i < heads.length; i++) {
        const head = heads[i]!;
        if (head.done) continue;
        if (first < 0 || compareKeys(head.value[0], (heads[first]!.value as RowOf<V>)[0]) < 0) first = i;
      }
      if (first < 0) return;
      yield heads[first]!.value as RowOf<V>;
      heads[first] = await streams[first]!.next();
    }
  } finally {
    await Promise.all(streams.map(stream => stream.return(undefined)));
  }
}

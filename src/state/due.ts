/**
 * What falls due later in a partition (data core, rule 19): rows in one system table, in order of time. Time is the
 * partition's clock, and what happens then is a transaction of the writer's with ordinary effects, so all replicas see it at
 * one position of the log, watchers and indexes too, and whoever is the writer by then does it once.
 */
import { pack, unpack } from '../replication/codec.ts';
import type { Emitted } from '../replication/entry.ts';
import type { Overlay, RawTx, Rows } from './overlay.ts';
import { expiryOf } from './table-codec.ts';

const due = '$due';
/** Handled per transaction: enough to keep up, few enough to stay unnoticed. */
const atOnceMax = 256;
/** A transaction has a limit of its own, which one of them stays below. */
const atOnceBytesMax = 8_388_608;

/** What to do with what fell due; it is off the list by then. */
export type Due = (tx: RawTx, name: string, value: Uint8Array) => void;

const empty = new Uint8Array([0xc0]);

export function fallsDue(rows: Overlay, atMs: number, kind: string, name: string, value: Uint8Array = empty): void {
  rows.set(due, dueKey(atMs, kind, name), value);
}

export function fallsDueNoMore(rows: Overlay, atMs: number, kind: string, name: string): void {
  rows.set(due, dueKey(atMs, kind, name), undefined);
}

/** When the next thing falls due (ms of the partition's clock). */
export function nextDue(rows: Rows): number | undefined {
  for (const [key] of rows.scan(due, '', { limit: 1 })) return Number(key.slice(0, key.indexOf('\n')));
  return undefined;
}

/** Does what is due by now, the oldest first, a bounded part of it. */
export function doDue(tx: RawTx, kinds: ReadonlyMap<string, Due>): void {
  const before = sortable(tx.now + 1);
  const found: [string, Uint8Array][] = [];
  let bytes = 0;
  for (const [key, value] of tx.rows.scan(due, '', { limit: atOnceMax })) {
    if (key.slice(0, before.length) >= before) break;
    bytes += value.length;
    if (bytes > atOnceBytesMax && found.length > 0) break;
    found.push([key, value]);
  }
  for (const [key, value] of found) {
    tx.rows.set(due, key, undefined);
    const kindAt = key.indexOf('\n') + 1;
    const nameAt = key.indexOf('\n', kindAt) + 1;
    kinds.get(key.slice(kindAt, nameAt - 1))?.(tx, key.slice(nameAt), value);
  }
}

/** A row with a life: gone for good, unless it was put again meanwhile. */
export const rowExpires: Due = ({ rows, now }, name) => {
  const end = name.indexOf('\n');
  const table = name.slice(0, end);
  const key = name.slice(end + 1);
  const row = rows.get(table, key);
  if (row && expiryOf(row) <= now) rows.set(table, key, undefined);
};

/** An event that is published later: kept as a row until then. `name` tells two of one moment apart. */
export function eventFallsDue(rows: Overlay, atMs: number, name: string, event: Emitted): void {
  const { topic, partitions, key, body, traceparent } = event;
  fallsDue(rows, atMs, 'event', name, pack([topic, partitions, key, body, traceparent ?? null]));
}

export const eventGoesOut: Due = (tx, _name, value) => {
  const [topic, partitions, key, body, traceparent] = unpack(value) as [
    string,
    number,
    string,
    Uint8Array,
    string | null,
  ];
  tx.emit({ topic, partitions, key, body, traceparent: traceparent ?? undefined });
};

/** A number as text that sorts as the number does. */
export function sortable(value: number): string {
  return String(Math.floor(value)).padStart(16, '0');
}

function dueKey(atMs: number, kind: string, name: string): string {
  return `${sortable(Math.ceil(atMs))}\n${kind}\n${name}`;
}

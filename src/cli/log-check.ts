/**
 * `tandem log check`: judges what the logs of a stopped app hold, not the bytes (`log verify` does those) but what they
 * say: each state log is one chain from its genesis, its clock never goes back, no request is in it twice, and each
 * source's events reached their topic in order. What clients saw is not in a log; histories of that come from
 * `npm run torture`. The export gives others' checkers the order of all writes, in Jepsen's shape.
 */
import { edn, Keyword } from '../core/edn.ts';
import { decodeEvent } from '../events/event.ts';
import type { DumpedEntry } from '../log/repair.ts';
import { unpack } from '../replication/codec.ts';
import { chainHash, type LogEntry } from '../replication/entry.ts';
import { labelOf, renewed } from '../replication/incarnation.ts';
import { entryIn, partAt } from '../replication/large-entries.ts';
import type { Head } from '../replication/store.ts';

export interface LogFinding {
  readonly log: string;
  readonly position: number;
  readonly what: string;
}

export interface CheckedLogs {
  readonly logs: number;
  readonly entries: number;
  readonly requests: number;
  readonly events: number;
  /** Entries that do not continue their chain: replicas skip them. */
  readonly foreign: number;
  /** Events that a relay sent again: readers skip them. */
  readonly repeats: number;
  readonly findings: readonly LogFinding[];
}

/** One committed entry as a transaction of writes. */
export interface WrittenTransaction {
  readonly log: string;
  readonly position: number;
  readonly author: string;
  readonly writes: readonly (readonly [row: string, value: unknown])[];
}

const requests = '$request';

/** What large entries are kept in. */
export type BlobReader = (name: string) => Promise<Uint8Array>;

/** Entries may come in any order and twice, as compaction leaves them. Holds all of one log in memory. */
export async function checkLogs(
  dumped: AsyncIterable<DumpedEntry>,
  blob: BlobReader,
  written: (transaction: WrittenTransaction) => void = () => {},
): Promise<CheckedLogs> {
  const logs = new Map<string, Map<number, Uint8Array>>();
  for await (const { log, position, body } of dumped) {
    const entries = logs.get(log) ?? new Map<number, Uint8Array>();
    logs.set(log, entries.set(position, Uint8Array.from(body)));
  }
  const total = { entries: 0, requests: 0, events: 0, foreign: 0, repeats: 0 };
  const findings: LogFinding[] = [];
  const state: KnownRequests = new Map();
  // A log goes on from one of a lower number.
  for (const log of [...logs.keys()].sort(natural)) {
    const entries = [...logs.get(log)!].sort(([a], [b]) => a - b);
    total.entries += entries.length;
    const find = (position: number, what: string): void => void findings.push({ log, position, what });
    entries.forEach(([position], at) => {
      const before = entries[at - 1]?.[0];
      if (before !== undefined && position !== before + 1) find(position, `the entry before it is ${before}`);
    });
    try {
      if (log.startsWith('state/')) await checkState(log, entries, total, find, blob, written, state);
      else if (log.startsWith('topic/')) checkTopic(entries, total, find);
    } catch (thrown) {
      find(0, (thrown as Error).message);
    }
  }
  return { logs: logs.size, ...total, findings };
}

const natural = new Intl.Collator('en', { numeric: true }).compare;

/** By label of a sealed log: where and how it ended, and the requests that it knew. */
type KnownRequests = Map<string, { readonly position: number; readonly hash: string; readonly known: Set<string> }>;

type Total = { requests: number; events: number; foreign: number; repeats: number };
type Find = (position: number, what: string) => void;
type Entries = readonly (readonly [position: number, body: Uint8Array])[];

async function checkState(
  log: string,
  entries: Entries,
  total: Total,
  find: Find,
  blob: BlobReader,
  written: (transaction: WrittenTransaction) => void,
  sealed: KnownRequests,
): Promise<void> {
  let known = new Set<string>();
  let label = log;
  let identity: Pick<Head, 'incarnation' | 'medium' | 'renewals'> = { incarnation: '' };
  let isSealed = false;
  let parent: string | undefined;
  let time = 0;
  for (const [position, body] of entries) {
    if (body.length === 0) continue; // what a barrier leaves
    if (isSealed) {
      total.foreign++;
      continue;
    }
    const part = partAt(body, undefined);
    if (parent !== undefined && part.parent !== parent) {
      total.foreign++;
      continue;
    }
    let entry: LogEntry;
    try {
      entry = 'blob' in part ? entryIn(await blob(part.blob), part) : part;
    } catch (thrown) {
      find(position, (thrown as Error).message);
      parent = chainHash(body);
      continue;
    }
    if (parent === undefined && position === 1 && !entry.genesis)
      find(position, 'the log does not begin with its genesis');
    if (parent !== undefined && entry.genesis) find(position, 'a second genesis');
    if (entry.time < time) find(position, `its time is ${time - entry.time} ms before that of an earlier entry`);
    time = Math.max(time, entry.time);
    parent = chainHash(body);
    if (entry.genesis) {
      const { incarnation, predecessor } = entry.genesis;
      identity = { incarnation };
      const before = predecessor && sealed.get(predecessor.label);
      if (before) known = new Set(before.known);
      if (before && (before.position !== predecessor.position || before.hash !== predecessor.hash))
        find(position, `it does not go on from where ${predecessor.label} was sealed`);
    }
    if (entry.medium !== undefined) identity = { ...identity, ...renewed(identity, position, entry.medium) };
    if (identity.incarnation !== '') label = labelOf(log, identity);
    isSealed = entry.seal !== undefined;
    if (isSealed) sealed.set(label, { position, hash: parent, known });
    for (const [table, key, value] of entry.writes) {
      if (table !== requests) continue;
      if (!value) known.delete(key);
      else if (known.has(key)) find(position, `request ${key} took effect a second time`);
      else {
        known.add(key);
        total.requests++;
      }
    }
    const writes = rowsOf(entry);
    if (writes.length > 0) written({ log, position, author: entry.author, writes });
  }
}

function rowsOf(entry: LogEntry): WrittenTransaction['writes'] {
  return entry.writes
    .filter(([table]) => !table.startsWith('$'))
    .map(([table, key, value]) => [`${table}/${key}`, value ? (unpack(value) as unknown[])[1] : null]);
}

function checkTopic(entries: Entries, total: Total, find: Find): void {
  const sources = new Map<string, { last: number; readonly seen: Set<number> }>();
  for (const [position, body] of entries) {
    const { source, number } = decodeEvent(body);
    const known = sources.get(source) ?? { last: -1, seen: new Set<number>() };
    sources.set(source, known);
    if (known.seen.has(number)) total.repeats++;
    else if (number < known.last)
      find(position, `event ${number} of ${source} comes after ${known.last}: readers skip it`);
    else total.events++;
    known.last = Math.max(known.last, number);
    known.seen.add(number);
  }
}

/** Each transaction as an invocation and its `ok`, one after the other, as the log has them. */
export function exported(transactions: readonly WrittenTransaction[], format: 'edn' | 'json'): string {
  const processes = new Map<string, number>();
  const events = transactions.flatMap(({ log, position, author, writes }, at) => {
    const process = processes.get(author) ?? processes.size;
    processes.set(author, process);
    return (['invoke', 'ok'] as const).map((type, second) => ({
      index: 2 * at + second,
      type: format === 'edn' ? new Keyword(type) : type,
      process,
      f: format === 'edn' ? new Keyword('txn') : 'txn',
      value: writes.map(([row, value]) => [format === 'edn' ? new Keyword('w') : 'w', `${log}/${row}`, value]),
      log,
      position,
    }));
  });
  return format === 'json' ? `${JSON.stringify(events)}\n` : events.map(event => `${edn(event)}\n`).join('');
}

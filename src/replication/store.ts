/**
 * Where a replica keeps its rows: a cache of the log, never the truth (data core, rule 22). A commit changes rows,
 * position, chain hash and digest together or not at all; nothing is synced, because everything can be rebuilt.
 */
import { TandemError } from '../core/errors.ts';

/** A store could not take a change and is as it was. Worth trying again: what it lacks, mostly room on its disk, may come back. */
export class StoreError extends TandemError {
  constructor(message: string, cause: unknown) {
    super('UNAVAILABLE', message, { cause });
  }
}

export type Write = readonly [table: string, key: string, value: Uint8Array | undefined];
export type Row = readonly [table: string, key: string, value: Uint8Array];

/** From this position on the log has another identity (incarnation.ts). */
export type Renewal = readonly [position: number, id: string];

/** What a replica is, apart from its rows. Plain data; stored with each commit and in snapshots. */
export interface Head {
  /** Last entry applied. */
  readonly position: number;
  /** Chain hash of the last entry that counted, and its position (smaller than `position` after a skipped foreign entry). */
  readonly hash: string;
  readonly hashPosition: number;
  /** The partition's clock (data core, rule 19). */
  readonly time: number;
  /** The log's identity, from its genesis entry. */
  readonly incarnation: string;
  /** Where its last claim said that the log is kept, and where that was another place than before (incarnation.ts). */
  readonly medium?: string | undefined;
  readonly renewals?: readonly Renewal[] | undefined;
  /** Epoch and the instance that the log names as writer; empty after a resignation. */
  readonly epoch: number;
  readonly writer: string;
  /** Whom the last writer resigned to. */
  readonly heir: string;
  /** Set by the log's last entry: incarnations of the logs that go on from it. Nothing is applied after it (rule 23). */
  readonly sealed?: readonly [lower: string, upper: string] | undefined;
  /** Labels of the sealed logs that this one goes on from, the newest first; `label@position` counts below that position alone. */
  readonly ancestors?: readonly string[] | undefined;
  /** Where the newest of them was sealed. */
  readonly sealedAt?: number | undefined;
  /** The last entry that emitted events; 0 for none. Undefined when this copy began before that was kept, and nothing was emitted since. */
  readonly emittedAt?: number | undefined;
  /** While this copy begins as one of another partition: its number, whose log all else here is about. */
  readonly of?: number | undefined;
  /** Order-free sum of the hashes of all rows. */
  readonly digest: string;
}

export const emptyHead: Head = {
  position: 0,
  hash: '',
  hashPosition: 0,
  time: 0,
  incarnation: '',
  epoch: 0,
  writer: '',
  heir: '',
  digest: '0000000000000000',
};

export interface ScanOptions {
  readonly limit?: number | undefined;
  /** Begins behind this key. */
  readonly after?: string | undefined;
}

/** Tables of this name are the replica's own (indexes): not part of its digest, nor of what it hands on. */
export function isLocal(table: string): boolean {
  return table.startsWith('#');
}

/** All rows at one moment; unaffected by later commits until released. */
export interface Capture {
  readonly head: Head;
  readonly rows: Iterable<Row>;
  release(): void;
}

export interface ReplicaStore {
  /** As of the last commit. */
  readonly head: Head;
  get(table: string, key: string): Uint8Array | undefined;
  /** Rows of a table whose key begins with `prefix`, in order of UTF-8 bytes. */
  scan(table: string, prefix: string, options?: ScanOptions): Iterable<readonly [key: string, value: Uint8Array]>;
  /** Names of the tables that have rows, but for local ones. Costs a seek for each. */
  tables(): readonly string[];
  /** Applies the writes in order and sets the head (its digest is computed here). @throws StoreError. */
  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void;
  /** Replaces everything, such as by a snapshot. @throws StoreError. */
  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void;
  /** @throws StoreError. */
  capture(): Capture;
  close(): Promise<void>;
}

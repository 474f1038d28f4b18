/**
 * Replicas in LMDB: one environment per instance, one database in it per partition. Commits are not synced, because a replica
 * is a cache of the log (data core, rule 22), and they are gathered: changes of all partitions wait in memory, seen by every
 * read, and enter LMDB together in one transaction, rows and heads at once. A commit of LMDB costs as much as dozens of rows.
 * So a process that is killed loses the last few changes (never half of one, never a partition's identity), which its
 * successor reads from the log; after the machine went down (another boot id) the whole directory is thrown away and rebuilt.
 * A disk without room refuses changes (StoreError) and nothing else: what is here, in LMDB and in memory, stays readable.
 */
import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { TandemError } from '../core/errors.ts';
import { pack, unpack } from './codec.ts';
import { Digest } from './digest.ts';
import { compareKeys } from './memory-store.ts';
import {
  type Capture,
  emptyHead,
  type Head,
  isLocal,
  type ReplicaStore,
  type Row,
  type ScanOptions,
  StoreError,
  type Write,
} from './store.ts';

type RowKey = [table: string, key: string];
type Rows = Database<Uint8Array, RowKey>;

/** Where the head is kept; no table has an empty name. */
const headKey: RowKey = ['', 'head'];
const databasesMax = 4096;
/** LMDB's limit is 1978, with what separates table and key. */
const keyBytesMax = 1960;
/** What may wait in memory: few enough that storing them holds nobody up for long. */
const gatheredRowsMax = 1024;
const gatheredBytesMax = 4 * 1024 * 1024;
/** What an environment needs to begin. LMDB maps its lock file: without room for that the kernel would kill the process. */
const beginBytes = 1024 * 1024;

export interface StoreSet {
  open(partition: number): Promise<ReplicaStore>;
  close(): Promise<void>;
}

export interface LmdbOptions {
  readonly directory: string;
  /** Changes when the machine starts anew. Default: the kernel's. */
  readonly bootId?: string;
}

/** @throws StoreError when there is no room, or the directory cannot be written. */
export function openLmdbStores(options: LmdbOptions): StoreSet {
  const { directory } = options;
  const gathered = keeping(directory, () => new Gathered(directory, openEnvironment(options)));
  return {
    open: async partition => {
      gathered.store();
      return keeping(directory, () => new LmdbStore(gathered, partition));
    },
    close: async () => {
      try {
        gathered.store();
      } catch {
        // The successor reads it from the log, as after a kill.
      }
      await gathered.root.close();
    },
  };
}

function openEnvironment({ directory, bootId = kernelBootId() }: LmdbOptions): RootDatabase {
  const bootFile = join(directory, 'boot-id');
  if (readText(bootFile) !== bootId) rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const probe = join(directory, 'probe');
  try {
    writeFileSync(probe, Buffer.alloc(beginBytes));
  } finally {
    rmSync(probe, { force: true });
  }
  writeFileSync(bootFile, bootId);
  return openRoot(directory);
}

/** Does what writes. */
function keeping<T>(directory: string, write: () => T): T {
  try {
    return write();
  } catch (cause) {
    if (cause instanceof TandemError) throw cause;
    throw new StoreError(`the replicas in ${directory} cannot be written: ${reasonOf(directory, cause)}`, cause);
  }
}

/** LMDB says "Input/output error" of a disk that took half a page. */
function reasonOf(directory: string, cause: unknown): string {
  const { message } = cause as Error;
  try {
    const { bavail, bsize } = statfsSync(directory);
    const free = bavail * bsize;
    if (free < 4 * beginBytes)
      return `their disk is full (${Math.floor(free / 1024)} KiB free); make room, it goes on by itself`;
  } catch {
    // Then what LMDB says must do.
  }
  return message;
}

/** The stores of one environment that have changes in memory. */
class Gathered {
  readonly directory: string;
  readonly root: RootDatabase;
  readonly #changed = new Set<LmdbStore>();
  #rows = 0;
  #bytes = 0;

  constructor(directory: string, root: RootDatabase) {
    this.directory = directory;
    this.root = root;
  }

  add(store: LmdbStore, rows: number, bytes: number): void {
    this.#changed.add(store);
    this.#rows += rows;
    this.#bytes += bytes;
  }

  makeRoom(): void {
    if (this.#rows >= gatheredRowsMax || this.#bytes >= gatheredBytesMax) this.store();
  }

  /** All or nothing; after a failure everything still waits in memory. @throws StoreError. */
  store(): void {
    if (this.#changed.size === 0) return;
    keeping(this.directory, () =>
      this.root.transactionSync(() => {
        for (const store of this.#changed) store.write();
      }),
    );
    for (const store of this.#changed) store.written();
    this.#changed.clear();
    this.#rows = 0;
    this.#bytes = 0;
  }

  forget(store: LmdbStore): void {
    this.#changed.delete(store);
  }
}

/** A file that LMDB does not take is rebuilt, not repaired. */
function openRoot(directory: string): RootDatabase {
  const path = join(directory, 'rows');
  const openIt = (): RootDatabase => open({ path, maxDbs: databasesMax, noSync: true, overlappingSync: false });
  try {
    return openIt();
  } catch {
    rmSync(path, { recursive: true, force: true });
    return openIt();
  }
}

class LmdbStore implements ReplicaStore {
  readonly #rows: Rows;
  readonly #gathered: Gathered;
  /** Changes that are not in LMDB yet, by table and key; undefined for a row that goes. */
  readonly #changes = new Map<string, Map<string, Uint8Array | undefined>>();
  #isChanged = false;
  #head: Head;

  constructor(gathered: Gathered, partition: number) {
    this.#gathered = gathered;
    this.#rows = gathered.root.openDB<Uint8Array, RowKey>(`partition-${partition}`, { encoding: 'binary' });
    this.#head = this.#readHead();
  }

  get head(): Head {
    return this.#head;
  }

  get(table: string, key: string): Uint8Array | undefined {
    if (this.#isChanged) {
      const changes = this.#changes.get(table);
      const value = changes?.get(key);
      if (value || changes?.has(key)) return value;
    }
    return this.#rows.get([table, key]);
  }

  /** Order is LMDB's business, so what waits in memory goes there first. */
  *scan(table: string, prefix: string, options: ScanOptions = {}): IterableIterator<readonly [string, Uint8Array]> {
    const left = options.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    const changes = this.#changes.get(table);
    if (changes?.size) {
      try {
        this.#gathered.store();
      } catch (cause) {
        if (!(cause instanceof StoreError)) throw cause;
        yield* this.#merged(table, prefix, options, changes);
        return;
      }
    }
    yield* this.#range(table, prefix, options, left);
  }

  *#range(
    table: string,
    prefix: string,
    { after }: ScanOptions,
    limit: number,
  ): IterableIterator<readonly [string, Uint8Array]> {
    let left = limit;
    const start = after === undefined || after < prefix ? prefix : after;
    for (const { key, value } of this.#rows.getRange({ start: [table, start] })) {
      const [at, name] = key;
      if (at !== table || !name.startsWith(prefix)) return;
      if (name === after) continue;
      yield [name, value];
      if (--left <= 0) return;
    }
  }

  /** Reads go on while the disk takes nothing. */
  *#merged(
    table: string,
    prefix: string,
    options: ScanOptions,
    changes: ReadonlyMap<string, Uint8Array | undefined>,
  ): IterableIterator<readonly [string, Uint8Array]> {
    const { after, limit = Number.POSITIVE_INFINITY } = options;
    // Each change takes at most one row away.
    const rows = new Map(this.#range(table, prefix, options, limit + changes.size));
    for (const [key, value] of changes) {
      if (!key.startsWith(prefix) || (after !== undefined && compareKeys(key, after) <= 0)) continue;
      if (value) rows.set(key, value);
      else rows.delete(key);
    }
    yield* [...rows].sort(([a], [b]) => compareKeys(a, b)).slice(0, limit);
  }

  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    for (const [table, key] of writes) checkLength(table, key);
    this.#gathered.makeRoom();
    // Which log this is a copy of is known from the first moment on (rule 20): such a change enters LMDB alone, at once.
    const begins = head.incarnation !== this.#head.incarnation;
    if (begins) this.#gathered.store();
    const before = this.#head;
    const digest = new Digest(this.#head.digest);
    let bytes = 0;
    for (const [table, key, value] of writes) {
      if (!isLocal(table)) {
        const former = this.get(table, key);
        if (former) digest.remove(table, key, former);
        if (value) digest.add(table, key, value);
      }
      this.#change(table, key, value);
      bytes += key.length + (value?.length ?? 0);
    }
    this.#head = { ...head, digest: digest.toString() };
    this.#gathered.add(this, writes.length, bytes);
    if (!begins) return;
    try {
      this.#gathered.store();
    } catch (cause) {
      this.#head = before;
      this.written();
      this.#gathered.forget(this);
      throw cause;
    }
  }

  #change(table: string, key: string, value: Uint8Array | undefined): void {
    let changes = this.#changes.get(table);
    if (!changes) {
      changes = new Map();
      this.#changes.set(table, changes);
    }
    changes.set(key, value);
    this.#isChanged = true;
  }

  /** Inside a transaction of LMDB. */
  write(): void {
    for (const [table, changes] of this.#changes) {
      for (const [key, value] of changes) {
        if (value) this.#rows.putSync([table, key], value);
        else this.#rows.removeSync([table, key]);
      }
    }
    this.#rows.putSync(headKey, pack(this.#head));
  }

  /** What `write` wrote was committed. */
  written(): void {
    for (const changes of this.#changes.values()) changes.clear();
    this.#isChanged = false;
  }

  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void {
    const digest = new Digest(emptyHead.digest);
    const next = keeping(this.#gathered.directory, () =>
      this.#rows.transactionSync(() => {
        this.#rows.clearSync();
        for (const [table, key, value] of rows) {
          if (!isLocal(table)) digest.add(table, key, value);
          this.#rows.putSync([table, key], value);
        }
        const replaced = { ...head, digest: digest.toString() };
        this.#rows.putSync(headKey, pack(replaced));
        return replaced;
      }),
    );
    this.#head = next;
    this.written();
    this.#gathered.forget(this);
  }

  capture(): Capture {
    this.#gathered.store();
    const transaction = this.#rows.useReadTransaction();
    const rows = this.#rows;
    return {
      head: this.#head,
      rows: {
        *[Symbol.iterator]() {
          for (const { key, value } of rows.getRange({ transaction })) {
            if (key[0] !== '' && !isLocal(key[0])) yield [key[0], key[1], new Uint8Array(value)] as const;
          }
        },
      },
      release: () => transaction.done(),
    };
  }

  tables(): readonly string[] {
    this.#gathered.store();
    const tables: string[] = [];
    for (let at = ' '; ; ) {
      // No name of a table has a space, so this is behind all of its rows and before those of the next.
      const [next] = this.#rows.getKeys({ start: [at, ''], limit: 1 });
      if (!next) return tables;
      if (next[0] !== '' && !isLocal(next[0])) tables.push(next[0]);
      at = `${next[0]} `;
    }
  }

  /** The environment is closed as a whole. */
  async close(): Promise<void> {}

  #readHead(): Head {
    const bytes = this.#rows.get(headKey);
    try {
      return bytes ? (unpack(bytes) as Head) : emptyHead;
    } catch {
      this.#rows.clearSync();
      return emptyHead;
    }
  }
}

/** Refused where it is committed, not when it is stored together with the rows of all others. */
function checkLength(table: string, key: string): void {
  if (table.length + key.length <= keyBytesMax / 3) return;
  if (Buffer.byteLength(table) + Buffer.byteLength(key) <= keyBytesMax) return;
  throw new TandemError('TOO_LARGE', `a key of table '${table}' is longer than LMDB takes (${keyBytesMax} bytes)`);
}

function kernelBootId(): string {
  return readText('/proc/sys/kernel/random/boot_id')?.trim() ?? 'unknown';
}
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

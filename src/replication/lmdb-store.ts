/**
 * Replicas in LMDB: one environment per instance, one database in it per partition. Commits are not synced, because a replica
 * is a cache of the log (data core, rule 22): a process that is killed loses nothing (the pages are the kernel's), and after
 * the machine went down (another boot id) the whole directory is thrown away and rebuilt.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { pack, unpack } from './codec.ts';
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

type RowKey = [table: string, key: string];
type Rows = Database<Uint8Array, RowKey>;

/** Where the head is kept; no table has an empty name. */
const headKey: RowKey = ['', 'head'];
const databasesMax = 4096;

export interface StoreSet {
  open(partition: number): Promise<ReplicaStore>;
  close(): Promise<void>;
}

export interface LmdbOptions {
  readonly directory: string;
  /** Changes when the machine starts anew. Default: the kernel's. */
  readonly bootId?: string;
}

export function openLmdbStores(options: LmdbOptions): StoreSet {
  const { directory } = options;
  const bootId = options.bootId ?? kernelBootId();
  const bootFile = join(directory, 'boot-id');
  if (readText(bootFile) !== bootId) rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  writeFileSync(bootFile, bootId);
  const root = openRoot(directory);
  return {
    open: async partition => new LmdbStore(root, partition),
    close: () => root.close(),
  };
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
  #head: Head;

  constructor(root: RootDatabase, partition: number) {
    this.#rows = root.openDB<Uint8Array, RowKey>(`partition-${partition}`, { encoding: 'binary' });
    this.#head = this.#readHead();
  }

  get head(): Head {
    return this.#head;
  }

  get(table: string, key: string): Uint8Array | undefined {
    return this.#rows.get([table, key]);
  }

  *scan(table: string, prefix: string, options: ScanOptions = {}): IterableIterator<readonly [string, Uint8Array]> {
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    if (left <= 0) return;
    const { after } = options;
    const start = after === undefined || after < prefix ? prefix : after;
    for (const { key, value } of this.#rows.getRange({ start: [table, start] })) {
      const [at, name] = key;
      if (at !== table || !name.startsWith(prefix)) return;
      if (name === after) continue;
      yield [name, value];
      if (--left <= 0) return;
    }
  }

  commit(writes: readonly Write[], head: Omit<Head, 'digest'>): void {
    const digest = new Digest(this.#head.digest);
    const next = this.#rows.transactionSync(() => {
      for (const [table, key, value] of writes) this.#write(digest, table, key, value);
      return this.#putHead({ ...head, digest: digest.toString() });
    });
    this.#head = next;
  }

  replace(rows: Iterable<Row>, head: Omit<Head, 'digest'>): void {
    const digest = new Digest(emptyHead.digest);
    const next = this.#rows.transactionSync(() => {
      this.#rows.clearSync();
      for (const [table, key, value] of rows) this.#write(digest, table, key, value);
      return this.#putHead({ ...head, digest: digest.toString() });
    });
    this.#head = next;
  }

  capture(): Capture {
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

  /** The environment is closed as a whole. */
  async close(): Promise<void> {}

  #write(digest: Digest, table: string, key: string, value: Uint8Array | undefined): void {
    const id: RowKey = [table, key];
    const before = this.#rows.get(id);
    const counts = !isLocal(table);
    if (before && counts) digest.remove(table, key, before);
    if (value) {
      if (counts) digest.add(table, key, value);
      this.#rows.putSync(id, value);
    } else if (before) {
      this.#rows.removeSync(id);
    }
  }

  #putHead(head: Head): Head {
    this.#rows.putSync(headKey, pack(head));
    return head;
  }

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

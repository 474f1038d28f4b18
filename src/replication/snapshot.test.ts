import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { engineModel } from '../simulation/engine.ts';
import { type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import { pack } from './codec.ts';
import { openLmdbStores } from './lmdb-store.ts';
import { MemoryStore } from './memory-store.ts';
import { installSnapshot, type SnapshotContext, snapshotPositions, writeSnapshot } from './snapshot.ts';
import { emptyHead, type Head, type ReplicaStore } from './store.ts';

/** Several chunks of it, each of several steps. */
const rowCount = 12_000;
const wanted = (): boolean => true;

interface World {
  readonly clock: VirtualClock;
  readonly engine: Engine;
  readonly context: SnapshotContext;
  readonly at: () => { deadline: number };
  /** Writes a snapshot at this position. */
  write(position: number): Promise<MemoryStore>;
  /** Of the snapshot at this position, in order. */
  chunks(position: number): Promise<string[]>;
  install(store: ReplicaStore): Promise<Head | undefined>;
}

function world(): World {
  const clock = virtualClock();
  const engine = engineModel({ clock, random: seededRandom(1) }).connect(clock);
  const context = { engine, clock, logger: silentLogger, engineTimeoutMs: 1000 };
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + 1000 });
  return {
    clock,
    engine,
    context,
    at,
    write: async position => {
      const source = new MemoryStore();
      const rows = Array.from(
        { length: rowCount },
        (_, i) => ['t', `k${i}`, pack(`${position} `.repeat(300))] as const,
      );
      source.replace(rows, { ...emptyHead, position, hash: 'h', hashPosition: position, incarnation: 'one' });
      await clock.complete(writeSnapshot(context, 's', 0, source.capture()));
      return source;
    },
    chunks: async position => {
      const names = await clock.complete(engine.blobs.list('snapshot/s/0/', at()));
      return names.filter(
        name => name.includes(`/${String(position).padStart(16, '0')}/`) && !name.endsWith('manifest'),
      );
    },
    install: store => clock.complete(installSnapshot(context, 's', 0, store, wanted)),
  };
}

async function inLmdb(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-snapshot-'));
  try {
    await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test('a snapshot of many chunks replaces what was there, in LMDB too', () =>
  inLmdb(async directory => {
    const stores = openLmdbStores({ directory, bootId: 'one' });
    const { write, chunks, install } = world();
    const source = await write(9);
    assert.ok((await chunks(9)).length >= 3);
    for (const store of [new MemoryStore(), await stores.open(0)]) {
      store.commit([['t', 'older', pack(1)]], { ...emptyHead, position: 1, incarnation: 'one' });
      assert.deepEqual(await install(store), source.head);
      assert.deepEqual(store.head, source.head);
      assert.equal(store.get('t', 'older'), undefined);
      assert.equal([...store.scan('t', '')].length, rowCount);
    }
    await stores.close();
  }));

for (const [what, spoil] of [
  ['is damaged', (engine: Engine, chunk: string, at: { deadline: number }) => engine.blobs.put(chunk, pack([]), at)],
  [
    'cannot be decoded',
    (engine: Engine, chunk: string, at: { deadline: number }) => engine.blobs.put(chunk, new Uint8Array([0xc1]), at),
  ],
  ['is missing', (engine: Engine, chunk: string, at: { deadline: number }) => engine.blobs.delete(chunk, at)],
] as const)
  test(`when a chunk of the newest snapshot ${what}, whichever it is, the one before is taken, and nothing else`, async () => {
    const count = await (async () => {
      const { write, chunks } = world();
      await write(20);
      return (await chunks(20)).length;
    })();
    for (let nth = 0; nth < count; nth++) {
      const { clock, engine, write, chunks, install, at } = world();
      const older = await write(9);
      await write(20);
      await clock.complete(spoil(engine, (await chunks(20))[nth]!, at()));
      const store = new MemoryStore();
      assert.deepEqual(await install(store), older.head);
      assert.deepEqual(store.head, older.head);
      assert.equal([...store.scan('t', '')].length, rowCount);
    }
  });

test('when none can be read, whoever looks at the store knows that it is a part of nothing', async () => {
  const { clock, engine, context, write, chunks, install, at } = world();
  await write(9);
  await clock.complete(engine.blobs.delete((await chunks(9))[1]!, at()));
  const store = new MemoryStore();
  assert.equal(await install(store), undefined);
  assert.equal(store.head.installing, true);
  assert.deepEqual(await clock.complete(snapshotPositions(context, 's', 0)), [9]);
});

test('one that is not wanted changes nothing', async () => {
  const { clock, context, write } = world();
  await write(9);
  const store = new MemoryStore();
  store.commit([['t', 'a', pack(1)]], { ...emptyHead, position: 30, incarnation: 'one' });
  const { head } = store;
  assert.equal(
    await clock.complete(installSnapshot(context, 's', 0, store, ({ position }) => position > 30)),
    undefined,
  );
  assert.deepEqual(store.head, head);
});

test('killed behind any chunk, LMDB says that it holds a part, and the next try ends whole', () =>
  inLmdb(async directory => {
    const { clock, engine, context, write, chunks, install } = world();
    const source = await write(9);
    const count = (await chunks(9)).length;
    const stores = openLmdbStores({ directory: join(directory, 'killed'), bootId: 'one' });
    const store = await stores.open(0);
    const left: string[] = [];
    const copying: Engine = {
      ...engine,
      blobs: {
        ...engine.blobs,
        get: async (name, options) => {
          const bytes = await engine.blobs.get(name, options);
          // What a kill would leave now: the files as they are, without a close.
          if (store.head.installing) {
            left.push(join(directory, `left-${left.length}`));
            cpSync(join(directory, 'killed'), left.at(-1)!, { recursive: true });
          }
          return bytes;
        },
      },
    };
    await clock.complete(installSnapshot({ ...context, engine: copying }, 's', 0, store, wanted));
    assert.deepEqual(store.head, source.head);
    assert.equal(left.length, count);
    for (const copy of left) {
      const again = openLmdbStores({ directory: copy, bootId: 'one' });
      const half = await again.open(0);
      assert.equal(half.head.installing, true);
      assert.deepEqual(await install(half), source.head);
      assert.deepEqual(half.head, source.head);
      assert.equal([...half.scan('t', '')].length, rowCount);
      await again.close();
    }
    await stores.close();
  }));

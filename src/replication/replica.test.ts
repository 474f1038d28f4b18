import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { engineModel } from '../simulation/engine.ts';
import { type VirtualClock, virtualClock } from '../simulation/virtual-clock.ts';
import { pack, unpack } from './codec.ts';
import { Digest } from './digest.ts';
import { chainHash, encodeEntry } from './entry.ts';
import { LargeEntries } from './large-entries.ts';
import { openLmdbStores } from './lmdb-store.ts';
import { MemoryStore } from './memory-store.ts';
import { Replica, type ReplicaOptions } from './replica.ts';
import { installSnapshot, writeSnapshot } from './snapshot.ts';
import { emptyHead, type ReplicaStore } from './store.ts';

const log = 'state/s/0';

interface World {
  readonly clock: VirtualClock;
  readonly engine: Engine;
  readonly context: Pick<ReplicaOptions, 'engine' | 'clock' | 'logger' | 'engineTimeoutMs'>;
  open(store?: ReplicaStore, changed?: Partial<ReplicaOptions>): Replica;
  ready(replica: Replica): Promise<void>;
  /** Puts a row through the log, on top of what `replica` has. */
  put(replica: Replica, key: string, value: unknown): Promise<void>;
}

function world(seed = 1): World {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const engine = engineModel({ clock, random }).connect(clock.process());
  const context = { engine, clock, logger: silentLogger, engineTimeoutMs: 1000 };
  const identity = { service: 's', partition: 0, partitions: 4, instance: 'i-1' };
  const ready: World['ready'] = replica =>
    clock.complete(async () => void (await replica.untilReady(clock.monotonic() + 5000)));
  return {
    clock,
    engine,
    context,
    ready,
    open: (store = new MemoryStore(), changed = {}) => {
      const large = new LargeEntries({ ...context, random });
      const base = { ...context, ...identity, random, store, large, knownElsewhere: () => false };
      const replica = new Replica({ ...base, ...changed });
      replica.open();
      return replica;
    },
    put: async (replica, key, value) => {
      const { position, hash } = replica.head;
      const entry = {
        parent: hash,
        author: 'i-1',
        epoch: 1,
        time: 1,
        writes: [['t', key, pack(value)] as const],
        emitted: [],
      };
      await clock.complete(async () => {
        await engine.log.append(log, position, [encodeEntry(entry)], { deadline: clock.monotonic() + 1000 });
        await replica.until(position + 1, clock.monotonic() + 1000);
      });
    },
  };
}

async function filled(seed?: number, entries = 5): Promise<World & { replica: Replica }> {
  const made = world(seed);
  const replica = made.open();
  await made.ready(replica);
  for (let n = 0; n < entries; n++) await made.put(replica, `k${n}`, n);
  return { ...made, replica };
}

test('data of another partition count is refused, and the message names both', async () => {
  const { open, ready } = await filled();
  await assert.rejects(ready(open(undefined, { partitions: 8 })), { code: 'CONFIG', message: /8 partitions.*says 4/ });
});

test('a log that others know of is never begun anew', async () => {
  const { open, ready } = world();
  await assert.rejects(ready(open(undefined, { knownElsewhere: () => true })), { code: 'LOG_LOST' });
});

test('a log that was re-created or emptied under a replica is lost, and nothing of it is served', async () => {
  for (const entries of [0, 2, 30]) {
    const { replica } = await filled();
    const other = await filled(2, entries);
    if (entries === 0) {
      const { open, ready } = world(3);
      await assert.rejects(ready(open(replica.store)), { code: 'LOG_LOST' });
    }
    const known = replica.head.incarnation;
    const again = other.open(replica.store);
    await assert.rejects(other.ready(again), { code: 'LOG_LOST' }, `${entries} entries`);
    assert.equal(again.state, 'failed');
    assert.notEqual(other.replica.head.incarnation, known);
  }
});

test('a copy that does not fit the log is thrown away and built again', async () => {
  const { replica, open, ready } = await filled();
  const store = new MemoryStore();
  store.replace([['t', 'k0', pack('rot')]], { ...replica.head, hash: '0'.repeat(32) });
  const rebuilt = open(store);
  await ready(rebuilt);
  assert.equal(rebuilt.rebuilds, 1);
  assert.equal(rebuilt.head.digest, replica.head.digest);
});

test('an entry that does not continue the chain is skipped by all replicas alike', async () => {
  const { replica, engine, clock, open, ready, put } = await filled();
  const { position } = replica.head;
  const stranger = {
    parent: 'f'.repeat(32),
    author: 'x',
    epoch: 9,
    time: 1,
    writes: [['t', 'k0', pack(666)] as const],
    emitted: [],
  };
  await clock.complete(
    engine.log.append(log, position, [encodeEntry(stranger)], { deadline: clock.monotonic() + 1000 }),
  );
  await clock.advance(100);
  assert.equal(replica.foreignSkipped, 1);
  await put(replica, 'k9', 9);
  const late = open();
  await ready(late);
  assert.deepEqual({ ...late.head }, { ...replica.head });
  assert.deepEqual(late.store.get('t', 'k0'), pack(0));
});

test('a replica that finds its copy wrong while it waits for entries looks at the log again by itself', async () => {
  const { replica, clock, put, open, ready } = await filled();
  const store = new MemoryStore();
  const second = open(store);
  await ready(second);
  // rot in memory: the next entry will not fit
  store.commit([], { ...second.head, hash: 'a'.repeat(32) });
  await put(replica, 'k7', 7);
  await clock.advance(5000);
  assert.ok(second.ready);
  assert.equal(second.rebuilds, 1);
  assert.equal(second.head.digest, replica.head.digest);
});

test('a restarted replica goes on from its rows in LMDB and asks the log only for what is new', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-replica-'));
  try {
    const made = await filled(1, 20);
    let stores = openLmdbStores({ directory, bootId: 'a' });
    const first = made.open(await stores.open(0));
    await made.ready(first);
    const { digest } = made.replica.head;
    assert.equal(first.head.digest, digest);
    await made.clock.complete(first.close());
    await stores.close();

    stores = openLmdbStores({ directory, bootId: 'a' });
    const asked: number[] = [];
    const { log: real } = made.engine;
    const watched: Engine = Object.create(made.engine, {
      log: {
        value: {
          ...real,
          read: (name: string, from: number, ...rest: [number, never]) => {
            if (name === log) asked.push(from);
            return real.read(name, from, ...rest);
          },
        },
      },
    });
    const second = made.open(await stores.open(0), { engine: watched });
    await made.ready(second);
    assert.equal(second.head.digest, digest);
    assert.ok(
      asked.every(from => from >= second.head.position),
      `asked from ${asked.join()}`,
    );
    await made.clock.complete(second.close());
    await stores.close();

    stores = openLmdbStores({ directory, bootId: 'b' });
    assert.equal((await stores.open(0)).head.position, 0, 'after another boot the cache is thrown away');
    await stores.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('when the log is trimmed a new replica begins with the newest snapshot that can be read', async () => {
  const { replica, context, engine, clock, open, ready, put } = await filled();
  await clock.complete(writeSnapshot(context, 's', 0, replica.store.capture()));
  await put(replica, 'k5', 5);
  await clock.complete(writeSnapshot(context, 's', 0, replica.store.capture()));
  await put(replica, 'k6', 6);
  const older = replica.head.position - 2;
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + 1000 });
  await clock.complete(engine.log.trim(log, older, at()));
  const fresh = open();
  await ready(fresh);
  assert.equal(fresh.head.digest, replica.head.digest);

  const chunks = await clock.complete(engine.blobs.list('snapshot/s/0/', at()));
  const newest = chunks.filter(name => !name.endsWith('manifest')).at(-1)!;
  await clock.complete(engine.blobs.put(newest, pack([]), at()));
  const copy = new MemoryStore();
  await clock.complete(installSnapshot(context, 's', 0, copy, () => true));
  assert.equal(copy.head.position, older);
  const second = open();
  await ready(second);
  assert.equal(second.head.digest, replica.head.digest);
});

test('equal bytes have equal chain hashes, and one more byte another', () => {
  assert.equal(chainHash(Buffer.from('a')), chainHash(Buffer.from('a')));
  assert.notEqual(chainHash(Buffer.from('a')), chainHash(Buffer.from('ab')));
});

test('a replica whose process was killed has whole commits in LMDB, knows its log, and reads the rest again', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-replica-'));
  try {
    const made = await filled(1, 20);
    const stores = openLmdbStores({ directory: join(directory, 'one'), bootId: 'a' });
    const first = made.open(await stores.open(0));
    await made.ready(first);
    // What a kill leaves: the files as they are, without a close.
    cpSync(join(directory, 'one'), join(directory, 'two'), { recursive: true });
    const left = openLmdbStores({ directory: join(directory, 'two'), bootId: 'a' });
    const store = await left.open(0);
    assert.equal(store.head.incarnation, first.head.incarnation);
    const digest = new Digest(emptyHead.digest);
    const { head, rows, release } = store.capture();
    for (const [table, key, value] of rows) digest.add(table, key, value);
    release();
    assert.equal(head.digest, digest.toString());
    const second = made.open(store);
    await made.ready(second);
    assert.deepEqual(second.head, first.head);
    for (const each of [first, second]) await made.clock.complete(each.close());
    await stores.close();
    await left.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('rows that wait to be stored are read like stored ones: got, scanned, captured, deleted, and kept by a close', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-replica-'));
  try {
    let stores = openLmdbStores({ directory, bootId: 'a' });
    let store = await stores.open(0);
    const rest = { ...emptyHead, incarnation: 'i' };
    store.commit([['t', 'a', pack(1)]], { ...rest, position: 1 });
    store.commit([['t', 'b', pack(2)]], { ...rest, position: 2 });
    store.commit([['t', 'a', undefined]], { ...rest, position: 3 });
    assert.equal(store.get('t', 'a'), undefined);
    assert.deepEqual(store.get('t', 'b'), pack(2));
    store.commit([['t', 'c', pack(3)]], { ...rest, position: 4 });
    assert.deepEqual(
      [...store.scan('t', '')].map(([key]) => key),
      ['b', 'c'],
    );
    store.commit([['t', 'd', pack(4)]], { ...rest, position: 5 });
    const { rows, head, release } = store.capture();
    assert.equal(head.position, 5);
    assert.deepEqual(
      [...rows].map(([, key]) => key),
      ['b', 'c', 'd'],
    );
    release();
    assert.throws(() => store.commit([['t', 'k'.repeat(2000), pack(1)]], { ...rest, position: 6 }), {
      code: 'TOO_LARGE',
    });
    store.commit([['t', 'd', pack(5)]], { ...rest, position: 6 });
    const { digest } = store.head;
    await stores.close();
    stores = openLmdbStores({ directory, bootId: 'a' });
    store = await stores.open(0);
    assert.equal(store.head.position, 6);
    assert.equal(store.head.digest, digest);
    assert.equal(unpack(store.get('t', 'd')!), 5);
    await stores.close();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('what is applied while a barrier is on its way is no sign of a loss', async () => {
  const { clock, engine, replica: other, open, ready, put } = await filled();
  const { log: real } = engine;
  let broken = false;
  let overtaken = false;
  const changed: Engine = Object.create(engine, {
    log: {
      value: {
        ...real,
        async *follow(...args: Parameters<typeof real.follow>) {
          if (broken) yield* real.follow(...args);
          broken = true;
          throw new TandemError('UNAVAILABLE', 'a hiccup');
        },
        barrier: async (...args: Parameters<typeof real.barrier>) => {
          const tail = await real.barrier(...args);
          if (!broken || overtaken) return tail;
          overtaken = true;
          // Someone writes here, catches up by itself, and then the answer comes.
          await sleep(clock, 100);
          return tail;
        },
      },
    },
  });
  const replica = open(new MemoryStore(), { engine: changed });
  await ready(replica);
  const { position } = replica.head;
  for (let waited = 0; !overtaken && waited < 1000; waited += 10) await clock.advance(10);
  await put(other, 'while it is on its way', 1);
  await clock.complete(() => replica.catchUp(position + 1, clock.monotonic() + 1000));
  await clock.advance(500);
  assert.equal(replica.failure, undefined);
  assert.equal(replica.head.position, position + 1);
  assert.equal(replica.ready, true);

  await clock.complete(replica.close());
  await assert.rejects(async () => replica.until(99, clock.monotonic() + 1000), { code: 'CLOSED' });
});

test('a copy that was killed while a snapshot was put into it serves nothing of it, and begins anew', async () => {
  for (const isTrimmed of [false, true]) {
    const { replica, context, engine, clock, open, ready } = await filled();
    await clock.complete(writeSnapshot(context, 's', 0, replica.store.capture()));
    const before = replica.head.position + (isTrimmed ? 1 : 0);
    if (isTrimmed) await clock.complete(engine.log.trim(log, before, { deadline: clock.monotonic() + 1000 }));
    const half = new MemoryStore();
    half.replace([], { ...emptyHead, installing: true });
    half.commit([['t', 'ghost', pack(1)]], { ...emptyHead, installing: true });
    const again = open(half);
    await ready(again);
    assert.equal(again.head.digest, replica.head.digest);
    assert.equal(again.head.installing, undefined);
    assert.equal(half.get('t', 'ghost'), undefined);
  }
});

test('an entry that cannot be read, and a snapshot past it that cannot be either, stop a replica, which claims nothing else', async () => {
  const { replica, context, engine, clock, open, ready } = await filled();
  const said: string[] = [];
  const follower = open(undefined, { logger: { ...silentLogger, error: message => void said.push(message) } });
  await ready(follower);
  const { position, hash } = replica.head;
  const source = new MemoryStore();
  source.replace([['t', 'a', pack(1)]], { ...replica.head, position: position + 1, hash, hashPosition: position });
  await clock.complete(writeSnapshot(context, 's', 0, source.capture()));
  const at = { deadline: clock.monotonic() + 1000 };
  const chunk = (await clock.complete(engine.blobs.list('snapshot/s/0/', at))).find(
    name => !name.endsWith('manifest'),
  )!;
  await clock.complete(engine.blobs.put(chunk, pack([]), at));
  await clock.complete(engine.log.append(log, position, [pack('no entry')], { deadline: clock.monotonic() + 1000 }));
  await clock.advance(30_000);
  assert.equal(follower.state, 'failed');
  assert.equal(follower.failure?.code, 'CORRUPT');
  assert.deepEqual(
    said.filter(message => message.includes('led past')),
    [],
  );
});

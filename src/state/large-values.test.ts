// Values past the entry's limit go by way of blobs: stored before they are named, read by every replica, collected when
// nobody can name them any more; and never a hole where one cannot be read.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../calling/session.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { seededRandom } from '../core/random.ts';
import type { Blobs } from '../log/engine.ts';
import { pack } from '../replication/codec.ts';
import { decodeEntry, encodeEntry } from '../replication/entry.ts';
import { isReference } from '../replication/large-entries.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { type Rig, rig, sold } from './fixture.test.ts';
import { pageRowsMax, readPage } from './queries.ts';

const log = 'state/data/0';
const mebibyte = 1_048_576;
const text = (letter: string, bytes = 3 * mebibyte): string => letter.repeat(bytes);

interface Tx {
  readonly stock: { get(key: string): unknown; put(key: string, value: unknown): void; delete(key: string): void };
  emit(topic: unknown, event: unknown): void;
}
const change = <R>(world: Rig, node: DataNode, body: (tx: Tx) => R): Promise<R> =>
  world.clock.complete(() => world.transact(node, tx => body(tx as unknown as Tx)));
const put = (world: Rig, node: DataNode, key: string, value: unknown): Promise<void> =>
  change(world, node, tx => tx.stock.put(key, value));
const read = (world: Rig, node: DataNode, key: string): Promise<unknown> =>
  world.clock.complete(() => world.read(node, key));
const fails = (code: string, says: RegExp) => (thrown: unknown) => {
  const error = TandemError.from(thrown);
  assert.equal(error.code, code);
  assert.match(error.message, says);
  assert.equal(error.outcome, 'not-done');
  return true;
};
const blobsOf = (world: Rig, node: DataNode): Promise<readonly string[]> =>
  world.clock.complete(() => node.engine.blobs.list('large/', { deadline: world.clock.monotonic() + 1000 }));
const positionOf = (blob: string): number => Number(blob.split('/').at(-1)!.split('-')[0]);
/** As whole an entry as the one in `bytes`, and for the same place, but it says something else. */
function another(bytes: Uint8Array): Uint8Array {
  return encodeEntry({ ...decodeEntry(bytes), writes: [['stock', 'a', pack([1, 'other'])]] });
}
/** Replaces operations of a node's blobs; the returned function puts them back. */
function patched(node: DataNode, patch: (blobs: Blobs) => Partial<Blobs>): () => void {
  const blobs = node.engine.blobs as { -readonly [K in keyof Blobs]: Blobs[K] };
  const before = { ...blobs };
  Object.assign(blobs, patch(before));
  return () => void Object.assign(blobs, before);
}

test('a row, an event or a transaction over its limit is refused, says what to do instead, and harms nobody', async () => {
  const world = rig();
  const [x] = await world.start('x');
  await assert.rejects(
    put(world, x!, 'a', text('a', limits.rowBytesMax)),
    fails('TOO_LARGE', /row 'a' of table 'stock' has \d+ bytes, more than 4194304: cut it into several rows/),
  );
  await assert.rejects(
    change(world, x!, tx => tx.emit(sold, { key: 'a', text: text('a', limits.eventBytesMax) })),
    fails('TOO_LARGE', /an event of topic 'sold' has \d+ bytes.*store it as a row, and let the event carry its key/),
  );
  const several = (tx: Tx): void => {
    for (const key of ['a', 'a/1', 'a/2', 'a/3', 'a/4', 'a/5']) tx.stock.put(key, text('a'));
  };
  await assert.rejects(change(world, x!, several), fails('TOO_LARGE', /over the limit of 16777216: change less/));
  assert.equal(await put(world, x!, 'a', 'fits'), undefined);
  assert.deepEqual(await blobsOf(world, x!), []);
});

test('while an instance of an older version runs, nothing is written that it cannot read', async () => {
  const world = rig({ entryFormat: slot => (slot === 'old' ? 1 : 3) });
  const [x, old] = await world.start('x', 'old');
  await assert.rejects(put(world, x!, 'a', text('a')), fails('TOO_LARGE', /an older version.*finish the roll/));
  assert.equal(await put(world, x!, 'a', 'fits'), undefined);
  old!.kill();
  await world.clock.advance(2000);
  assert.equal(await put(world, x!, 'a', text('a')), undefined);
});

test('a value of several entries is one write: a small entry names it, and every replica has it', async () => {
  for (const barrierAppends of [false, true]) {
    const world = rig({ barrierAppends });
    const [x, y] = await world.start('x', 'y');
    await put(world, x!, 'b', 1);
    await put(world, x!, 'a', text('a'));
    await change(world, x!, tx => tx.stock.put('b', (tx.stock.get('a') as string).length));
    for (const node of [x!, y!]) {
      assert.equal(await read(world, node, 'a'), text('a'));
      assert.equal(await read(world, node, 'b'), 3 * mebibyte);
    }
    const references = world.model.entries(log).filter(isReference);
    assert.equal(references.length, 1);
    assert(references[0]!.length < 300);
    const [one, two] = [x!, y!].map(node => node.stores.get(0)!.head);
    assert.deepEqual([one!.position, one!.digest, one!.hash], [two!.position, two!.digest, two!.hash]);
    // A replica that begins with nothing reads it from the log too.
    const [z] = await rig({ barrierAppends, model: world }).start('z');
    assert.equal(await read(world, z!, 'a'), text('a'));
  }
});

test('a large transaction travels alone, and those around it go their way', async () => {
  const world = rig();
  const [x] = await world.start('x');
  const all = ['a', 'b', 'c', 'd'].map((key, i) =>
    world.transact(x!, tx => (tx as unknown as Tx).stock.put(key, i % 2 ? text(key, 2 * mebibyte) : key)),
  );
  await world.clock.complete(() => Promise.all(all));
  assert.equal((await blobsOf(world, x!)).length, 2);
  for (const [i, key] of ['a', 'b', 'c', 'd'].entries())
    assert.equal(await read(world, x!, key), i % 2 ? text(key, 2 * mebibyte) : key);
});

test('the blob is there before the log names it, and a log that does not take the entry leaves nothing behind', async () => {
  const world = rig();
  const [x] = await world.start('x');
  const seen: number[] = [];
  let refusals = 2;
  world.hooks.set('*', inner => ({
    append: async (name, expected, bodies, options) => {
      if (!isReference(bodies[0]!)) return inner.append(name, expected, bodies, options);
      seen.push((await x!.engine.blobs.list('large/', options)).length);
      if (refusals-- > 0) throw new TandemError('UNAVAILABLE', 'not now');
      return inner.append(name, expected, bodies, options);
    },
  }));
  await put(world, x!, 'a', text('a'));
  assert(seen.length === 3 && seen.every(blobs => blobs >= 1), `blobs at each append: ${seen}`);
  await world.clock.advance(100);
  assert.equal((await blobsOf(world, x!)).length, 1, 'those of the refused tries are gone');
  assert.equal(await read(world, x!, 'a'), text('a'));
});

test('where blobs cannot be stored, a large write waits and is not done by its deadline, and small ones go on', async () => {
  const world = rig();
  const [x] = await world.start('x');
  const mend = patched(x!, () => ({ put: () => Promise.reject(new TandemError('UNAVAILABLE', 'no room for blobs')) }));
  const large = world.transact(x!, tx => (tx as unknown as Tx).stock.put('a', text('a')));
  await assert.rejects(
    world.clock.complete(() => large),
    { code: 'DEADLINE_EXCEEDED' },
  );
  assert.equal(await put(world, x!, 'b', 1), undefined);
  assert.equal(await read(world, x!, 'a'), undefined);
  mend();
  await put(world, x!, 'a', text('a'));
  assert.equal(await read(world, x!, 'a'), text('a'));
});

test('an answer that was lost is found out by the slot, also of a large entry', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  let lost = 0;
  world.hooks.set('*', inner => ({
    append: async (name, expected, bodies, options) => {
      const result = await inner.append(name, expected, bodies, options);
      if (!isReference(bodies[0]!) || lost++ > 0) return result;
      return { kind: 'unknown', cause: new Error('lost') };
    },
  }));
  await put(world, x!, 'a', text('a'));
  assert.equal(lost > 0, true);
  for (const node of [x!, y!]) assert.equal(await read(world, node, 'a'), text('a'));
  assert.equal(world.model.entries(log).filter(isReference).length, 1);
});

test('a blob that is gone or another stops the replica that needs it: an error, never a hole; the others serve', async () => {
  for (const damage of ['gone', 'another'] as const) {
    const world = rig();
    const [x] = await world.start('x');
    await put(world, x!, 'a', text('a'));
    const [blob] = await blobsOf(world, x!);
    const { blobs } = x!.engine;
    const at = { deadline: world.clock.monotonic() + 1000 };
    await world.clock.complete(async () =>
      damage === 'gone' ? blobs.delete(blob!, at) : blobs.put(blob!, another(await blobs.get(blob!, at)), at),
    );
    await put(world, x!, 'b', 1);
    const y = await world.clock.complete(() => world.cluster.start('y'));
    await assert.rejects(
      world.clock.complete(() => y.keyspace.ready(world.clock.monotonic() + 20_000)),
      (thrown: TandemError) => {
        assert.equal(thrown.code, 'CORRUPT');
        assert.match(thrown.message, /names a large entry at \d+ that cannot be read .*restore .*a backup/);
        return true;
      },
    );
    assert.equal(y.stores.get(0)!.get('stock', 'b'), undefined, 'what lies behind the hole is not applied');
    assert.equal(await read(world, x!, 'a'), text('a'));
    assert.equal(await read(world, y, 'b'), 1, 'asked of the one that has it');
  }
});

test('a replica that lags behind a trim goes on from a snapshot, not from a hole', async () => {
  const world = rig({ settings: { snapshotEntries: 4 } });
  const [x] = await world.start('x');
  await put(world, x!, 'a', text('a'));
  const first = world.model.entries(log).length;
  x!.keyspace.setTrimFloor(0, Number.MAX_SAFE_INTEGER);
  const y = await world.clock.complete(() => world.cluster.start('y'));
  // It has read the entry, and before it reads the blob both are gone.
  const waiting = Promise.withResolvers<void>();
  patched(y, ({ get }) => ({
    get: async (name, options) => {
      if (name.startsWith('large/')) await waiting.promise;
      return get(name, {
        deadline: world.clock.monotonic() + Math.max(1000, options.deadline - world.clock.monotonic()),
      });
    },
  }));
  world.cluster.cut('x', 'y'); // so that nobody waits for it with trimming
  for (let i = 0; i < 30; i++) {
    await put(world, x!, 'b', i);
    await world.clock.advance(200);
  }
  assert(positionOf((await blobsOf(world, x!))[0] ?? '99-') > first, 'it was collected');
  waiting.resolve();
  world.cluster.heal();
  await world.clock.complete(() => y.keyspace.ready(world.clock.monotonic() + 20_000));
  assert.equal(await read(world, y, 'a'), text('a'));
  assert.equal(await read(world, y, 'b'), 29);
});

test('blobs are collected a trim after the log has let go of them; what it still names, and what is on its way, stays', async () => {
  const world = rig({ settings: { snapshotEntries: 4 } });
  const [x] = await world.start('x');
  x!.keyspace.setTrimFloor(0, Number.MAX_SAFE_INTEGER);
  // A crash between the blob and the append: nobody will ever name it.
  const tail = world.model.entries(log).length;
  const orphan = `large/${log}/${String(tail + 1).padStart(16, '0')}-orphan`;
  const at = { deadline: world.clock.monotonic() + 1000 };
  await world.clock.complete(() => x!.engine.blobs.put(orphan, Buffer.from('x'), at));
  const ahead = `large/${log}/${'9'.repeat(16)}-ahead`;
  await world.clock.complete(() => x!.engine.blobs.put(ahead, Buffer.from('x'), at));
  await put(world, x!, 'a', text('a'));
  const mine = (await blobsOf(world, x!)).find(blob => blob !== orphan && blob !== ahead)!;
  const first = async (): Promise<number> =>
    (await world.clock.complete(() => x!.engine.log.info(log, { deadline: world.clock.monotonic() + 1000 }))).first;
  let graced = false;
  let collected = false;
  for (let i = 0; i < 60 && !collected; i++) {
    await put(world, x!, 'b', i);
    await world.clock.advance(150);
    const blobs = await blobsOf(world, x!);
    const kept = await first();
    if (positionOf(mine) >= kept) assert(blobs.includes(mine), 'the log still names it');
    else if (blobs.includes(mine)) graced = true;
    else collected = true;
  }
  assert(graced, 'it outlived the trim that let go of it');
  assert(collected);
  assert.deepEqual(await blobsOf(world, x!), [ahead]);
  assert.equal(await read(world, x!, 'a'), text('a'));
});

test('a writer killed between storing and naming leaves an orphan and no effect; its successor goes on', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  world.hooks.set('x', inner => ({
    append: (name, expected, bodies, options) => {
      if (!isReference(bodies[0]!)) return inner.append(name, expected, bodies, options);
      x!.kill();
      return new Promise(() => {});
    },
  }));
  void world.transact(x!, tx => (tx as unknown as Tx).stock.put('a', text('a'))).catch(() => {});
  await world.clock.advance(5000);
  assert.equal((await blobsOf(world, y!)).length, 1);
  assert.equal(await read(world, y!, 'a'), undefined);
  await put(world, y!, 'a', text('b'));
  assert.equal(await read(world, y!, 'a'), text('b'));
});

test('scans of large rows go in pages that fit, at a replica and from elsewhere', async () => {
  const world = rig({ replicas: 1 });
  const [x] = await world.start('x');
  for (let i = 0; i < 6; i++) await put(world, x!, `a/${i}`, text(String(i)));
  let largest = 0;
  const [y] = await world.start('y');
  await world.clock.advance(10_000);
  const holder = x!.keyspace.held().includes(0) ? x! : y!;
  const asker = holder === x ? y! : x!;
  const answer = holder.keyspace.answer;
  (holder.keyspace as { answer: unknown }).answer = async (incoming: { method: string }) => {
    const reply = (await answer(incoming as never)) as { body: { rows: readonly (readonly [string, Uint8Array])[] } };
    if (incoming.method === '$scan')
      largest = Math.max(
        largest,
        reply.body.rows.reduce((sum, [, bytes]) => sum + bytes.length, 0),
      );
    return reply;
  };
  for (const node of [holder, asker]) {
    const scope = world.scope(node, { level: 'sequential', session: new Session() });
    const keys = await world.clock.complete(async () => {
      const found: string[] = [];
      for await (const [key, value] of scope.tables['stock']!.scan('a/')) {
        assert.equal((value as string).length, 3 * mebibyte);
        found.push(key);
      }
      return found;
    });
    assert.deepEqual(keys, ['a/0', 'a/1', 'a/2', 'a/3', 'a/4', 'a/5']);
  }
  const rows = readPage(
    holder.stores.get(0)!,
    { decode: bytes => bytes },
    { table: 'stock', prefix: 'a/', limit: pageRowsMax },
  );
  assert.deepEqual([rows.rows.length, rows.more], [1, true], 'nor does one of them hold much more in memory');
  assert(largest > 0 && largest < limits.frameBytesMax, `${largest} bytes in one reply`);
});

test('events of a large transaction are found in order, from memory and from the log', async () => {
  const world = rig();
  const [x] = await world.start('x');
  await change(world, x!, tx => tx.emit(sold, { key: 'a', n: 0 }));
  await change(world, x!, tx => {
    tx.stock.put('a', text('a'));
    tx.emit(sold, { key: 'a', n: 1 });
  });
  await change(world, x!, tx => tx.emit(sold, { key: 'a', n: 2 }));
  const numbers = async (node: DataNode): Promise<number> => {
    const stop = new AbortController();
    let found = 0;
    for await (const { events, through } of node.keyspace.emitted(0, 1, stop.signal)) {
      found += events.filter(({ topic }) => topic === 'sold').length;
      if (through >= node.stores.get(0)!.head.position) break;
    }
    stop.abort();
    return found;
  };
  assert.equal(await world.clock.complete(() => numbers(x!)), 3);
  const [z] = await rig({ model: world }).start('z');
  await put(world, x!, 'b', 1);
  assert.equal(await world.clock.complete(() => numbers(z!)), 3);
});

for (let seed = 1; seed <= 8; seed++)
  test(`seed ${seed}: under lost answers, failing blobs and kills no acknowledged large write is lost, and copies agree`, async () => {
    const world = rig({ seed, replicas: 3, settings: { snapshotEntries: 12 } });
    const random = seededRandom(seed);
    const nodes = new Map<string, DataNode>();
    const start = async (slot: string): Promise<void> => {
      const [node] = await world.start(slot);
      nodes.set(slot, node!);
      node!.keyspace.setTrimFloor(0, Number.MAX_SAFE_INTEGER);
      patched(node!, ({ put, get }) => ({
        put: async (name, bytes, options) => {
          if (faulty && random.next() < 0.1) throw new TandemError('UNAVAILABLE', 'no blobs now');
          await put(name, bytes, options);
          if (faulty && random.next() < 0.1) throw new TandemError('DEADLINE_EXCEEDED', 'stored, and the answer lost');
        },
        get: (name, options) =>
          faulty && random.next() < 0.1
            ? Promise.reject(new TandemError('UNAVAILABLE', 'no blobs now'))
            : get(name, options),
      }));
    };
    let faulty = false;
    for (const slot of ['x', 'y', 'z']) await start(slot);
    faulty = true;
    world.model.setLostAnswerChance(0.15);
    const tries: { readonly n: number; readonly acknowledged: boolean }[] = [];
    for (let n = 1; n <= 60; n++) {
      const slot = [...nodes.keys()][random.below(nodes.size)]!;
      const value = { n, text: random.next() < 0.6 ? text('v', 1_200_000) : '' };
      const done = await world.clock
        .complete(() => world.transact(nodes.get(slot)!, tx => (tx as unknown as Tx).stock.put('a', value)))
        .then(
          () => true,
          () => false,
        );
      tries.push({ n, acknowledged: done });
      if (random.next() > 0.15) continue;
      nodes.get(slot)!.kill();
      nodes.delete(slot);
      await world.clock.advance(random.next() * 3000);
      await start(slot);
    }
    faulty = false;
    world.model.setLostAnswerChance(0);
    await world.clock.advance(10_000);
    const count = tries.filter(({ acknowledged }) => acknowledged).length;
    assert(count > 30, `${count} of 60 writes were acknowledged`);
    const last = tries.findLast(({ acknowledged }) => acknowledged)!.n;
    for (const node of nodes.values()) {
      const found = (await read(world, node, 'a')) as { n: number };
      assert(found.n >= last, `${found.n} is there, ${last} was acknowledged`);
    }
    assert(world.model.entries(log).some(isReference));
    const heads = [...nodes.values()].flatMap(node => {
      const head = node.keyspace.held().includes(0) ? node.stores.get(0)?.head : undefined;
      return head ? [`${head.position} ${head.digest}`] : [];
    });
    assert.equal(new Set(heads).size, 1, heads.join());
  });

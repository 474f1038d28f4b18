// Rows with a life, rows found by an index, and reads of many rows over pages and partitions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tx } from '../contract/context.ts';
import { type Table, table } from '../contract/table.ts';
import type { AnySchema } from '../core/schema.ts';
import { unpack } from '../replication/codec.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { anything, type Rig, rig, sold } from './fixture.test.ts';
import { pageRowsMax } from './queries.ts';

interface Order {
  readonly by: string;
  readonly n: number;
}
type Orders = { readonly stock: Table<Order, 'byWhom'> };
const orders = anything as AnySchema & {
  readonly '~standard': { readonly types: { readonly input: Order; readonly output: Order } };
};
const indexed = (): Orders['stock'] => table(orders, { indexes: { byWhom: order => order.by } });

type Body<R> = (tx: Tx<Orders>) => R;
const change = <R>(world: Rig, node: DataNode, body: Body<R>, partition = 0): Promise<R> =>
  world.clock.complete(() => world.scope(node, { partition }).transact(tx => body(tx as unknown as Tx<Orders>)));

interface Reader {
  get(key: string): Promise<unknown>;
  scan(prefix: string, options?: object): AsyncIterable<readonly [string, unknown]>;
  find(index: string, value: string, options?: object): AsyncIterable<readonly [string, unknown]>;
}
const reader = (world: Rig, node: DataNode, partition: number | 'none' = 0): Reader =>
  world.scope(node, {
    partition: partition === 'none' ? undefined : partition,
    deadline: world.clock.monotonic() + 20_000,
  }).tables['stock'] as never;
async function keysOf(world: Rig, rows: AsyncIterable<readonly [string, unknown]>): Promise<string[]> {
  return world.clock.complete(async () => {
    const keys: string[] = [];
    for await (const [key] of rows) keys.push(key);
    return keys;
  });
}

test("a row with a life is gone at its end by the partition's clock, at every replica, and not before", async () => {
  const world = rig({ stock: table(anything, { ttl: '10s' }) });
  const [x, y] = await world.start('x', 'y');
  await change(world, x!, tx => {
    tx.stock.put('a', { by: 'c1', n: 1 });
    tx.stock.put('longer', { by: 'c1', n: 2 }, { ttl: '1m' });
  });
  await world.clock.advance(9000);
  await change(world, x!, tx => tx.stock.put('b', { by: 'c1', n: 3 }));
  // A reader whose own clock is far ahead sees what the others see.
  y!.clock.jumpWall(3_600_000);
  for (const node of [x!, y!])
    assert.deepEqual(await keysOf(world, reader(world, node).scan('')), ['a', 'b', 'longer']);
  y!.clock.jumpWall(-3_600_000);
  await world.clock.advance(2000);
  for (const node of [x!, y!]) {
    assert.equal(await world.clock.complete(() => reader(world, node).get('a')), undefined);
    assert.deepEqual(await keysOf(world, reader(world, node).scan('')), ['b', 'longer']);
    assert.equal(node.stores.get(0)!.get('stock', 'a'), undefined, 'its removal is an effect like any other');
  }
  await world.clock.advance(60_000);
  assert.deepEqual(await keysOf(world, reader(world, x!).scan('')), []);
  assert.deepEqual([...x!.stores.get(0)!.scan('$due', '')], [], 'nothing is left behind');
});

test('a row that is put again or kept from now on outlives its former end', async () => {
  const world = rig({ stock: table(anything, { ttl: '10s' }) });
  const [x] = await world.start('x');
  await change(world, x!, tx => tx.stock.put('a', { by: 'c1', n: 1 }));
  await world.clock.advance(8000);
  await change(world, x!, tx => tx.stock.put('a', { by: 'c1', n: 2 }));
  await world.clock.advance(8000);
  assert.deepEqual(await world.clock.complete(() => reader(world, x!).get('a')), { by: 'c1', n: 2 });
  await change(world, x!, tx => tx.stock.delete('a'));
  await change(world, x!, tx => tx.stock.put('a', { by: 'c1', n: 3 }, { ttl: '1h' }));
  await world.clock.advance(60_000);
  assert.deepEqual(await world.clock.complete(() => reader(world, x!).get('a')), { by: 'c1', n: 3 });
});

test('a row whose life is over is not seen by a transaction, even before it was removed', async () => {
  const world = rig({ stock: table(anything, { ttl: '5s' }) });
  const [x] = await world.start('x');
  await change(world, x!, tx => tx.stock.put('a', { by: 'c1', n: 1 }));
  x!.clock.jumpWall(6000);
  const seen = await change(world, x!, tx => {
    tx.stock.put('b', { by: 'c2', n: 1 });
    return [tx.stock.get('a'), [...tx.stock.scan('')].map(([key]) => key)];
  });
  assert.deepEqual(seen, [undefined, ['b']]);
});

test('an event with a delay goes out once, in its time, whoever writes by then', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  const emit = (tx: Tx<Orders>, n: number, delay?: '10s' | '20s'): void =>
    (tx.emit as (topic: unknown, event: unknown, options?: object) => void)(sold, { key: 'k', n }, delay && { delay });
  await change(world, x!, tx => {
    emit(tx, 2, '20s');
    emit(tx, 1, '10s');
    emit(tx, 0);
  });
  const seen: number[] = [];
  const end = new AbortController();
  void (async () => {
    for await (const { events } of y!.keyspace.emitted(0, 1, end.signal))
      for (const event of events) seen.push((unpack(event.body) as { n: number }).n);
  })();
  await world.clock.advance(9000);
  assert.deepEqual(seen, [0]);
  await world.clock.advance(3000);
  assert.deepEqual(seen, [0, 1]);
  const writer = x!.keyspace.isWriter(0) ? x! : y!;
  if (writer === x) x!.kill();
  await world.clock.advance(30_000);
  assert.deepEqual(seen, [0, 1, 2]);
  end.abort();
});

test('rows are found by an index at every replica, and in a transaction with its own changes', async () => {
  const world = rig({ stock: indexed() });
  const [x, y] = await world.start('x', 'y');
  await change(world, x!, tx => {
    for (const n of [1, 2, 3]) tx.stock.put(`o${n}`, { by: n === 2 ? 'c2' : 'c1', n });
  });
  for (const node of [x!, y!])
    assert.deepEqual(await keysOf(world, reader(world, node).find('byWhom', 'c1')), ['o1', 'o3']);
  const inside = await change(world, x!, tx => {
    tx.stock.put('o0', { by: 'c1', n: 0 });
    tx.stock.put('o1', { by: 'c2', n: 1 });
    tx.stock.delete('o3');
    return [...tx.stock.find('byWhom', 'c1')].map(([key]) => key);
  });
  assert.deepEqual(inside, ['o0']);
  for (const node of [x!, y!])
    assert.deepEqual(await keysOf(world, reader(world, node).find('byWhom', 'c2')), ['o1', 'o2']);
  assert.throws(() => reader(world, x!).find('byColour', 'red'), { code: 'NOT_FOUND', message: /it has: byWhom/ });
});

test('an index says nothing of the copy: digests and snapshots are those of a replica without it', async () => {
  const plain = rig({ settings: { snapshotEntries: 3 } });
  const found = rig({ stock: indexed(), settings: { snapshotEntries: 3 } });
  const digests: string[] = [];
  for (const world of [plain, found]) {
    const [x] = await world.start('x');
    for (let n = 0; n < 8; n++) await change(world, x!, tx => tx.stock.put(`o${n}`, { by: `c${n % 2}`, n }));
    const rows = [...x!.stores.get(0)!.capture().rows].filter(([name]) => name === 'stock' || name.startsWith('#'));
    digests.push(JSON.stringify(rows.map(([, key]) => key)));
  }
  assert.equal(digests[0], digests[1]);
});

test('an index that is new, or whose code changed, is built when its replica opens', async () => {
  const world = rig();
  const [x] = await world.start('x');
  await change(world, x!, tx => {
    tx.stock.put('o1', { by: 'c1', n: 1 });
    tx.stock.put('odd', 'not an order' as never);
  });
  x!.kill();
  const stores = x!.stores.get(0)!;
  const { TableCodec } = await import('./table-codec.ts');
  const { indexedStore, indexTable, indexPrefix } = await import('./indexes.ts');
  const { digest } = stores.head;
  const codec = new TableCodec('stock', indexed());
  const opened = indexedStore(stores, new Map([['stock', codec]]));
  const under = (value: string): string[] =>
    [...opened.scan(indexTable('stock', 'byWhom'), indexPrefix(value))].map(([key]) => key);
  assert.deepEqual(under('c1'), ['c1\no1']);
  assert.equal(opened.head.digest, digest);
  const other = table(orders, { indexes: { byWhom: order => order.by?.toUpperCase() } });
  indexedStore(stores, new Map([['stock', new TableCodec('stock', other)]]));
  assert.deepEqual([under('c1'), under('C1')], [[], ['C1\no1']]);
  indexedStore(stores, new Map());
  assert.deepEqual([...stores.scan('#stock:byWhom', '')], [], 'one that is no longer declared is dropped');
});

test('a query without a key asks all partitions, wherever they are, in one order of keys', async () => {
  const world = rig({ stock: indexed(), partitions: 4, replicas: 1 });
  const [x, y] = await world.start('x', 'y');
  await world.clock.advance(5000);
  const keys = Array.from({ length: 60 }, (_, n) => `k${String(n).padStart(2, '0')}`);
  for (const key of keys) {
    const partition = x!.keyspace.partitionOf(key);
    const at = [x!, y!].find(({ keyspace }) => keyspace.isWriter(partition))!;
    await change(
      world,
      at,
      tx => tx.stock.put(key, { by: Number(key.slice(1)) % 3 === 0 ? 'c1' : 'c2', n: 1 }),
      partition,
    );
  }
  assert.ok(x!.keyspace.held().length < 4, 'both hold a part');
  for (const node of [x!, y!]) {
    const all = reader(world, node, 'none');
    assert.deepEqual(await keysOf(world, all.scan('k')), keys);
    assert.deepEqual(await keysOf(world, all.scan('k', { after: 'k05', limit: 3 })), ['k06', 'k07', 'k08']);
    assert.deepEqual(await keysOf(world, all.find('byWhom', 'c1', { limit: 3, after: 'k06' })), ['k09', 'k12', 'k15']);
  }
});

test('a scan of many rows comes in pages, from here and from elsewhere, none twice and none left out', async () => {
  const world = rig({ replicas: 1 });
  const [x, y] = await world.start('x', 'y');
  await world.clock.advance(5000);
  const many = pageRowsMax * 2 + 7;
  const at = x!.keyspace.isWriter(0) ? x! : y!;
  const away = at === x ? y! : x!;
  await change(world, at, tx => {
    for (let n = 0; n < many; n++) tx.stock.put(`r${String(n).padStart(5, '0')}`, { by: '', n });
  });
  for (const node of [at, away]) {
    const keys = await keysOf(world, reader(world, node).scan('r'));
    assert.equal(keys.length, many);
    assert.equal(new Set(keys).size, many);
  }
});

// A code version that meets rows of another: it migrates them, takes what fits, or says clearly that it cannot; no row is lost.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { type Tables, table } from '../contract/table.ts';
import { TandemError } from '../core/errors.ts';
import { MemoryStore } from '../replication/memory-store.ts';
import { emptyHead } from '../replication/store.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { type Rig, rig } from './fixture.test.ts';
import { indexedStore } from './indexes.ts';
import { TableCodec } from './table-codec.ts';

interface Tx {
  readonly stock: { get(key: string): unknown; put(key: string, value: unknown): void; delete(key: string): void };
}
const change = <R>(world: Rig, node: DataNode, body: (tx: Tx) => R): Promise<R> =>
  world.clock.complete(() => world.transact(node, tx => body(tx as unknown as Tx)));
const read = (world: Rig, node: DataNode, key: string): Promise<unknown> =>
  world.clock.complete(() => world.read(node, key));
const keys = (world: Rig, node: DataNode, find?: readonly [string, string]): Promise<string[]> =>
  world.clock.complete(async () => {
    const reader = world.scope(node).tables['stock']!;
    const found: string[] = [];
    for await (const [key] of find ? reader.find(find[0] as never, find[1]) : reader.scan('')) found.push(key);
    return found;
  });
const notUnderstood = (says: RegExp) => (thrown: unknown) => {
  const error = TandemError.from(thrown);
  assert.deepEqual([error.code, error.outcome], ['UNSUPPORTED', 'not-done']);
  assert.match(error.message, says);
  return true;
};

/** Rows of one code version, read by another on the same data. */
async function after(
  stock: Tables[string],
  rows: Readonly<Record<string, unknown>>,
  next: Tables[string],
): Promise<{ world: Rig; node: DataNode; back: () => Promise<{ world: Rig; node: DataNode }> }> {
  const first = rig({ stock });
  const [x] = await first.start('x');
  await change(first, x!, tx => {
    for (const [key, value] of Object.entries(rows)) tx.stock.put(key, value);
  });
  x!.kill();
  await first.clock.advance(5000);
  const opened = async (as: Tables[string], slot: string): Promise<{ world: Rig; node: DataNode }> => {
    const world = rig({ stock: as, model: first });
    const [node] = await world.start(slot);
    return { world, node: node! };
  };
  const now = await opened(next, 'y');
  return {
    ...now,
    back: async () => {
      now.node.kill();
      await first.clock.advance(5000);
      return opened(stock, 'z');
    },
  };
}

const v1 = z.object({ name: z.string(), cents: z.int() });
const rows = { a: { name: 'Ada', cents: 5 }, b: { name: 'Bob', cents: 7 } };

test('a row that does not fit the schema of today is an error that says so, and stays as it was', async () => {
  const next = table(z.object({ name: z.string(), price: z.number() }));
  const { world, node, back } = await after(table(v1), rows, next);
  const says =
    /row 'a' of table 'stock' is not valid: price: .*another schema; give the table a higher version and a migrate/;
  await assert.rejects(read(world, node, 'a'), notUnderstood(says));
  await assert.rejects(
    change(world, node, tx => tx.stock.get('a')),
    notUnderstood(says),
  );
  await assert.rejects(keys(world, node), notUnderstood(says));
  // Others are served, and what is put anew is fit to be read.
  await change(world, node, tx => tx.stock.put('c', { name: 'Cyd', price: 1 }));
  assert.deepEqual(await read(world, node, 'c'), { name: 'Cyd', price: 1 });
  await change(world, node, tx => tx.stock.delete('c'));
  const before = await back();
  assert.deepEqual(await read(before.world, before.node, 'a'), rows.a);
  assert.deepEqual(await keys(before.world, before.node), ['a', 'b']);
});

test('a schema that grew by what has a default reads the rows of before, without a version', async () => {
  const grown = table(v1.extend({ stars: z.int().default(3), note: z.string().optional() }));
  const { world, node } = await after(table(v1), rows, grown);
  assert.deepEqual(await read(world, node, 'a'), { ...rows.a, stars: 3 });
});

test('migrate turns each older row into the shape of today as it is read, and the next write stores that', async () => {
  let migrated = 0;
  const v2 = z.object({ name: z.string(), price: z.number() });
  const migrate = (old: unknown, version: number): unknown => {
    migrated++;
    assert.equal(version, 1);
    const { name, cents } = old as { name: string; cents: number };
    return { name, price: cents / 100 };
  };
  const next = table(v2, { version: 2, migrate, indexes: { byName: row => row.name } });
  const { world, node, back } = await after(table(v1), rows, next);
  assert.deepEqual(await read(world, node, 'a'), { name: 'Ada', price: 0.05 });
  assert.deepEqual(await keys(world, node, ['byName', 'Bob']), ['b'], 'an index sees the row of today');
  await change(world, node, tx => tx.stock.put('a', tx.stock.get('a')));
  migrated = 0;
  assert.deepEqual(await read(world, node, 'a'), { name: 'Ada', price: 0.05 });
  assert.equal(migrated, 0, 'stored as it is now');
  const before = await back();
  await assert.rejects(
    read(before.world, before.node, 'a'),
    notUnderstood(/has version 2, this code knows 1: roll forward/),
  );
  assert.deepEqual(await read(before.world, before.node, 'b'), rows.b, 'not written since, so as it was');
});

test('a migrate that throws, gives nothing or gives what does not fit is told, and the row stays', async () => {
  const v2 = z.object({ price: z.number() });
  for (const [migrate, says] of [
    [
      () => {
        throw new Error('no idea');
      },
      /has version 1, and the table's migrate cannot turn it into version 2 \(no idea\): mend it, or roll back/,
    ],
    [() => undefined, /\(it gave nothing\)/],
    [() => ({ price: 'much' }), /row 'a' of table 'stock' is not valid: price/],
  ] as const) {
    const { world, node, back } = await after(table(v1), rows, table(v2, { version: 2, migrate }));
    await assert.rejects(read(world, node, 'a'), notUnderstood(says));
    const before = await back();
    assert.deepEqual(await read(before.world, before.node, 'a'), rows.a);
  }
});

test('an index that left rows out for want of a migrate has them once there is one', async () => {
  const v2 = z.object({ title: z.string() });
  const indexes = { byTitle: (row: z.infer<typeof v2>) => row.title };
  const codecs = (of: Tables[string]): Map<string, TableCodec> => new Map([['stock', new TableCodec('stock', of)]]);
  const store = new MemoryStore();
  const { digest: _, ...head } = emptyHead;
  store.commit([['stock', 'a', new TableCodec('stock', table(v1)).encode('a', rows.a)]], head);
  const filed = (): number => [...store.scan('#stock:byTitle', '')].length;
  indexedStore(store, codecs(table(v2, { indexes, version: 2 })));
  assert.equal(filed(), 0);
  const migrate = (old: unknown): unknown => ({ title: (old as { name: string }).name });
  indexedStore(store, codecs(table(v2, { indexes, version: 2, migrate })));
  assert.equal(filed(), 1);
});

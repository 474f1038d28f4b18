import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { table } from '../contract/table.ts';
import type { Incoming } from '../core/channel.ts';
import { openLmdbStores } from '../replication/lmdb-store.ts';
import { MemoryStore } from '../replication/memory-store.ts';
import { emptyHead } from '../replication/store.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { anything, type Rig, rig } from './fixture.test.ts';

test('a store names the tables that have rows', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-tables-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const lmdb = openLmdbStores({ directory });
  for (const store of [new MemoryStore(), await lmdb.open(0)]) {
    const { digest: _, ...head } = emptyHead;
    const row = Buffer.from('x');
    assert.deepEqual(store.tables(), []);
    for (const name of ['old', 'older', '$request', '#old:by', 'a', 'old2'])
      store.commit(
        [
          [name, 'k', row],
          [name, '\u{10ffff}', row],
        ],
        head,
      );
    assert.deepEqual([...store.tables()].sort(), ['$request', 'a', 'old', 'old2', 'older']);
    store.commit(
      [
        ['old', 'k', undefined],
        ['old', '\u{10ffff}', undefined],
      ],
      head,
    );
    assert.deepEqual([...store.tables()].sort(), ['$request', 'a', 'old2', 'older']);
  }
  await lmdb.close();
});

const asked = (world: Rig, node: DataNode, method: string, body: unknown): Promise<unknown> =>
  world.clock.complete(async () => {
    const deadline = world.clock.monotonic() + 2000;
    const incoming = { method, body, meta: {}, deadline, signal: new AbortController().signal };
    return ((await node.keyspace.answer(incoming as unknown as Incoming)) as { body: unknown }).body;
  });

test('a table that the code no longer declares keeps its rows, is told, and can be dropped; a declared one cannot', async () => {
  const first = rig({ more: { former: table(anything, { ttl: '1h' }) } });
  const [x] = await first.start('x');
  await first.clock.complete(() =>
    first.transact(x!, tx => {
      for (let i = 0; i < 700; i++) (tx as unknown as Record<'former', typeof tx.stock>).former.put(`k${i}`, i);
      tx.stock.put('a', 1);
    }),
  );
  await first.clock.advance(1000);
  assert.deepEqual(await asked(first, x!, '$stored-tables', null), { declared: ['stock', 'former'], undeclared: [] });
  await assert.rejects(asked(first, x!, '$drop-rows', { partition: 0, table: 'former' }), {
    code: 'CONFLICT',
    message: /'former' is declared by the code that runs: take it out there first/,
  });
  x!.kill();
  await first.clock.advance(5000);

  const world = rig({ model: first });
  const [y, z] = await world.start('y', 'z');
  await world.clock.advance(1000);
  const undeclared = [{ table: 'former', partitions: [0] }];
  assert.deepEqual(await asked(world, y!, '$stored-tables', null), { declared: ['stock'], undeclared });
  await assert.rejects(asked(world, y!, '$drop-rows', { partition: 0, table: '$request' }), { code: 'CONFLICT' });
  const writer = y!.keyspace.isWriter(0) ? y! : z!;
  const drop = (): Promise<unknown> => asked(world, writer, '$drop-rows', { partition: 0, table: 'former' });
  assert.deepEqual([await drop(), await drop(), await drop()], [500, 200, 0]);
  assert.equal(await world.clock.complete(() => world.read(y!, 'a')), 1);
  const [one, two] = [y!, z!].map(node => node.stores.get(0)!);
  await world.clock.advance(1000);
  assert.deepEqual(one!.tables(), two!.tables());
  assert(!one!.tables().includes('former') && !one!.tables().includes('$due'), 'nor is anything left of their lives');
  assert.equal(one!.head.digest, two!.head.digest);
});

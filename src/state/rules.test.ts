import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TandemError } from '../core/errors.ts';
import type { AppendResult } from '../log/engine.ts';
import { decodeEntry } from '../replication/entry.ts';
import { type Rows, rig } from './fixture.test.ts';

const increment = (tx: Rows): number => {
  const next = (tx.stock.get('a') ?? 0) + 1;
  tx.stock.put('a', next);
  return next;
};
const ofUsers = (body: Uint8Array): boolean => decodeEntry(body).writes.some(([table]) => table === 'stock');

test('what was run on an append that lost its slot runs again too, and all are answered', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  let second: Promise<number> | undefined;
  world.hooks.set('x', next => ({
    append: async (name, expected, bodies, options) => {
      if (!second && ofUsers(bodies[0]!)) {
        second = world.transact(x!, increment);
        await world.transact(y!, increment);
      }
      return next.append(name, expected, bodies, options);
    },
  }));
  assert.equal(await world.clock.complete(() => world.transact(x!, increment)), 2);
  assert.equal(await world.clock.complete(second!), 3);
  assert.equal(await world.clock.complete(world.read(y!, 'a')), 3);
});

test('an append of unknown fate whose slot another took is not taken for done', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  let lost = false;
  world.hooks.set('x', next => ({
    append: async (name, expected, bodies, options): Promise<AppendResult> => {
      if (lost || !ofUsers(bodies[0]!)) return next.append(name, expected, bodies, options);
      lost = true;
      await world.transact(y!, increment);
      return { kind: 'unknown', cause: new Error('lost') };
    },
  }));
  assert.equal(await world.clock.complete(() => world.transact(x!, increment)), 2);
  assert.equal(await world.clock.complete(world.read(y!, 'a')), 2);
});

test("the partition's clock never goes back, whoever writes", async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  const stamp = (tx: Rows): number => {
    tx.stock.put('a', 1);
    return tx.now;
  };
  const first = await world.clock.complete(() => world.transact(x!, stamp));
  x!.clock.jumpWall(-60_000);
  y!.clock.jumpWall(-60_000);
  assert.ok((await world.clock.complete(() => world.transact(x!, stamp))) >= first);
  assert.ok((await world.clock.complete(() => world.transact(y!, stamp))) >= first);
});

test('an id of a caller whose clock is ahead is not forgotten before it is refused', async () => {
  const world = rig({ settings: { requestIdWindowMs: 1000 } });
  const [node] = await world.start('x');
  const request = { id: 'pay-1', inputHash: 'h', born: world.clock.now() + 5000 };
  assert.equal(await world.clock.complete(() => world.transact(node!, increment, request)), 1);
  for (let i = 0; i < 3; i++) {
    await world.clock.advance(1000);
    await world.clock.complete(() => world.transact(node!, tx => tx.stock.put('b', i)));
  }
  assert.equal(await world.clock.complete(() => world.transact(node!, increment, request)), 1);
});

test('an instance whose code says another partition count than its data has takes that of the data', async () => {
  const world = rig({ partitions: 2 });
  const [x] = await world.start('x');
  await world.clock.complete(() => world.transact(x!, tx => tx.stock.put('a', 1), {}, 'a'));
  const other = rig({ partitions: 4, model: world });
  const [y] = await other.start('y');
  assert.deepEqual(y!.keyspace.map, x!.keyspace.map);
  assert.equal(y!.keyspace.map.count, 2);
  assert.equal(await world.clock.complete(() => other.read(y!, 'a')), 1);
  assert.deepEqual(
    world.model.logs.filter(log => !log.endsWith('/0') && !log.endsWith('/1')),
    ['catalog/data'],
  );
});

test('of two first instances with two counts one begins the map, and the other takes it', async () => {
  const world = rig({ partitions: 2 });
  const other = rig({ partitions: 4, model: world });
  const [x, y] = await world.clock.complete(() => Promise.all([world.cluster.start('x'), other.cluster.start('y')]));
  assert.deepEqual(x.keyspace.map, y.keyspace.map);
  assert.equal(world.model.entries('catalog/data').length, 1);
});

test('where a barrier is an append, the writer answers the strong reads of all and nobody gets in its way', async () => {
  const world = rig({ barrierAppends: true });
  const [x, y] = await world.start('x', 'y');
  await world.clock.complete(() => world.transact(x!, increment));
  await world.clock.advance(3000);
  let own = 0;
  world.hooks.set('*', next => ({
    barrier: (name, options) => {
      own++;
      return next.barrier(name, options);
    },
  }));
  for (let i = 2; i < 6; i++) {
    const at = i % 2 === 0 ? x! : y!;
    assert.equal(await world.clock.complete(() => world.transact(at, increment)), i);
    for (const node of [x!, y!]) assert.equal(await world.clock.complete(world.read(node, 'a')), i);
  }
  assert.equal(own, 0, 'no barrier of their own');
  const writer = x!.keyspace.isWriter(0) ? x! : y!;
  const reader = writer === x ? y! : x!;
  world.cluster.cut(writer.slot, reader.slot);
  assert.equal(await world.clock.complete(world.read(reader, 'a')), 5, 'without the writer it appends one itself');
  assert.ok(own > 0);
});

test('an instance whose engine is down at start says so', async () => {
  const world = rig();
  world.model.stop();
  await assert.rejects(world.start('x'), (thrown: TandemError) => {
    assert.equal(thrown.code, 'UNAVAILABLE');
    assert.match(thrown.message, /is the engine running\?/);
    return true;
  });
});

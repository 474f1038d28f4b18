import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../calling/session.ts';
import { seededRandom } from '../core/random.ts';
import { decodeEntry } from '../replication/entry.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { beginResharding, type CatalogContext } from './catalog.ts';
import { type Rig, rig, sold } from './fixture.test.ts';

const keys = Array.from({ length: 40 }, (_, n) => `k${n}`);

function catalogOf({ clock, model }: Rig): CatalogContext {
  const engine = model.connect(clock.process());
  return { service: 'data', engine, clock, random: seededRandom(9), engineTimeoutMs: 1000 };
}

async function reshard(world: Rig, living = [...world.cluster.nodes.values()]): Promise<void> {
  const { to: wanted } = await world.clock.complete(() => beginResharding(catalogOf(world), undefined));
  const done = (): boolean => living.every(({ keyspace }) => keyspace.map.count === wanted);
  for (let waited = 0; waited < 30_000 && !done(); waited += 100) await world.clock.advance(100);
  assert.ok(done(), JSON.stringify(living.map(({ keyspace }) => keyspace.map)));
}

async function filled(options: Parameters<typeof rig>[0] = {}): Promise<{ world: Rig; x: DataNode; y: DataNode }> {
  const world = rig({ partitions: 2, relay: true, ...options });
  const [x, y] = await world.start('x', 'y');
  await world.clock.advance(1000);
  for (const [n, key] of keys.entries())
    await world.clock.complete(() => world.transact(x!, tx => tx.stock.put(key, n), { id: `put-${key}` }, key));
  return { world, x: x!, y: y! };
}

async function valuesAt(world: Rig, node: DataNode): Promise<(number | undefined)[]> {
  const values: (number | undefined)[] = [];
  for (const key of keys) values.push(await world.clock.complete(() => world.read(node, key)));
  return values;
}

test('a reshard that is no doubling, of a service without data, or beside another to another count is refused', async () => {
  const { world } = await filled();
  const begin = (to: number): Promise<unknown> => world.clock.complete(() => beginResharding(catalogOf(world), to));
  await assert.rejects(begin(3), { code: 'INVALID', message: /has 2 partitions; a reshard doubles them: --to 4/ });
  await assert.rejects(
    world.clock.complete(() => beginResharding({ ...catalogOf(world), service: 'other' }, 4)),
    { code: 'NOT_FOUND' },
  );
  await begin(4);
  await assert.rejects(begin(8), { code: 'CONFLICT', message: /from 2 to 4 partitions \(\d of 2 divided\)/ });
  await begin(4);
});

test('after a doubling every row is where its key lies, at every node, and a repeated request is recognised', async () => {
  const { world, x, y } = await filled();
  await reshard(world);
  for (const node of [x, y]) {
    assert.deepEqual(await valuesAt(world, node), [...keys.keys()]);
    assert.ok(
      node.keyspace.held().every(number => number >= 4),
      'divided partitions are not held any more',
    );
  }
  let runs = 0;
  for (const key of keys)
    await world.clock.complete(() => world.transact(x, () => void runs++, { id: `put-${key}` }, key));
  assert.equal(runs, 0);
  await reshard(world);
  assert.deepEqual(await valuesAt(world, y), [...keys.keys()]);
});

test('a newcomer after the change, and one whose disk is old, come to the same rows', async () => {
  const { world, x, y } = await filled({ replicas: 3 });
  const [z] = await world.start('z');
  z!.kill();
  await reshard(world, [x, y]);
  for (const key of keys)
    await world.clock.complete(() => world.transact(x, tx => tx.stock.put(key, 7), undefined, key));
  const [again, fresh] = await world.start('z', 'w');
  for (const node of [again!, fresh!])
    assert.deepEqual(
      await valuesAt(world, node),
      keys.map(() => 7),
    );
});

test('scans over all partitions and a watch go on while partitions are divided', async () => {
  const { world, x } = await filled({ settings: { tickMs: 20 } });
  // More than a page in each partition.
  const many = Array.from({ length: 1400 }, (_, n) => `row-${n}`);
  for (const own of Map.groupBy(many, key => x.keyspace.partitionOf(key)).values())
    await world.clock.complete(() =>
      world.transact(x, tx => own.forEach(key => void tx.stock.put(key, 1)), undefined, own[0]),
    );
  const scope = world.scope(x, { partition: undefined, level: 'sequential', deadline: Number.POSITIVE_INFINITY });
  const end = new AbortController();
  const watching = world.scope(x, { level: 'sequential', deadline: Number.POSITIVE_INFINITY, signal: end.signal });
  const watched: unknown[] = [];
  const watch = (async () => {
    for await (const value of watching.tables['stock']!.watch('k1')) watched.push(value);
  })();
  const rows = scope.tables['stock']!.scan('row-')[Symbol.asyncIterator]();
  const seen: string[] = [];
  for (let n = 0; n < 5; n++) seen.push((await world.clock.complete(() => rows.next())).value![0]);
  await reshard(world);
  await world.clock.complete(async () => {
    for (let next = await rows.next(); !next.done; next = await rows.next()) seen.push(next.value[0]);
  });
  assert.deepEqual(seen, many.sort());
  await world.clock.complete(() => world.transact(x, tx => tx.stock.put('k1', 100), undefined, 'k1'));
  await world.clock.advance(100);
  end.abort();
  await world.clock.complete(() => watch);
  assert.equal(watched.at(-1), 100);
});

test('a session of before is satisfied, one of after is not served by who knows less', async () => {
  const { world, x, y } = await filled();
  const session = new Session();
  const own = (node: DataNode, key: string): Parameters<Rig['scope']>[1] => ({
    ...{ session, key, partition: node.keyspace.partitionOf(key), level: 'sequential' as const },
  });
  await world.clock.complete(() => world.scope(x, own(x, 'k3')).transact(tx => put(tx, 'k3', 33)));
  y.clock.pause();
  await reshardAt(world, x);
  assert.equal(await world.clock.complete(() => world.scope(x, own(x, 'k3')).tables['stock']!.get('k3')), 33);
  await world.clock.complete(() => world.scope(x, own(x, 'k3')).transact(tx => put(tx, 'k3', 34)));
  y.clock.resume();
  // At once: before it has heard of anything.
  assert.ok(y.keyspace.map.count === 2);
  assert.equal(await world.clock.complete(() => world.scope(y, own(y, 'k3')).tables['stock']!.get('k3')), 34);
});

async function reshardAt(world: Rig, node: DataNode): Promise<void> {
  await world.clock.complete(() => beginResharding(catalogOf(world), undefined));
  for (let waited = 0; waited < 60_000 && node.keyspace.map.count === 2; waited += 100) await world.clock.advance(100);
  assert.equal(node.keyspace.map.count, 4);
}

function put(tx: unknown, key: string, value: number): void {
  (tx as { stock: { put(key: string, value: number): void } }).stock.put(key, value);
}

test('an instance of a version that cannot read a seal holds the change up, and its update lets it go on', async () => {
  let format = 1;
  const world = rig({ partitions: 2, relay: true, entryFormat: slot => (slot === 'y' ? format : 9) });
  await world.start('x', 'y');
  await world.clock.complete(() => beginResharding(catalogOf(world), undefined));
  await world.clock.advance(5000);
  const seals = (): number =>
    [0, 1].flatMap(number => world.model.entries(`state/data/${number}`)).filter(isSeal).length;
  assert.equal(seals(), 0);
  format = 9;
  await reshard(world);
  assert.equal(seals(), 2);
});

function isSeal(body: Uint8Array): boolean {
  return body.length > 0 && decodeEntry(body).seal !== undefined;
}

test('nothing is sealed before all that was emitted is in the topic, and writes go on meanwhile', async () => {
  const { world, x } = await filled();
  let isDown = true;
  world.hooks.set('*', next => ({
    append: (name, expected, bodies, options) => {
      if (isDown && name.startsWith('topic/')) return Promise.resolve({ kind: 'unknown' as const, cause: 'down' });
      return next.append(name, expected, bodies, options);
    },
  }));
  for (const key of keys)
    await world.clock.complete(() => world.transact(x, tx => tx.emit(sold, { key, n: 1 }), undefined, key));
  await world.clock.complete(() => beginResharding(catalogOf(world), undefined));
  for (let n = 0; n < 20; n++) {
    await world.clock.advance(100);
    await world.clock.complete(() => world.transact(x, tx => tx.stock.put('k1', n), undefined, 'k1'));
  }
  assert.deepEqual([x.keyspace.map.count, x.keyspace.map.divided], [2, 0]);
  isDown = false;
  await reshard(world);
});

test('a sealed log and its snapshots go when both successors have two snapshots, and who comes late finds all the same', async () => {
  const { world, x } = await filled({ settings: { snapshotEntries: 10 } });
  await reshard(world);
  for (let round = 0; round < 3; round++)
    for (const key of keys) {
      await world.clock.complete(() => world.transact(x, tx => tx.stock.put(key, round), undefined, key));
      await world.clock.advance(20);
    }
  await world.clock.advance(3000);
  const engine = world.model.connect(world.clock.process());
  const at = { deadline: Number.POSITIVE_INFINITY };
  for (const number of [0, 1]) {
    const { first, tail } = await world.clock.complete(() => engine.log.info(`state/data/${number}`, at));
    assert.equal(first, tail, `state/data/${number} is not trimmed to its seal`);
    assert.deepEqual(await world.clock.complete(() => engine.blobs.list(`snapshot/data/${number}/`, at)), []);
  }
  const [late] = await world.start('late');
  // It hands on again what others have enough of.
  await world.clock.advance(1000);
  assert.deepEqual(
    await valuesAt(world, late!),
    keys.map(() => 2),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../calling/session.ts';
import { seededRandom } from '../core/random.ts';
import { decodeEvent, type StoredEvent } from '../events/event.ts';
import { encodeNote, restoreLog } from '../log/restore-note.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { beginResharding, type CatalogContext, readCatalog } from './catalog.ts';
import { type Rig, type Rows, rig, sold } from './fixture.test.ts';
import type { Scope } from './keyspace.ts';

const log = 'state/data/0';
const get = (scope: Scope): Promise<unknown> => scope.tables['stock']!.get('a');

/** All logs as of now: for a restore to this moment. */
function backedUp({ model }: Rig): () => void {
  const kept = model.logs.map(name => [name, [...model.entries(name)]] as const);
  return () => {
    for (const name of model.logs) model.replace(name);
    for (const [name, bodies] of kept) model.replace(name, bodies);
    model.replace(restoreLog, [encodeNote({ id: 'one', done: false }), encodeNote({ id: 'one', done: true })]);
  };
}

function eventsOf({ model }: Rig): StoredEvent[] {
  const topic = model.logs.filter(name => name.startsWith('topic/'));
  return topic.flatMap(name => model.entries(name).filter(({ length }) => length > 0)).map(body => decodeEvent(body));
}

const sell =
  (value: number) =>
  (tx: Rows): void => {
    tx.stock.put('a', value);
    tx.emit(sold, { key: 'a', value });
  };

test('after a restore a session that saw what is gone is told so; one that saw what was kept goes on', async () => {
  const world = rig({ relay: true, replicas: 3 });
  const { clock } = world;
  const write = (node: Parameters<Rig['scope']>[0], session: Session, value: number): Promise<unknown> =>
    clock.complete(() => world.scope(node, { session }).transact(tx => sell(value)(tx as never)));
  const nodes = await world.start('a', 'b', 'c');
  const kept = new Session();
  await write(nodes[0]!, kept, 1);
  await clock.advance(2000);
  const restore = backedUp(world);
  const gone = Session.fromForm(kept.toForm());
  await write(nodes[0]!, gone, 2);
  await write(nodes[0]!, gone, 3);
  await clock.advance(2000);
  assert.equal(eventsOf(world).length, 3);
  for (const node of nodes) node.kill();
  restore();

  // Their copies know more than the log: rows of slots survive a kill.
  const [again] = await world.start('a', 'b', 'c');
  const read = (session: Session): Promise<unknown> =>
    clock.complete(() => get(world.scope(again!, { level: 'sequential', session })));
  await assert.rejects(read(Session.fromForm(gone.toForm())), { code: 'LOG_LOST', details: { session: 'over' } });
  assert.equal(await read(Session.fromForm(kept.toForm())), 1);
  assert.equal(await read(new Session()), 1);

  const next = Session.fromForm(kept.toForm());
  for (let value = 4; value < 9; value++) await write(again!, next, value);
  assert.equal(await read(next), 8);
  await assert.rejects(read(Session.fromForm(gone.toForm())), { code: 'LOG_LOST' }, 'also when positions are past it');
  await clock.advance(2000);
  const events = eventsOf(world);
  assert.equal(events.length, 6, 'one of the backup, none of what was lost, and those since');
  const [old, ...later] = events.map(({ source }) => source);
  assert.equal(new Set(later).size, 1);
  assert.notEqual(later[0], old, 'events after a restore are not taken for those that were lost');
  assert.equal(again!.keyspace.logOf(0, 2), old);

  const divided = Session.fromForm(next.toForm());
  divided.advance('catalog/data', 99);
  await assert.rejects(read(divided), {
    code: 'LOG_LOST',
    details: { session: 'over' },
    message: /catalog\/data up to 99/,
  });

  // The event of before the restore carries its source into its handler's session: it was kept, so it is no loss.
  const handler = new Session();
  handler.advance(old!, 3);
  assert.equal(await read(handler), 8);
  assert.ok(world.model.entries(log).length > 0);
});

for (const cutMs of [5, 40, 120, 300, 800, 3000]) {
  test(`a restore to a moment ${cutMs} ms into a division, over copies that are through with it, divides it anew`, async () => {
    const world = rig({ relay: true, partitions: 2, replicas: 2 });
    const { clock, model } = world;
    const catalog = (): CatalogContext => ({
      service: 'data',
      engine: model.connect(clock),
      clock,
      random: seededRandom(5),
      engineTimeoutMs: 1000,
    });
    const keys = Array.from({ length: 12 }, (_, n) => `key ${n}`);
    const write = async (node: DataNode, key: string, session: Session, value: number): Promise<void> => {
      const scope = world.scope(node, { key, partition: node.keyspace.partitionOf(key), session });
      await clock.complete(() =>
        scope.transact(tx => {
          const rows = tx as unknown as Rows;
          rows.stock.put(key, value);
          rows.emit(sold, { key, value });
        }),
      );
    };
    const read = (node: DataNode, key: string, session: Session): Promise<unknown> => {
      const options = { key, partition: node.keyspace.partitionOf(key), level: 'sequential', session } as const;
      return clock.complete(() => world.scope(node, options).tables['stock']!.get(key));
    };
    const nodes = await world.start('a', 'b');
    const [node] = nodes;
    const kept = new Session();
    for (const key of keys) await write(node!, key, kept, 1);
    await clock.advance(1000);
    await clock.complete(() => beginResharding(catalog(), undefined));
    await clock.advance(cutMs);
    const restore = backedUp(world);
    await clock.advance(8000);
    const gone = Session.fromForm(kept.toForm());
    for (const key of keys) await write(node!, key, gone, 2);
    await clock.advance(1000);
    for (const each of nodes) each.kill();
    restore();

    const again = await clock.complete(async () => {
      const [a, b] = [await world.cluster.start('a'), await world.cluster.start('b')];
      for (const each of [a, b]) await each.keyspace.ready(clock.monotonic() + 10_000);
      return a;
    });
    await clock.advance(10_000);
    const map = await clock.complete(() => readCatalog(catalog()));
    assert.deepEqual([map.count, map.to], [4, 4]);
    for (const key of keys) {
      assert.equal(await read(again, key, Session.fromForm(kept.toForm())), 1);
      await assert.rejects(read(again, key, Session.fromForm(gone.toForm())), { code: 'LOG_LOST' });
    }
    for (const key of keys) await write(again, key, new Session(), 3);
    await clock.advance(2000);
    const seen = new Map<string, number>();
    for (const { source, number } of eventsOf(world)) seen.set(`${source}/${number}`, 1);
    assert.equal(seen.size, 2 * keys.length, 'each event once, by its id');
  });
}

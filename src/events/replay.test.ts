import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topic } from '../contract/topic.ts';
import type { Incoming, Reply } from '../core/channel.ts';
import { type Logger, silentLogger } from '../core/logger.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { book, type Cluster, count, Order, openCluster, placed, seen } from './fixture.test.ts';
import { positionAt, positionOfLast } from './log-range.ts';
import { topicLog } from './publisher.ts';
import { checkReplay, type ReplayForm } from './replay.ts';
import { retentionIntervalMs } from './retention.ts';
import type { ReadersForm } from './topic-view.ts';

/** Replays every partition of the topic, asking any living node. */
async function replayAll(cluster: Cluster, from: number, ...only: number[]): Promise<void> {
  for (const topicPartition of only.length > 0 ? only : [0, 1]) {
    const node = [...cluster.nodes.values()].find(({ alive }) => alive)!;
    const body: ReplayForm = { subscription: 'book', topicPartition, from };
    const deadline = cluster.clock.monotonic() + 5000;
    const incoming = { method: '$event.replay', body, deadline, signal: new AbortController().signal } as Incoming;
    for (let tries = 0; ; tries++) {
      try {
        await cluster.clock.complete(Promise.resolve(node.events.answer(incoming)) as Promise<unknown>);
        break;
      } catch (cause) {
        if (tries > 20 || (cause as { code: string }).code === 'NOT_FOUND') throw cause;
        await cluster.clock.advance(500);
      }
    }
  }
}

test('a replay handles all events again, in order, and live ones once behind them', async () => {
  const cluster = openCluster(count);
  for (const id of ['ledger-1-a', 'ledger-2-b']) await cluster.open(id);
  await cluster.clock.advance(2000);
  const keys = ['a', 'b', 'c'];
  for (const n of [1, 2, 3]) for (const id of keys) await cluster.clock.complete(cluster.emit({ id, n }));
  const all = (n: number) => async (): Promise<boolean> => {
    for (const id of keys) if ((await seen(cluster, id))?.count !== n) return false;
    return true;
  };
  await cluster.until(all(3));
  await replayAll(cluster, 1);
  for (const id of keys) await cluster.clock.complete(cluster.emit({ id, n: 4 }));
  await cluster.until(all(7));
  for (const id of keys) assert.deepEqual((await seen(cluster, id))?.order, [1, 2, 3, 1, 2, 3, 4]);
  await cluster.clock.advance(5000);
  assert.ok(await all(7)(), 'nothing comes a third time');
  await replayAll(cluster, 1);
  await cluster.until(all(11));
});

for (const seed of [1, 2, 3, 4]) {
  test(`a replay under kills repeats each event exactly once (seed ${seed})`, async () => {
    const cluster = openCluster(count, { seed, lostAnswerChance: 0.05 });
    const { clock, random } = cluster;
    for (const id of ['ledger-1-a', 'ledger-2-b', 'ledger-3-c']) await cluster.open(id);
    await clock.advance(2000);
    const keys = ['a', 'b', 'c', 'd'];
    const all = (n: number) => async (): Promise<boolean> => {
      for (const id of keys) if ((await seen(cluster, id))?.count !== n) return false;
      return true;
    };
    for (let n = 1; n <= 10; n++) for (const id of keys) await clock.complete(cluster.emit({ id, n }));
    await cluster.until(all(10), 120_000);
    await replayAll(cluster, 1);
    let life = 0;
    for (let kills = 0; kills < 3; kills++) {
      await clock.advance(Math.floor(random.next() * 100));
      const alive = [...cluster.nodes.values()].filter(node => node.alive);
      const victim = alive[Math.floor(random.next() * alive.length)]!;
      cluster.kill(victim.id);
      await clock.advance(500 + random.next() * 1500);
      cluster.nodes.delete(victim.id);
      await cluster.open(`${victim.id.slice(0, 9)}x${++life}`);
    }
    await cluster.until(all(20), 120_000);
    await clock.advance(5000);
    const once = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    for (const id of keys) {
      // Between two writers nobody answers.
      await cluster.until(async () => (await seen(cluster, id)) !== undefined);
      assert.deepEqual((await seen(cluster, id))?.order, [...once, ...once]);
    }
  });
}

test('a replay is refused before what is kept and behind the end', () => {
  assert.throws(() => checkReplay('topic/t/0', 3, { first: 5, tail: 9 }), {
    code: 'NOT_FOUND',
    message: /begins at position 5.*earliest/,
  });
  assert.throws(() => checkReplay('topic/t/0', 11, { first: 5, tail: 9 }), { code: 'INVALID' });
  assert.throws(() => checkReplay('topic/t/0', 0.5, { first: 1, tail: 9 }), { code: 'INVALID' });
  checkReplay('topic/t/0', 10, { first: 5, tail: 9 });
});

test('positions are found by time and by bytes', async () => {
  const cluster = openCluster(count);
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (let n = 1; n <= 5; n++) {
    await cluster.clock.complete(cluster.emit({ id: 'a', n }));
    await cluster.clock.advance(1000);
  }
  const { clock, engine } = cluster;
  const logs = [0, 1].map(partition => topicLog(placed.name, partition));
  const found: string[] = [];
  for (const log of logs) {
    const deadline = (): number => clock.monotonic() + 5000;
    const at = { engine, log: engine.log, topicLog: log, deadline };
    const info = await clock.complete(engine.log.info(log, { deadline: deadline() })).catch(() => undefined);
    if (!info) continue;
    found.push(log);
    assert.equal(await clock.complete(positionAt(at, clock.now() - 2500)), 4);
    assert.equal(await clock.complete(positionAt(at, clock.now() + 1)), 6);
    assert.equal(await clock.complete(positionAt(at, 0)), 1);
    assert.equal(await clock.complete(positionOfLast(at, info.bytes)), 1);
    assert.equal(await clock.complete(positionOfLast(at, info.bytes - 1)), 2);
    assert.equal(await clock.complete(positionOfLast(at, 1)), 5, 'the newest stays');
  }
  assert.equal(found.length, 1);
});

test('old events go by age; a group that was behind is stopped and told what to do, a replay mends it, a new group begins with what is kept', async () => {
  const brief = topic('orders.placed', Order, { key: 'id', partitions: 2, retention: { age: '5m' } });
  const told: string[] = [];
  const logger: Logger = { ...silentLogger, error: message => void told.push(message), with: () => logger };
  const subscriptions = [{ ...book, topic: brief }];
  const blocked = new Promise<never>(() => {});
  let isBlocked = true;
  const cluster = openCluster(delivery => (isBlocked ? blocked : count(delivery)), { subscriptions, logger });
  const { clock, engine } = cluster;
  await cluster.open('ledger-1-a');
  await clock.advance(2000);
  for (const n of [1, 2]) await clock.complete(cluster.emit({ id: 'a', n }));
  await clock.advance(6 * 60_000 + retentionIntervalMs);
  const log = topicLog(brief.name, partitionOf('a', 2));
  const at = { deadline: clock.monotonic() + 5000 };
  assert.equal((await clock.complete(engine.log.info(log, at))).first, 3);

  cluster.kill('ledger-1-a');
  await clock.advance(15_000);
  cluster.nodes.delete('ledger-1-a');
  isBlocked = false;
  subscriptions.push({ ...book, name: 'late', topic: brief });
  await cluster.open('ledger-1-b');
  await clock.complete(cluster.emit({ id: 'a', n: 3 }));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  await clock.advance(2000);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [3], 'only the new group handled it');
  assert.ok(
    told.some(text => text.includes('tandem topic replay ledger.book --from earliest')),
    told.join('\n'),
  );
  const stops = async (): Promise<unknown[]> => {
    const incoming = { method: '$event.readers', body: null } as Incoming;
    const answer = Promise.resolve(cluster.nodes.get('ledger-1-b')!.events.answer(incoming)) as Promise<Reply>;
    const { readers } = (await clock.complete(answer)).body as ReadersForm;
    return readers.filter(({ stopped }) => stopped).map(({ subscription, stopped }) => [subscription, stopped]);
  };
  assert.deepEqual(await stops(), [['book', 'dropped']]);
  await replayAll(cluster, 3, partitionOf('a', 2));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 2);
  assert.deepEqual(await stops(), []);
});

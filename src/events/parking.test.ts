import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { z } from 'zod';
import type { Incoming } from '../core/channel.ts';
import { type DeadLetter, readDeadLetters, redrive } from './dead-letters.ts';
import { book, type Cluster, count, type Order, openCluster, seen, service } from './fixture.test.ts';
import type { ParkedKey, ResumeForm } from './parking.ts';

const park = { ...book, onDead: 'park' as const };
type Placed = z.infer<typeof Order>;

const letterOptions = ({ engine, clock, random }: Cluster) => ({
  engine,
  clock,
  random,
  service,
  subscription: 'book',
  deadline: clock.monotonic() + 60_000,
});

async function letters(cluster: Cluster): Promise<DeadLetter[]> {
  return cluster.clock.complete(async () => {
    const found: DeadLetter[] = [];
    for await (const { letter } of readDeadLetters(letterOptions(cluster))) found.push(letter);
    return found;
  });
}

/** Asks any living node. */
async function ask(cluster: Cluster, method: string, body: unknown): Promise<unknown> {
  const node = [...cluster.nodes.values()].find(({ alive }) => alive)!;
  const incoming = { method, body, deadline: cluster.clock.monotonic() + 5000, signal: new AbortController().signal };
  return ((await node.events.answer(incoming as Incoming)) as { body: unknown }).body;
}

async function parked(cluster: Cluster): Promise<readonly ParkedKey[]> {
  const found: ParkedKey[] = [];
  for (const node of cluster.nodes.values()) {
    if (!node.alive) continue;
    const incoming = { method: '$event.parked', body: { subscription: 'book', limit: 100 } } as Incoming;
    found.push(...((await node.events.answer(incoming)) as { body: ParkedKey[] }).body);
  }
  return found;
}

const redriveAll = (cluster: Cluster): Promise<number> =>
  cluster.clock.complete(
    redrive({
      ...letterOptions(cluster),
      resume: async (form: ResumeForm) => (await ask(cluster, '$event.resume', form)) as boolean,
    }),
  );

const order = async (cluster: Cluster, key: string): Promise<number[] | undefined> => (await seen(cluster, key))?.order;

test('a parked key waits with its later events, other keys go on, and a redrive handles all in order', async () => {
  let broken = true;
  const cluster = openCluster(
    async delivery => {
      const { id, n } = delivery.event as Placed;
      if (broken && id === 'a' && n === 2) throw new Error('no such account');
      return count(delivery);
    },
    { subscriptions: [park] },
  );
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (const n of [1, 2, 3, 4]) for (const id of ['a', 'b']) await cluster.clock.complete(cluster.emit({ id, n }));
  await cluster.until(async () => (await parked(cluster))[0]?.next === 3);
  assert.deepEqual(await order(cluster, 'a'), [1]);
  assert.deepEqual(await order(cluster, 'b'), [1, 2, 3, 4]);
  const [letter] = await letters(cluster);
  assert.equal(letter?.parked, 'a');
  assert.equal((await parked(cluster))[0]?.error.message, 'no such account');
  assert.equal(cluster.metrics.get('tandem.event.parked'), 2);

  broken = false;
  assert.equal(await redriveAll(cluster), 1);
  await cluster.clock.complete(cluster.emit({ id: 'a', n: 5 }));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 5);
  assert.deepEqual(await order(cluster, 'a'), [1, 2, 3, 4, 5]);
  await cluster.clock.advance(2000);
  assert.deepEqual(await parked(cluster), []);
  assert.deepEqual(await letters(cluster), []);
});

test('a redrive that fails again leaves the key parked, with a letter that can be redriven', async () => {
  let broken = true;
  const cluster = openCluster(
    async delivery => {
      if (broken && (delivery.event as Placed).n === 1) throw new Error('still closed');
      return count(delivery);
    },
    { subscriptions: [park] },
  );
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (const n of [1, 2]) await cluster.clock.complete(cluster.emit({ id: 'a', n }));
  await cluster.until(async () => (await letters(cluster)).length === 1);
  assert.equal(await redriveAll(cluster), 1);
  await cluster.until(async () => (await letters(cluster)).length === 1);
  assert.equal(await order(cluster, 'a'), undefined);
  broken = false;
  assert.equal(await redriveAll(cluster), 1);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 2);
  assert.deepEqual(await order(cluster, 'a'), [1, 2]);
});

test('a discard drops the event that failed, and those behind it are handled', async () => {
  const cluster = openCluster(
    async delivery => {
      if ((delivery.event as Placed).n === 2) throw new Error('nonsense');
      return count(delivery);
    },
    { subscriptions: [park] },
  );
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (const n of [1, 2, 3]) await cluster.clock.complete(cluster.emit({ id: 'a', n }));
  await cluster.until(async () => (await parked(cluster))[0]?.next === 2);
  const form: ResumeForm = { subscription: 'book', key: 'a', discard: true };
  assert.equal(await cluster.clock.complete(ask(cluster, '$event.resume', form)), true);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 2);
  assert.deepEqual(await order(cluster, 'a'), [1, 3]);
  assert.equal(await cluster.clock.complete(ask(cluster, '$event.resume', form)), false, 'nothing is parked now');
});

for (let seed = 1; seed <= 6; seed++) {
  test(`parked and resumed under kills: each event takes effect once and in order (seed ${seed})`, async () => {
    let broken = true;
    const cluster = openCluster(
      async delivery => {
        const { id, n } = delivery.event as Placed;
        if (broken && n === 3 && id !== 'c') throw new Error('broken');
        return count(delivery);
      },
      { subscriptions: [park], seed, lostAnswerChance: 0.05 },
    );
    const { clock, random } = cluster;
    for (const id of ['ledger-1-a', 'ledger-2-b', 'ledger-3-c']) await cluster.open(id);
    await clock.advance(2000);
    let life = 0;
    const crash = async (): Promise<void> => {
      const alive = [...cluster.nodes.values()].filter(node => node.alive);
      const victim = alive[Math.floor(random.next() * alive.length)]!;
      cluster.kill(victim.id);
      await clock.advance(500 + Math.floor(random.next() * 1500));
      cluster.nodes.delete(victim.id);
      await cluster.open(`${victim.id.slice(0, 9)}x${++life}`);
    };
    const keys = ['a', 'b', 'c', 'd'];
    for (let n = 1; n <= 6; n++) {
      for (const id of keys) await clock.complete(cluster.emit({ id, n }));
      if (n % 2 === 0) await crash();
    }
    await cluster.until(async () => (await parked(cluster)).filter(head => head.next === 4).length === 3, 120_000);
    broken = false;
    await cluster.until(async () => (await letters(cluster)).length === 3, 60_000);
    // The fate of a resume may be unknown; repeating it is safe.
    for (let tries = 0; (await letters(cluster)).length > 0; tries++) {
      assert.ok(tries < 20);
      await redriveAll(cluster).catch(cause => assert.equal((cause as { outcome: string }).outcome, 'unknown'));
    }
    await clock.advance(Math.floor(random.next() * 60));
    await crash();
    await cluster.until(async () => {
      for (const id of keys) if ((await seen(cluster, id))?.count !== 6) return false;
      return true;
    }, 120_000);
    for (const id of keys) assert.deepEqual(await order(cluster, id), [1, 2, 3, 4, 5, 6]);
    await cluster.until(async () => (await parked(cluster)).length === 0);
    for (const id of keys) assert.deepEqual(await order(cluster, id), [1, 2, 3, 4, 5, 6]);
  });
}

test('who is asked between two writers says so, and never asks itself', async () => {
  const cluster = openCluster(count, { subscriptions: [park] });
  const node = await cluster.open('ledger-1-a');
  const partition = node.keyspace.partitionOf('a');
  assert(!node.keyspace.isWriter(partition), 'it has not begun to write');
  assert(node.keyspace.route(partition, false).here);
  await assert.rejects(ask(cluster, '$event.resume', { subscription: 'book', key: 'a' }), {
    code: 'MOVED',
    outcome: 'not-done',
  });
});

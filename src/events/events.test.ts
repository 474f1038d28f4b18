import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { z } from 'zod';
import { type DeadLetter, readDeadLetters, redrive } from './dead-letters.ts';
import { bodyOf, decodeEvent } from './event.ts';
import { book, type Cluster, count, type Order, openCluster, placed, seen, service } from './fixture.test.ts';
import type { Delivery } from './handling.ts';
import { Publisher } from './publisher.ts';

const keys = ['a', 'b', 'c', 'd', 'e', 'f'];

async function letters(cluster: Cluster): Promise<DeadLetter[]> {
  const { clock, random, engine } = cluster;
  const options = { engine, service, subscription: 'book', clock, random, deadline: clock.monotonic() + 60_000 };
  return clock.complete(async () => {
    const found: DeadLetter[] = [];
    for await (const { letter } of readDeadLetters(options)) found.push(letter);
    return found;
  });
}

/** Whether every key saw exactly 1..n. */
async function complete(cluster: Cluster, n: number): Promise<boolean> {
  for (const key of keys) if ((await seen(cluster, key))?.count !== n) return false;
  return true;
}

test('a handler that fails for ever makes one dead letter with its error, and the key goes on', async () => {
  const tries: number[] = [];
  const cluster = openCluster(async delivery => {
    const { n } = delivery.event as z.infer<typeof Order>;
    if (n !== 2) return count(delivery);
    tries.push(delivery.attempt);
    throw new Error('no such mailbox');
  });
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (const n of [1, 2, 3]) await cluster.clock.complete(cluster.emit({ id: 'a', n }));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 2);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [1, 3]);
  assert.deepEqual(tries, [1, 2, 3]);
  await cluster.until(() => cluster.model.logs.some(log => log.startsWith('topic/dead.ledger.book/')));
  const [letter, ...others] = await letters(cluster);
  assert.equal(others.length, 0);
  assert.deepEqual(letter?.error, { code: 'INTERNAL', message: 'no such mailbox' });
  assert.deepEqual(letter?.event, { id: 'a', n: 2 });
  assert.equal(letter?.attempts, 3);
  assert.equal(cluster.metrics.get('tandem.event.dead'), 1);
  assert.equal(cluster.metrics.get('tandem.event.retried'), 2);
  assert.equal(cluster.metrics.get('tandem.event.handled'), 2);
});

test('a handler that fails once is tried again and succeeds, with no dead letter', async () => {
  let failed = false;
  const cluster = openCluster(async delivery => {
    if (!failed) {
      failed = true;
      throw new Error('busy');
    }
    return count(delivery);
  });
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  await cluster.clock.complete(cluster.emit({ id: 'a', n: 1 }));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  assert.deepEqual(await letters(cluster), []);
});

test('an event that its schema refuses becomes a dead letter, and the key goes on', async () => {
  const cluster = openCluster(count);
  const { clock, random, engine } = cluster;
  await cluster.open('ledger-1-a');
  await clock.advance(2000);
  const publisher = new Publisher({ engine, source: 'elsewhere-1', clock, random });
  const publish = (n: unknown): Promise<void> =>
    publisher.publishRaw(placed.name, placed.partitions, 'a', { id: 'a', n }, clock.monotonic() + 5000, undefined);
  await clock.complete(publish('seven'));
  await clock.complete(publish(8));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [8]);
  await cluster.until(async () => (await letters(cluster)).length === 1);
  assert.equal((await letters(cluster))[0]?.error.code, 'INVALID');
});

test('a redriven dead letter reaches its own subscription once more and no other, and repeating the redrive sends nothing', async () => {
  let broken = true;
  const others: number[] = [];
  const cluster = openCluster(
    async delivery => {
      const { n } = delivery.event as z.infer<typeof Order>;
      if (delivery.subscription === 'other') return void others.push(n);
      if (broken && n === 2) throw new Error('the bank is closed');
      return count(delivery);
    },
    { subscriptions: [book, { ...book, name: 'other' }] },
  );
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  for (const n of [1, 2, 3]) await cluster.clock.complete(cluster.emit({ id: 'a', n }));
  await cluster.until(async () => (await letters(cluster)).length === 1);
  broken = false;
  const { clock, random, engine } = cluster;
  const options = {
    engine,
    service,
    subscription: 'book',
    clock,
    random,
    deadline: clock.monotonic() + 60_000,
    resume: async () => assert.fail('nothing is parked'),
  };
  assert.equal(await clock.complete(redrive(options)), 1);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 3);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [1, 3, 2]);
  assert.equal(await clock.complete(redrive(options)), 0);
  await clock.advance(2000);
  assert.deepEqual(others, [1, 2, 3]);
});

test('keys are handled in parallel, one key in order', async () => {
  let running = 0;
  let most = 0;
  const cluster = openCluster(async delivery => {
    most = Math.max(most, ++running);
    const { n } = delivery.event as z.infer<typeof Order>;
    await new Promise<void>(resolve => cluster.clock.after(n % 2 ? 30 : 5, resolve));
    running--;
    return count(delivery);
  });
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  const sent = Promise.all(
    keys.map(async id => {
      for (let n = 1; n <= 8; n++) await cluster.emit({ id, n });
    }),
  );
  await cluster.clock.complete(sent);
  await cluster.until(() => complete(cluster, 8));
  for (const key of keys) assert.deepEqual((await seen(cluster, key))?.order, [1, 2, 3, 4, 5, 6, 7, 8]);
  assert(most > 1, 'keys waited for each other');
});

test('an entry that cannot be decoded stops the reader loudly and nothing behind it is handled', async () => {
  const errors: string[] = [];
  const logger = {
    debug() {},
    info() {},
    warn() {},
    error: (message: string) => void errors.push(message),
    with: () => logger,
  } as never;
  const cluster = openCluster(count, { logger });
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  await cluster.clock.complete(cluster.emit({ id: 'a', n: 1 }));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  const log = cluster.model.logs.find(name => name.startsWith('topic/orders.placed/'))!;
  const deadline = cluster.clock.monotonic() + 1000;
  await cluster.clock.complete(cluster.engine.log.append(log, 'any', [new Uint8Array([0xc1, 1, 2])], { deadline }));
  await cluster.clock.complete(cluster.emit({ id: 'a', n: 2 }));
  await cluster.clock.advance(5000);
  assert.equal((await seen(cluster, 'a'))?.count, 1);
  assert(errors.some(message => message.includes('none is skipped')));
  assert.equal(cluster.metrics.get(`tandem.topic.stopped ${log.at(-1)}`), 1);
  assert(cluster.metrics.get(`tandem.topic.lag ${log.at(-1)}`)! > 0);
});

test('delivery ids are forgotten in every partition touched, also those of a reader that was killed', async () => {
  const cluster = openCluster(count);
  const { clock } = cluster;
  const ids = (): number =>
    [...cluster.nodes.values()]
      .filter(({ alive }) => alive)
      .flatMap(({ keyspace }) =>
        keyspace.held().map(partition => keyspace.system(partition).scan('$delivery', '').length),
      )
      .reduce((sum, rows) => sum + rows, 0);
  await cluster.open('ledger-1-a');
  await cluster.open('ledger-2-a');
  await clock.advance(3000);
  const send = (n: number): Promise<unknown> => clock.complete(Promise.all(keys.map(id => cluster.emit({ id, n }))));
  for (let n = 1; n <= 10; n++) await send(n);
  await cluster.until(() => complete(cluster, 10));
  await clock.advance(2000);
  cluster.kill('ledger-1-a');
  await clock.advance(5000);
  assert(ids() >= 60, 'the ids are still there');
  await clock.advance(60_000);
  await send(11);
  await cluster.until(() => complete(cluster, 11));
  await clock.advance(3000);
  assert(ids() <= 12, `${ids()} ids are left`);
  for (const key of keys) assert.equal((await seen(cluster, key))?.count, 11);
});

for (const seed of [1, 2, 3]) {
  test(`through crashes, hand-overs and lost answers every event takes effect or becomes a dead letter, exactly once and in order (seed ${seed})`, async () => {
    const poison = async (delivery: Delivery): Promise<void> => {
      if ((delivery.event as z.infer<typeof Order>).n % 10 === 7) throw new Error('poison');
      await count(delivery);
    };
    const cluster = openCluster(poison, { seed, lostAnswerChance: 0.02 });
    const { clock } = cluster;
    await cluster.open('ledger-1-a');
    await cluster.open('ledger-2-a');
    await clock.advance(3000);
    const n = 40;
    const sending = Promise.all(
      keys.map(async id => {
        for (let i = 1; i <= n; i++) {
          await cluster.emit({ id, n: i });
          await new Promise<void>(resolve => clock.after(cluster.random.below(60), resolve));
        }
      }),
    );
    let sent = false;
    sending.then(() => {
      sent = true;
    });
    await clock.advance(700);
    cluster.kill('ledger-1-a');
    await clock.advance(1500);
    await cluster.open('ledger-1-b');
    await clock.advance(2500);
    let closed = false;
    void cluster.close('ledger-2-a').then(() => {
      closed = true;
    });
    await cluster.until(() => closed);
    await cluster.until(() => sent, 120_000);
    cluster.model.setLostAnswerChance(0);
    const handled = Array.from({ length: n }, (_, i) => i + 1).filter(i => i % 10 !== 7);
    await cluster.until(() => complete(cluster, handled.length), 120_000);
    for (const key of keys) assert.deepEqual((await seen(cluster, key))?.order, handled);
    const dead = keys.flatMap(key => [7, 17, 27, 37].map(i => `${key} ${i}`));
    await cluster.until(async () => (await letters(cluster)).length >= dead.length);
    await clock.advance(3000);
    const found = (await letters(cluster)).map(({ event }) => event as z.infer<typeof Order>);
    assert.deepEqual(found.map(({ id, n }) => `${id} ${n}`).sort(), dead.sort());
    assert(
      cluster.model.logs
        .filter(log => log.startsWith('topic/'))
        .every(log => cluster.model.entries(log).every(body => bodyOf(decodeEvent(body)))),
    );
  });
}

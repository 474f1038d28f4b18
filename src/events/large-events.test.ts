import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topic } from '../contract/topic.ts';
import type { Incoming } from '../core/channel.ts';
import { limits } from '../core/limits.ts';
import { seededRandom } from '../core/random.ts';
import { pack } from '../replication/codec.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { readDeadLetters, redrive } from './dead-letters.ts';
import { bodyOf, decodeEvent, encodeEvent, type StoredEvent } from './event.ts';
import { book, type Cluster, count, Order, openCluster, placed, seen, service } from './fixture.test.ts';
import { LargeEvents } from './large-events.ts';
import type { ResumeForm } from './parking.ts';
import { Publisher } from './publisher.ts';
import { TopicWriter } from './topic-writer.ts';

const large = 'x'.repeat(2_000_000);
const topicLog = 'topic/orders.placed/0';

async function blobs({ clock, engine }: Cluster, prefix: string): Promise<readonly string[]> {
  return clock.complete(engine.blobs.list(prefix, { deadline: clock.monotonic() + 5000 }));
}

/** Publishes to `of`, from outside; every event is large unless `text` says otherwise. */
function publisherTo(cluster: Cluster, of = placed): (id: string, n: number, text?: string) => Promise<void> {
  const { clock, random, engine } = cluster;
  const publisher = new Publisher({ engine, source: 'elsewhere-1', clock, random });
  return async (id, n, text = large) =>
    clock.complete(
      publisher.publishRaw(of.name, of.partitions, id, { id, n, text }, clock.monotonic() + 60_000, undefined),
    );
}

test('an event over the size of an entry is delivered whole, in order between small ones; one over the limit is refused', async () => {
  const read: number[] = [];
  const cluster = openCluster(
    async delivery => {
      read.push((delivery.event as { text: string }).text.length);
      await count(delivery);
    },
    { subscriptions: [{ ...book, topic: loose }] },
  );
  await cluster.open('ledger-1-a');
  await cluster.open('ledger-2-a');
  await cluster.clock.advance(2000);
  const publish = publisherTo(cluster);
  for (const [n, text] of [
    [1, ''],
    [2, large],
    [3, 'small'],
    [4, large],
  ] as const)
    await publish('a', n, text);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 4);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [1, 2, 3, 4]);
  assert.deepEqual(read, [0, 2_000_000, 5, 2_000_000]);
  await assert.rejects(publish('a', 5, 'x'.repeat(limits.eventBytesMax)), {
    code: 'TOO_LARGE',
    outcome: 'not-done',
    message: /more than 4194304: store it as a row, and let the event carry its key/,
  });
});

/** As `placed`, to handlers that look at the text. */
const loose = { ...placed, schema: Order.loose() } as typeof placed;

test('a large event of a transaction spills in the state log and again in its topic', async () => {
  const cluster = openCluster(count);
  const node = await cluster.open('ledger-1-a');
  const { clock } = cluster;
  await clock.advance(2000);
  const system = node.keyspace.system(node.keyspace.partitionOf('a'));
  await clock.complete(
    system.transact(undefined, tx => tx.emit(placed, 'a', { id: 'a', n: 1, text: large }), {
      deadline: clock.monotonic() + 10_000,
    }),
  );
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  assert.equal((await blobs(cluster, 'large/state/')).length, 1);
  assert.equal((await blobs(cluster, 'large/topic/')).length, 1);
});

test('a large dead letter holds its event, a redrive brings it, and its blob goes with the letter', async () => {
  let broken = true;
  const cluster = openCluster(async delivery => {
    if (broken) throw new Error('the bank is closed');
    return count(delivery);
  });
  await cluster.open('ledger-1-a');
  const { clock, random, engine } = cluster;
  await clock.advance(2000);
  await publisherTo(cluster)('a', 1);
  await cluster.until(async () => (await blobs(cluster, 'large/topic/dead.')).length === 1);
  broken = false;
  const options = { engine, service, subscription: 'book', clock, random, deadline: clock.monotonic() + 60_000 };
  const lengths = await clock.complete(async () => {
    const found: number[] = [];
    for await (const { letter } of readDeadLetters(options)) found.push((letter.event as { text: string }).text.length);
    return found;
  });
  assert.deepEqual(lengths, [large.length]);
  assert.equal(await clock.complete(redrive({ ...options, resume: () => assert.fail() })), 1);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 1);
  assert.deepEqual(await blobs(cluster, 'large/topic/dead.'), []);
});

test('retention takes the blobs of what it drops, at its next look, and leaves those of what is kept', async () => {
  const short = topic('orders.placed', Order, {
    key: 'id',
    partitions: 1,
    retention: { bytes: 5_000_000, age: 'forever' },
  });
  const cluster = openCluster(count, { subscriptions: [{ ...book, topic: short }] });
  await cluster.open('ledger-1-a');
  await cluster.clock.advance(2000);
  const publish = publisherTo(cluster, short);
  for (const n of [1, 2, 3, 4]) await publish('a', n);
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 4);
  assert.equal((await blobs(cluster, 'large/topic/')).length, 4);
  await cluster.clock.advance(125_000);
  const kept = await blobs(cluster, 'large/topic/');
  assert.equal(kept.length, 2, 'two of 2 MB fit 5 MB');
  const { first } = await cluster.clock.complete(
    cluster.engine.log.info(topicLog, { deadline: cluster.clock.monotonic() + 5000 }),
  );
  assert.equal(first, 3);
  for (const blob of kept) assert(Number(blob.split('/').at(-1)!.slice(0, 16)) >= first);
});

test('what waits with a parked key outlives the retention of its topic', async () => {
  const short = topic('orders.placed', Order, { key: 'id', partitions: 1, retention: { age: '1m' } });
  let broken = true;
  const cluster = openCluster(
    async delivery => {
      if (broken) throw new Error('the bank is closed');
      return count(delivery);
    },
    { subscriptions: [{ ...book, topic: short, onDead: 'park' }] },
  );
  const node = await cluster.open('ledger-1-a');
  const { clock } = cluster;
  await clock.advance(2000);
  const publish = publisherTo(cluster, short);
  for (const n of [1, 2]) await publish('a', n);
  await clock.advance(200_000);
  await publish('b', 1, '');
  await clock.advance(200_000);
  assert.deepEqual(await blobs(cluster, 'large/topic/orders.placed'), []);
  broken = false;
  const form: ResumeForm = { subscription: 'book', key: 'a' };
  const incoming = { method: '$event.resume', body: form, deadline: clock.monotonic() + 5000 } as Incoming;
  await clock.complete(Promise.resolve(node.events.answer(incoming)));
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 2);
  assert.deepEqual((await seen(cluster, 'a'))?.order, [1, 2]);
});

test('among others that append without a pause, through lost answers, each large event gets in, once for its reader', async () => {
  for (let seed = 1; seed <= 8; seed++) {
    const clock = virtualClock();
    const random = seededRandom(seed);
    const model = engineModel({ clock, random, lostAnswerChance: 0.1 });
    const engine = model.connect(clock);
    const event = (source: string, number: number, body: unknown): StoredEvent => ({
      ...{ source, number, key: 'k', body: pack(body), at: 0, traceparent: undefined },
    });
    const open = (): TopicWriter => new TopicWriter({ engine: model.connect(clock), topicLog, clock, random });
    const sends: Promise<void>[] = [];
    const [one, two, small] = [open(), open(), open()];
    for (let n = 0; n < 6; n++) {
      sends.push(one.send(encodeEvent(event('one', n, large)), Number.POSITIVE_INFINITY));
      sends.push(two.send(encodeEvent(event('two', n, large)), Number.POSITIVE_INFINITY));
    }
    let running = true;
    const flood = (async () => {
      for (let n = 0; running; n++) await small.send(encodeEvent(event('small', n, n)), Number.POSITIVE_INFINITY);
    })();
    await clock.complete(Promise.all(sends));
    running = false;
    await clock.complete(flood);
    const reading = new LargeEvents({ engine, clock, random });
    const last = new Map<string, number>();
    for (const [at, body] of model.entries(topicLog).entries()) {
      const found = decodeEvent(body);
      if (found.number <= (last.get(found.source) ?? -1)) continue;
      assert.equal(found.number, (last.get(found.source) ?? -1) + 1, `seed ${seed}`);
      last.set(found.source, found.number);
      if (!found.large) continue;
      const whole = await clock.complete(reading.whole(topicLog, at + 1, found));
      assert.equal(bodyOf(whole), large);
    }
    assert.deepEqual([last.get('one'), last.get('two')], [5, 5]);
    // No name allows a position behind which it is collected while the log still names it.
    for (const [at, body] of model.entries(topicLog).entries()) {
      const { large: named } = decodeEvent(body);
      if (named) assert(Number(named.blob.split('/').at(-1)!.slice(0, 16)) >= at + 1, `seed ${seed}`);
    }
  }
});

test('more delayed bytes than a transaction takes go out all the same when they fall due at one moment', async () => {
  const cluster = openCluster(count, { partitions: 1 });
  const node = await cluster.open('ledger-1-a');
  const { clock } = cluster;
  await clock.advance(2000);
  const at = clock.now() + 5000;
  for (let n = 1; n <= 6; n++)
    await clock.complete(
      node.keyspace
        .system(0)
        .transact(undefined, tx => tx.emit(placed, 'a', { id: 'a', n, text: 'x'.repeat(4_000_000) }, at), {
          deadline: clock.monotonic() + 4000,
        }),
    );
  await cluster.until(async () => (await seen(cluster, 'a'))?.count === 6);
});

// The commands on topics against one running app: publish, dead letters, parked keys, replay, what is shown, events for later.
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';
import { cliApp, stock } from './cli-app.ts';
import { until } from './running-app.ts';

const { gateShut, plain, json, up } = cliApp({ 'stock.ts': stock });
const stockOf = (sku: string): Promise<unknown> => json(0, 'call', 'stock.get', JSON.stringify({ sku }));

before(async () => {
  await up('stock.ts');
});

test('a published event takes effect; one that is given up is shown, and redriven once the reason is gone', async () => {
  assert.match(await plain(0, 'topic', 'publish', 'stock.delivered', '{"sku":"B","qty":2}'), /Published to stock\./);
  assert.deepEqual(await json(0, 'topic', 'publish', 'stock.delivered', '{"sku":"B","qty":3}'), {
    topic: 'stock.delivered',
    published: true,
  });
  await until('both deliveries to be on the shelf', async () => (await stockOf('B')) === 5);
  assert.match(await plain(1, 'topic', 'publish', 'stock.deliverd', '{"sku":"B"}'), /known: .*stock\.delivered/);
  assert.match(await plain(1, 'topic', 'publish', 'stock.delivered', '{"qty":1}'), /with its key 'sku'/);

  writeFileSync(gateShut, '');
  await plain(0, 'topic', 'publish', 'stock.delivered', '{"sku":"C","qty":7}');
  interface Letters {
    readonly letters: readonly { readonly key: string; readonly attempts: number; readonly event: unknown }[];
  }
  const { letters } = await until('a dead letter', async () => {
    const found = await json<Letters>(0, 'topic', 'dead', 'stock.arrive');
    return found.letters.length > 0 && found;
  });
  assert.deepEqual(
    letters.map(({ key, attempts, event }) => ({ key, attempts, event })),
    [{ key: 'C', attempts: 2, event: { sku: 'C', qty: 7 } }],
  );
  assert.match(
    await plain(0, 'topic', 'dead', 'stock.arrive'),
    /C {2}INTERNAL after 2 tries: the gate is shut {2}trace [0-9a-f]{32}\n[\s\S]*1 dead/,
  );
  assert.match(
    await plain(1, 'doctor'),
    /✗ subscription stock\.arrive: 1 dead letter: .*tandem topic redrive stock\.arrive sends them again/,
  );
  assert.match(await plain(1, 'topic', 'dead', 'stock.arriv'), /known: stock\.arrive/);

  rmSync(gateShut);
  assert.deepEqual(await json(0, 'topic', 'redrive', 'stock.arrive'), { subscription: 'stock.arrive', sent: 1 });
  await until('the redriven delivery to be on the shelf', async () => (await stockOf('C')) === 7);
  assert.match(await plain(0, 'topic', 'redrive', 'stock.arrive'), /Sent 0 events/);
  assert.match(await plain(0, 'topic', 'dead', 'stock.arrive'), /no dead letters/);
});

test('a parked key waits until it is redriven or discarded, and a replay brings all again', async () => {
  const move = (sku: string, qty: number): Promise<string> =>
    plain(0, 'topic', 'publish', 'stock.moved', JSON.stringify({ sku, qty }));
  const parked = async (count: number): Promise<boolean> => {
    const { keys } = await json<{ keys: { next: number }[] }>(0, 'topic', 'parked', 'stock.move');
    return keys.reduce((sum, { next }) => sum + next, 0) === count;
  };
  writeFileSync(gateShut, '');
  for (const qty of [1, -2, 3]) await move('M', qty);
  await until('the failed event and the one behind it to wait', () => parked(2));
  assert.equal(await stockOf('M'), 1);
  assert.match(
    await plain(0, 'topic', 'parked', 'stock.move'),
    /M {2}2 events {2}INTERNAL: the gate is shut\n1 parked/,
  );
  const advice = /1 key parked with 2 events: tandem topic parked stock\.move says why; then redrive, or discard/;
  assert.match(await plain(1, 'doctor'), advice);
  assert.match(await plain(0, 'topic', 'show', 'stock.moved'), advice);
  rmSync(gateShut);
  assert.match(await plain(0, 'topic', 'redrive', 'stock.move'), /Sent 1 event/);
  await until('the key to have gone on in order', async () => (await stockOf('M')) === 123);

  writeFileSync(gateShut, '');
  for (const qty of [-4, 5]) await move('N', qty);
  await until('another key to wait', () => parked(2));
  assert.deepEqual(await json(0, 'topic', 'discard', 'stock.move', 'N'), {
    subscription: 'stock.move',
    key: 'N',
    discarded: true,
  });
  await until('what waited behind the discarded event', async () => (await stockOf('N')) === 5);
  assert.match(await plain(1, 'topic', 'discard', 'stock.move', 'N'), /is not parked/);
  assert.match(await plain(2, 'topic', 'discard', 'stock.move'), /needs more/);
  rmSync(gateShut);

  assert.match(await plain(2, 'topic', 'replay', 'stock.move'), /needs --from/);
  assert.match(await plain(2, 'topic', 'replay', 'stock.move', '--from', '1'), /name it with --partition/);
  assert.match(await plain(2, 'topic', 'replay', 'stock.move', '--from', 'noon'), /is no time/);
  const { events } = await json<{ events: number }>(0, 'topic', 'replay', 'stock.move', '--from', 'earliest');
  assert.equal(events, 5);
  await until('all to have come again', async () => (await stockOf('M')) === 123_123 && (await stockOf('N')) === 545);
  assert.match(await plain(0, 'topic', 'replay', 'stock.move', '--from', '1m'), /reads 5 events again/);
});

test('topic show tells who reads what and how far, dead letters, the rate and the busiest keys', async () => {
  interface Shown {
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly events: number; readonly tail: number }[];
      readonly groups: readonly {
        readonly group: string;
        readonly lag: number | null;
        readonly oldestWaitingMs: number | null;
        readonly dead: number;
        readonly readers: readonly { readonly instance: string; readonly position: number }[];
      }[];
      readonly recent?: {
        readonly events: number;
        readonly perSecond: number;
        readonly keys: readonly { readonly key: string; readonly events: number }[];
      };
    }[];
  }
  const shown = (...words: string[]): Promise<Shown> => json<Shown>(0, 'topic', 'show', ...words);
  const { topics } = await until('the readers to be through', async () => {
    const found = await shown('stock.delivered');
    return found.topics[0]!.groups[0]!.lag === 0 && found;
  });
  const [topic] = topics;
  assert.equal(
    topic!.partitions.reduce((sum, { events }) => sum + events, 0),
    4,
    'three published, one redriven',
  );
  const [group] = topic!.groups;
  assert.equal(group!.group, 'stock.arrive');
  assert.equal(group!.dead, 0);
  assert.equal(group!.oldestWaitingMs, null);
  assert.deepEqual(
    group!.readers.map(({ position }) => position),
    topic!.partitions.map(({ tail }) => tail),
  );
  for (const { instance } of group!.readers) assert.match(instance, /^stock-1-/);
  assert.deepEqual(topic!.recent!.keys, [
    { key: 'B', events: 2, share: 0.5 },
    { key: 'C', events: 2, share: 0.5 },
  ]);
  assert(topic!.recent!.perSecond > 0);
  assert.deepEqual(
    (await shown()).topics.map(({ topic: name }) => name),
    ['stock.delivered', 'stock.moved'],
  );
  assert.match(
    await plain(0, 'topic', 'show'),
    /^TOPIC +PART.*\nstock\.delivered +2 +4 +\d+ B +stock\.arrive +0 +- +0 +0$/m,
  );
  assert.match(
    await plain(0, 'topic', 'show', 'stock.delivered'),
    /stock-1-[\s\S]*4 events since 20[\s\S]*B +2 +50\.0 %/,
  );
  assert.match(
    await plain(1, 'topic', 'show', 'stock.deliverd'),
    /knows the topic 'stock\.deliverd'; known: stock\.delivered/,
  );
});

test('an event for later is kept, shown nowhere, and comes when its time has come', async () => {
  const later = ['topic', 'publish', 'stock.delivered', '{"sku":"L","qty":1}'];
  assert.match(await plain(2, ...later, '--delay', 'soon'), /--delay: 'soon' is not a duration/);
  assert.match(await plain(2, ...later, '--at', 'noon'), /--at: 'noon' is no time/);
  assert.match(await plain(2, ...later, '--at', '2026-01-01', '--delay', '1s'), /not both/);
  assert.deepEqual(await json(0, ...later, '--delay', '1s'), {
    topic: 'stock.delivered',
    published: false,
    later: 'in 1s',
  });
  assert.match(
    await plain(0, ...later, '--at', '2020-01-01T00:00:00Z'),
    /Kept for stock\.delivered; it is published at 2020/,
  );
  await until('both to be on the shelf', async () => (await stockOf('L')) === 2);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { contract } from '../index.ts';
import { testApp } from './test-app.ts';

const Placed = z.object({ id: z.string(), n: z.int() });
const placed = topic('placed', Placed, { key: 'id', partitions: 2 });
const shop = contract('shop', {
  place: { key: 'id', input: Placed, output: z.string() },
  seen: { key: 'id', consistency: 'strong', input: z.object({ id: z.string() }), output: z.array(z.int()) },
});

function service(onDead: 'skip' | 'park', broken: { is: boolean }) {
  return shop.implement({
    tables: { seen: table(z.array(z.int())) },
    partitions: 2,
    methods: {
      place: ({ id, n }, ctx) =>
        ctx.transact(tx => {
          tx.emit(placed, { id, n });
          return ctx.trace;
        }),
      seen: async ({ id }, ctx) => (await ctx.tables.seen.get(id)) ?? [],
    },
    subscriptions: {
      book: {
        topic: placed,
        attempts: 2,
        onDead,
        handler: ({ id, n }, ctx) => {
          if (broken.is && n === 2) throw new Error('the bank is closed');
          return ctx.transact(tx => tx.seen.put(id, [...(tx.seen.get(id) ?? []), n]));
        },
      },
    },
  });
}

test('a dead letter tells the trace of the call that emitted its event, and a redrive brings it once', async () => {
  const broken = { is: true };
  await using app = await testApp([service('skip', broken)], { instances: { shop: 2 } });
  const traces: string[] = [];
  for (const n of [1, 2, 3]) traces.push(await app.call(shop).place({ id: 'a', n }));
  await app.settled();
  const letters = await app.deadLetters('shop.book');
  assert.deepEqual(
    letters.map(({ key, event, attempts, error, traceId }) => ({ key, event, attempts, why: error.message, traceId })),
    [{ key: 'a', event: { id: 'a', n: 2 }, attempts: 2, why: 'the bank is closed', traceId: traces[1]!.split('-')[1] }],
  );
  broken.is = false;
  assert.equal(await app.redrive('shop.book'), 1);
  await app.settled();
  assert.deepEqual(await app.call(shop).seen({ id: 'a' }), [1, 3, 2]);
  assert.deepEqual(await app.deadLetters('shop.book'), []);
});

test('one parked key goes on by itself, another stays; a replay brings all again', async () => {
  const broken = { is: true };
  await using app = await testApp([service('park', broken)], { instances: { shop: 2 } });
  for (const id of ['a', 'b']) for (const n of [1, 2, 3]) await app.call(shop).place({ id, n });
  await app.settled();
  assert.deepEqual((await app.parked('shop.book')).map(({ key }) => key).sort(), ['a', 'b']);
  broken.is = false;
  assert.equal(await app.resume('shop.book', 'a'), true);
  assert.equal(await app.resume('shop.book', 'c'), false);
  await app.settled();
  assert(
    (await app.deadLetters('shop.book')).some(({ key }) => key === 'b'),
    'the letter of a key that waits stays',
  );
  assert.deepEqual(await app.call(shop).seen({ id: 'a' }), [1, 2, 3]);
  assert.deepEqual(await app.call(shop).seen({ id: 'b' }), [1]);
  assert.equal(await app.discard('shop.book', 'b'), true);
  await app.settled();
  assert.deepEqual(await app.call(shop).seen({ id: 'b' }), [1, 3]);
  await app.replay('shop.book');
  await app.settled();
  assert.deepEqual(await app.call(shop).seen({ id: 'a' }), [1, 2, 3, 1, 2, 3]);
  assert.deepEqual(await app.call(shop).seen({ id: 'b' }), [1, 3, 1, 2, 3]);
  await assert.rejects(app.redrive('shop.bok'), { code: 'NOT_FOUND', message: /known: shop\.book/ });
});

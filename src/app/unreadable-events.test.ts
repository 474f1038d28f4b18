/** Events that the handler's schema cannot read: found at start where it can be, else dead letters, and the others go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { testApp } from '../simulation/test-app.ts';

const One = z.object({ id: z.string(), n: z.int() });
const Other = z.object({ id: z.string(), n: z.string() });
const one = topic('things', One, { key: 'id', partitions: 2 });
const other = topic('things', Other, { key: 'id', partitions: 2 });
const reader = contract('reader', {
  sum: { key: 'id', input: z.object({ id: z.string() }), output: z.int() },
});
const letters = topic(
  'dead.reader.add',
  z.object({ key: z.string(), event: z.unknown(), error: z.object({ code: z.string(), message: z.string() }) }),
  { key: 'key', partitions: 2 },
);
const seen: { key: string; error: { code: string; message: string } }[] = [];
const service = reader.implement({
  tables: { sums: table(z.int()) },
  partitions: 4,
  methods: { sum: async ({ id }, ctx) => (await ctx.tables.sums.get(id)) ?? 0 },
  subscriptions: {
    add: {
      topic: one,
      attempts: 2,
      handler: ({ id, n }, ctx) => ctx.transact(tx => tx.sums.put(id, (tx.sums.get(id) ?? 0) + n)),
    },
    note: { topic: letters, handler: letter => void seen.push(letter) },
  },
});

test('what cannot be read becomes a dead letter that says why and what to do; its key and all others go on', async () => {
  await using app = await testApp([service]);
  await app.publish(one, { id: 'a', n: 1 });
  await app.publish(other, { id: 'a', n: 'many' });
  await app.publish(one, { id: 'a', n: 2 });
  await app.publish(one, { id: 'b', n: 5 });
  await app.settled();
  assert.equal(await app.call(reader).sum({ id: 'a' }), 3);
  assert.equal(await app.call(reader).sum({ id: 'b' }), 5);
  assert.equal(seen.length, 1);
  assert.equal(seen[0]!.key, 'a');
  assert.equal(seen[0]!.error.code, 'INVALID');
  assert.match(
    seen[0]!.error.message,
    /the schema of 'reader\.add' cannot read the event at position \d of its partition, published 2026-.*: event of 'things' is not valid: n: .*; make the schema take it, then: tandem topic redrive reader\.add/,
  );
});

test('a publisher that says what it publishes is refused at start when a subscriber could not read it', async () => {
  const writer = contract('writer', {}).implement({ methods: {}, publishes: [other] });
  await assert.rejects(testApp([service, writer]), { code: 'CONFIG', message: /topic things\.n: .*it may be/ });
});

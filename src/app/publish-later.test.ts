/** Events for later, published outside of a transaction: where they wait, and that they come once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { testApp } from '../simulation/test-app.ts';

const Nudge = z.object({ who: z.string(), n: z.int() });
const nudges = topic('nudges', Nudge, { key: 'who', partitions: 2 });
const unheard = topic('nobody.listens', Nudge, { key: 'who', partitions: 2 });

const inbox = contract('inbox', {
  got: { key: 'who', input: z.object({ who: z.string() }), output: z.array(z.int()) },
});
const receiver = inbox.implement({
  tables: { got: table(z.array(z.int())) },
  partitions: 4,
  methods: { got: async ({ who }, ctx) => (await ctx.tables.got.get(who)) ?? [] },
  subscriptions: {
    nudge: {
      topic: nudges,
      handler: ({ who, n }, ctx) => ctx.transact(tx => tx.got.put(who, [...(tx.got.get(who) ?? []), n])),
    },
  },
});

const bells = contract('bells', { ring: { input: Nudge.extend({ minutes: z.int() }) } });
const ring = (keeps: boolean) =>
  bells.implement({
    ...(keeps && { tables: { rung: table(z.int()) } }),
    partitions: 4,
    methods: { ring: ({ minutes, ...nudge }, ctx) => ctx.publish(nudges, nudge, { delay: `${minutes}m` }) },
  });

test('an event for later comes at its time, once, though who keeps it and who publishes it die meanwhile', async () => {
  for (const keeps of [true, false]) {
    await using app = await testApp([receiver, ring(keeps)], { instances: { inbox: 2 }, seed: keeps ? 1 : 2 });
    await app.call(bells).ring({ who: 'ann', n: 1, minutes: 2 });
    await app.call(bells).ring({ who: 'ann', n: 2, minutes: 1 });
    await app.kill('bells');
    await app.kill('inbox', 0);
    await app.clock.advance('30s');
    await app.start('bells');
    assert.deepEqual(await app.call(inbox).got({ who: 'ann' }), []);
    await app.clock.advance('40s');
    await app.settled();
    assert.deepEqual(await app.call(inbox).got({ who: 'ann' }), [2]);
    await app.start('inbox', 0);
    await app.clock.advance('1m');
    await app.settled();
    assert.deepEqual(await app.call(inbox).got({ who: 'ann' }), [2, 1]);
  }
});

test('at a time; one that has passed means at once', async () => {
  await using app = await testApp([receiver], { startAt: '2026-03-01T00:00:00Z' });
  await app.publish(nudges, { who: 'bob', n: 1 }, { at: new Date('2026-03-01T00:01:00Z') });
  await app.publish(nudges, { who: 'bob', n: 2 }, { at: Date.parse('2026-02-01T00:00:00Z') });
  await app.publish(nudges, { who: 'bob', n: 3 });
  await app.settled();
  assert.deepEqual((await app.call(inbox).got({ who: 'bob' })).sort(), [2, 3]);
  await app.clock.advance('1m');
  await app.settled();
  assert.deepEqual((await app.call(inbox).got({ who: 'bob' })).at(-1), 1);
});

test('where no service can keep it, it is refused with what to do; bad times and events are refused at once', async () => {
  await using app = await testApp([receiver]);
  const nudge = { who: 'cid', n: 1 };
  await assert.rejects(app.publish(unheard, nudge, { delay: '1m' }), {
    code: 'UNSUPPORTED',
    outcome: 'not-done',
    message: /no running one subscribes to 'nobody\.listens'; give it tables, or emit the event in a transaction/,
  });
  await assert.rejects(app.publish(nudges, nudge, { delay: '1m', at: 0 }), { code: 'INVALID', message: /not both/ });
  await assert.rejects(app.publish(nudges, nudge, { at: Number.NaN }), { code: 'INVALID', message: /no time/ });
  await assert.rejects(app.publish(nudges, { who: 'cid' } as never, { delay: '1m' }), { code: 'INVALID' });
});

test('a store of unknown fate is repeated and is one event', async () => {
  for (const seed of [3, 4, 5]) {
    await using app = await testApp([receiver], { instances: { inbox: 2 }, seed });
    const cutting = (async () => {
      for (let times = 0; times < 3; times++) {
        app.cut('client', `inbox-${1 + (times % 2)}`);
        await app.clock.advance('300ms');
        app.heal();
        await app.clock.advance('200ms');
      }
    })();
    const sent = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => app.publish(nudges, { who: 'dan', n }, { delay: '10s', timeout: '20s' })),
    );
    await cutting;
    await app.clock.advance('15s');
    await app.settled();
    const got = await app.call(inbox).got({ who: 'dan' });
    assert.equal(new Set(got).size, got.length, `none twice: ${got}`);
    for (const [n, { status }] of sent.entries())
      assert(status === 'rejected' || got.includes(n), `${n} was acknowledged`);
    assert(sent.some(({ status }) => status === 'fulfilled'));
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { contract, error } from '../index.ts';
import { fake, testApp } from './test-app.ts';

const added = topic('counter.added', z.object({ name: z.string(), by: z.int() }), { key: 'name', partitions: 4 });
const counter = contract('counter', {
  add: {
    key: 'name',
    input: z.object({ name: z.string(), by: z.int() }),
    output: z.int(),
    errors: { tooMuch: error(409, z.object({ max: z.int() })) },
  },
  get: { key: 'name', consistency: 'sequential', input: z.object({ name: z.string() }), output: z.int() },
  handled: { key: 'name', consistency: 'sequential', input: z.object({ name: z.string() }), output: z.int() },
});
const rates = contract('rates', { of: { input: z.object({ name: z.string() }), output: z.int() } });
const service = counter.implement({
  tables: { counts: table(z.int()), seen: table(z.int()) },
  partitions: 4,
  methods: {
    add: ({ name, by }, ctx) =>
      ctx.transact(tx => {
        if (by > 100) throw ctx.fail.tooMuch({ max: 100 });
        const next = (tx.counts.get(name) ?? 0) + by;
        tx.counts.put(name, next);
        tx.emit(added, { name, by });
        return next;
      }),
    get: async ({ name }, ctx) => (await ctx.tables.counts.get(name)) ?? 0,
    handled: async ({ name }, ctx) => (await ctx.tables.seen.get(name)) ?? 0,
  },
  subscriptions: {
    see: {
      topic: added,
      handler: ({ name }, ctx) => ctx.transact(tx => void tx.seen.put(name, (tx.seen.get(name) ?? 0) + 1)),
    },
  },
});

test('one of three instances dies: nothing is lost, nothing counts twice, calls go on', async () => {
  await using app = await testApp([service], { instances: { counter: 3 }, seed: 7 });
  const names = ['a', 'b', 'c', 'd', 'e', 'f'];
  const add = () => Promise.all(names.map(name => app.call(counter).add({ name, by: 1 })));
  await add();
  await add();
  await app.kill(service, 0);
  await add();
  await app.start(service, 0);
  await add();
  await app.settled();
  for (const name of names) {
    assert.equal(await app.call(counter).get({ name }, { consistency: 'strong' }), 4);
    assert.equal(await app.call(counter).handled({ name }, { consistency: 'strong' }), 4);
  }
});

test('declared errors are typed answers, and time moves by hand too', async () => {
  await using app = await testApp([service]);
  const answer = await app.try(counter).add({ name: 'a', by: 101 });
  assert.ok(!answer.ok && answer.error.code === 'tooMuch' && answer.error.data.max === 100);
  assert.equal(!answer.ok && answer.outcome, 'not-done');
  const before = app.clock.now();
  await app.clock.advance('10s');
  assert.ok(app.clock.now() - before >= 10_000);
  assert.equal(await app.call(counter).get({ name: 'a' }), 0);
});

test('other services can be faked by their contract', async () => {
  const asks = contract('asks', { double: { input: z.object({ name: z.string() }), output: z.int() } });
  const asking = asks.implement({
    methods: { double: async ({ name }, ctx) => 2 * (await ctx.call(rates).of({ name })) },
  });
  await using app = await testApp([asking], { fakes: [fake(rates, { of: ({ name }) => name.length })] });
  assert.equal(await app.call(asks).double({ name: 'abc' }), 6);
});

test('what is wrong with a service is said as `tandem up` says it', async () => {
  const needy = contract('needy', { ping: {} }).implement({
    config: z.object({ url: z.url() }),
    methods: { ping: () => {} },
  });
  await assert.rejects(testApp([needy]), /config of 'needy'.*url.*TANDEM_NEEDY_URL/);
});

test('kill runs no onStop and aborts no signal, as kill -9 would not; the end of the test stops the others in order', async () => {
  const held = contract('held', { ping: { output: z.int() } });
  const stopped: string[] = [];
  let lives = 0;
  const holding = held.implement({
    resources: ({ onStop, signal }) => {
      const life = ++lives;
      signal.addEventListener('abort', () => stopped.push(`signal ${life}`));
      onStop(() => stopped.push(`life ${life}`));
      return { life };
    },
    methods: { ping: (_input, ctx) => ctx.resources.life },
  });
  {
    await using app = await testApp([holding]);
    assert.equal(await app.call(held).ping(), 1);
    await app.kill(holding);
    await app.clock.advance('30s');
    await app.start(holding);
    assert.equal(await app.call(held).ping(), 2);
    assert.deepEqual(stopped, []);
  }
  assert.deepEqual(stopped, ['signal 2', 'life 2']);
});

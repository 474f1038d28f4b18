import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { table } from '../contract/table.ts';
import { topic } from '../contract/topic.ts';
import { contract, TandemError } from '../index.ts';
import { testApp } from './test-app.ts';

const tips = contract('tips', { for: { input: z.object({ name: z.string() }), output: z.string(), timeout: '1s' } });
const page = contract('page', {
  show: { input: z.object({ name: z.string() }), output: z.string(), timeout: '2s' },
  open: { input: z.object({ name: z.string() }), output: z.string(), timeout: '3s' },
});
const tipsService = tips.implement({ methods: { for: ({ name }) => `tip for ${name}` } });
const pageService = page.implement({
  methods: {
    show: ({ name }, ctx) => ctx.call(tips).for({ name }),
    open: async ({ name }, ctx) => {
      const tip = await ctx.try(tips).for({ name }, { timeout: '300ms', fallback: () => 'no tip today' });
      return tip.ok ? `${tip.value}${tip.meta.degraded ? ' (degraded)' : ''}` : tip.error.code;
    },
  },
});

const placed = topic('bank.paid', z.object({ name: z.string(), id: z.string() }), { key: 'name', partitions: 2 });
const Name = z.object({ name: z.string() });
const bank = contract('bank', {
  pay: { key: 'name', timeout: '4s', input: Name.extend({ id: z.string() }), output: z.int() },
  paid: { key: 'name', consistency: 'strong', input: Name, output: z.array(z.string()) },
  noted: { key: 'name', consistency: 'strong', input: Name, output: z.array(z.string()) },
});
const bankService = bank.implement({
  tables: { paid: table(z.array(z.string())), noted: table(z.array(z.string())) },
  partitions: 2,
  methods: {
    pay: ({ name, id }, ctx) =>
      ctx.transact(tx => {
        const all = [...(tx.paid.get(name) ?? []), id];
        tx.paid.put(name, all);
        tx.emit(placed, { name, id });
        return all.length;
      }),
    paid: async ({ name }, ctx) => (await ctx.tables.paid.get(name)) ?? [],
    noted: async ({ name }, ctx) => (await ctx.tables.noted.get(name)) ?? [],
  },
  subscriptions: {
    note: {
      topic: placed,
      handler: ({ name, id }, ctx) => ctx.transact(tx => tx.noted.put(name, [...(tx.noted.get(name) ?? []), id])),
    },
  },
});

test('a call through a cut fails within its deadline of virtual time, its fate unknown, and works again once healed', async () => {
  await using app = await testApp([pageService, tipsService]);
  assert.equal(await app.call(page).show({ name: 'a' }), 'tip for a');
  app.cut('page-1', 'tips-1');
  const startedAt = app.clock.now();
  await assert.rejects(app.call(page).show({ name: 'a' }), (thrown: TandemError) => {
    assert.equal(thrown.code, 'DEADLINE_EXCEEDED', thrown.message);
    assert.equal(thrown.outcome, 'unknown');
    return true;
  });
  const tookMs = app.clock.now() - startedAt;
  assert.ok(tookMs >= 1000 && tookMs <= 1100, `the deadline of tips.for is 1 s; it took ${tookMs} ms`);
  assert.equal(await app.call(tips).for({ name: 'b' }), 'tip for b', 'others still reach it');
  app.heal('page-1', 'tips-1');
  await app.clock.advance('5s');
  assert.equal(await app.call(page).show({ name: 'a' }), 'tip for a');
});

test('an optional dependency behind a cut degrades the answer, and is whole again once healed', async () => {
  await using app = await testApp([pageService, tipsService]);
  app.cut('page-1', 'tips-1');
  const startedAt = app.clock.now();
  assert.equal(await app.call(page).open({ name: 'a' }), 'no tip today (degraded)');
  assert.ok(app.clock.now() - startedAt <= 400, `it took ${app.clock.now() - startedAt} ms`);
  app.heal();
  await app.clock.advance('5s');
  assert.equal(await app.call(page).open({ name: 'a' }), 'tip for a');
});

test('a service cut off from everyone is UNAVAILABLE, certainly not done, once its silence was noticed', async () => {
  await using app = await testApp([pageService, tipsService]);
  app.cut('tips-1', '*');
  await app.clock.advance('20s');
  const startedAt = app.clock.now();
  const answer = await app.try(tips).for({ name: 'a' });
  assert.ok(!answer.ok);
  assert.equal(`${answer.error.code} ${answer.outcome}`, 'UNAVAILABLE not-done', answer.error.message);
  assert.ok(app.clock.now() - startedAt <= 1000);
  app.heal();
  await app.clock.advance('10s');
  assert.equal(await app.call(tips).for({ name: 'a' }), 'tip for a');
});

for (const seed of [1, 2, 3]) {
  test(`no acknowledged write is lost when writers are cut off from the engine and from callers (seed ${seed})`, async () => {
    await using app = await testApp([bankService], { instances: { bank: 3 }, seed });
    const acked = new Map<string, string[]>();
    const doubtful = new Set<string>();
    let next = 0;
    const payAll = (): Promise<unknown> =>
      Promise.all(
        ['a', 'b', 'c', 'd'].map(async name => {
          const id = `${name}${next++}`;
          const answer = await app.try(bank).pay({ name, id });
          if (answer.ok) acked.set(name, [...(acked.get(name) ?? []), id]);
          else if (answer.outcome === 'unknown') doubtful.add(id);
        }),
      );
    await payAll();
    for (const slot of ['bank-1', 'bank-2', 'bank-3']) {
      app.cut(slot, 'engine');
      for (let round = 0; round < 3; round++) await payAll();
      app.heal(slot, 'engine');
      app.cut(slot, 'client');
      for (let round = 0; round < 3; round++) await payAll();
      app.heal();
    }
    await app.clock.advance('10s');
    await payAll();
    await app.settled();
    for (const name of ['a', 'b', 'c', 'd']) {
      const paid = await app.call(bank).paid({ name });
      assert.equal(new Set(paid).size, paid.length, `twice: ${paid}`);
      const lost = acked.get(name)!.filter(id => !paid.includes(id));
      assert.deepEqual(lost, [], 'acknowledged and gone');
      const extra = paid.filter(id => !acked.get(name)!.includes(id) && !doubtful.has(id));
      assert.deepEqual(extra, [], 'refused and yet done');
      assert.deepEqual(await app.call(bank).noted({ name }), paid, 'each event once, in order');
      assert.ok(acked.get(name)!.length >= 10, `only ${acked.get(name)!.length} of 20 writes went through`);
    }
  });
}

test('time moves by hand: five minutes are over at once, and who waits longer still waits', async () => {
  const sleepy = contract('sleepy', { wake: { output: z.string(), timeout: '30s' } });
  const service = sleepy.implement({ methods: { wake: () => new Promise<string>(() => {}) } });
  await using app = await testApp([service]);
  const before = app.clock.now();
  let ended: unknown;
  await app.clock.advance('5m');
  assert.ok(app.clock.now() - before >= 300_000 && app.clock.now() - before < 301_000);
  const waiting = app
    .try(sleepy)
    .wake()
    .then(answer => (ended = answer));
  await app.clock.advance('29s');
  assert.equal(ended, undefined, 'one second is left of its 30');
  await app.clock.advance('2s');
  await waiting;
  assert.equal((ended as unknown as { error: { code: string } }).error.code, 'DEADLINE_EXCEEDED');
});

const ping = topic('ping', z.object({ id: z.string() }), { key: 'id', partitions: 1 });
const pinger = contract('pinger', { send: { key: 'id', input: z.object({ id: z.string() }) } });
const pinging = (hear: () => unknown) =>
  pinger.implement({
    tables: { seen: table(z.int()) },
    partitions: 1,
    methods: { send: ({ id }, ctx) => ctx.transact(tx => tx.emit(ping, { id })) },
    subscriptions: { hear: { topic: ping, handler: async () => void (await hear()) } },
  });

test('settled waits for the tries of a failing handler, also when they end in giving up', async () => {
  let failures = 3;
  let tries = 0;
  const service = pinging(() => {
    tries++;
    if (failures-- > 0) throw new Error('not yet');
  });
  await using app = await testApp([service]);
  await app.call(pinger).send({ id: 'a' });
  await app.settled();
  assert.equal(tries, 4);
  failures = Number.POSITIVE_INFINITY;
  tries = 0;
  await app.call(pinger).send({ id: 'b' });
  await app.settled();
  assert.equal(tries, 5, 'attempts is 5 by default');
  assert.ok(
    app.records.some(({ message }) => /dead|gave up/i.test(message)),
    JSON.stringify(app.records),
  );
});

test('settled never waits for ever: a handler that is refused without end is named in an error', async () => {
  const service = pinging(() => Promise.reject(new TandemError('UNAVAILABLE', 'the mail server is away')));
  await using app = await testApp([service]);
  await app.call(pinger).send({ id: 'a' });
  await assert.rejects(app.settled(), { code: 'DEADLINE_EXCEEDED', message: /does a handler fail for ever/ });
});

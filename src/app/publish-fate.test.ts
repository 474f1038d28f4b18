/**
 * `ctx.publish` when nobody can say whether the event landed: it is sent again under the same source and number, lies
 * in the log twice, and takes effect once. With lost answers of a real engine, and with cuts in virtual time.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { createClient } from '../client/index.ts';
import { TandemError } from '../core/errors.ts';
import { decodeEvent } from '../events/event.ts';
import { contract, table, topic } from '../index.ts';
import type { Engine } from '../log/engine.ts';
import { auditEffects } from '../simulation/accounting.ts';
import { testApp } from '../simulation/test-app.ts';
import { openRealApp } from './fixture.test.ts';

const Said = z.object({ key: z.string(), id: z.string() });
const said = topic('said', Said, { key: 'key', partitions: 2 });
const announcer = contract('announcer', { say: { public: true, input: Said, timeout: '4s' } });
const listener = contract('listener', {
  heard: {
    key: 'key',
    public: true,
    consistency: 'strong',
    input: z.object({ key: z.string() }),
    output: z.array(z.string()),
  },
});
const announcing = announcer.implement({ methods: { say: (event, ctx) => ctx.publish(said, event) } });
const listening = listener.implement({
  tables: { heard: table(z.array(z.string())) },
  partitions: 2,
  methods: { heard: async ({ key }, ctx) => (await ctx.tables.heard.get(key)) ?? [] },
  subscriptions: {
    listen: {
      topic: said,
      handler: ({ key, id }, ctx) => ctx.transact(tx => tx.heard.put(key, [...(tx.heard.get(key) ?? []), id])),
    },
  },
});

/** Every append to a topic lands, and the answer to every third one, the first among them, is lost. */
function losesAnswers(engine: Engine, lost: { count: number }): Engine {
  let appends = 0;
  const log: Engine['log'] = {
    append: async (name, expected, bodies, options) => {
      const result = await engine.log.append(name, expected, bodies, options);
      if (!name.startsWith('topic/') || appends++ % 3 !== 0) return result;
      lost.count++;
      return { kind: 'unknown', cause: new TandemError('INTERRUPTED', 'the answer was lost') };
    },
    barrier: (...given) => engine.log.barrier(...given),
    read: (...given) => engine.log.read(...given),
    follow: (...given) => engine.log.follow(...given),
    begin: (...given) => engine.log.begin(...given),
    trim: (...given) => engine.log.trim(...given),
    info: (...given) => engine.log.info(...given),
    list: (...given) => engine.log.list(...given),
  };
  return { log, bus: engine.bus, blobs: engine.blobs, capabilities: engine.capabilities, close: () => engine.close() };
}

test('a publish whose answer is lost is sent again with the same id: twice in the log, once in effect, and the caller is told it is done', async () => {
  const lost = { count: 0 };
  await using app = await openRealApp({
    services: [announcing, listening],
    engineOf: (slot, engine) => (slot.startsWith('announcer') ? losesAnswers(engine, lost) : engine),
  });
  const api = createClient({ url: app.urls[0]! });
  const ids: string[] = [];
  for (let n = 0; n < 12; n++) {
    ids.push(`e${n}`);
    await api.call(announcer).say({ key: 'k', id: `e${n}` });
  }
  const heard = (): Promise<string[]> => api.call(listener).heard({ key: 'k' });
  for (const end = performance.now() + 10_000; (await heard()).length < ids.length && performance.now() < end; );
  assert.deepEqual(await heard(), ids, 'each once, in order');

  assert.ok(lost.count >= 4, `only ${lost.count} answers were lost`);
  const options = { deadline: performance.now() + 5000 };
  const logs = await app.engine.log.list('topic/said/', options);
  const entries = await Promise.all(logs.map(log => app.engine.log.read(log, 1, 1_000_000, options)));
  const stored = entries.flat().map(({ body }) => decodeEvent(body));
  assert.equal(stored.length, ids.length + lost.count, 'each lost answer left a second copy');
  assert.equal(
    new Set(stored.map(({ source, number }) => `${source} ${number}`)).size,
    ids.length,
    'under the same id',
  );
});

for (const seed of [1, 2, 3, 4]) {
  test(`publishing through a network that breaks: acknowledged events take effect exactly once, doubtful ones at most once (seed ${seed})`, async () => {
    await using app = await testApp([announcing, listening], { instances: { listener: 2 }, seed });
    const attempts: { id: string; outcome: 'ok' | 'fail' | 'unknown' }[] = [];
    let done = false;
    const publishing = Promise.all(
      ['a', 'b', 'c'].map(async key => {
        for (let n = 0; n < 25; n++) {
          const id = `${key}${n}`;
          const answer = await app.try(announcer).say({ key, id }, { timeout: '4s' });
          attempts.push({ id, outcome: answer.ok ? 'ok' : answer.outcome === 'unknown' ? 'unknown' : 'fail' });
        }
      }),
    ).finally(() => (done = true));
    for (let round = 0; !done; round++) {
      await app.clock.advance('3ms');
      app.cut('announcer-1', 'engine');
      await app.clock.advance(round % 4 === 0 ? '6s' : '300ms');
      app.heal();
    }
    await publishing;
    await app.settled();
    const heard = await Promise.all(['a', 'b', 'c'].map(key => app.call(listener).heard({ key })));
    const audit = auditEffects(attempts, heard.flat());
    assert.ok(audit.balances, JSON.stringify(audit));
    for (const ids of heard) {
      const numbers = ids.map(id => Number(id.slice(1)));
      assert.deepEqual(
        numbers,
        numbers.toSorted((x, y) => x - y),
        'in the order they were published',
      );
    }
    assert.ok(attempts.filter(({ outcome }) => outcome === 'ok').length >= 20, JSON.stringify(attempts));
  });
}

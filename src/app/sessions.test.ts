/** Clients over HTTP with session tokens of their own, two gateways, and replicas that lag: real sockets, real time. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as z from 'zod';
import { createClient } from '../client/index.ts';
import { sleep, systemClock } from '../core/clock.ts';
import { contract, table } from '../index.ts';
import type { Engine, Entry } from '../log/engine.ts';
import { openRealApp, type RealApp } from './fixture.test.ts';

const Name = z.object({ name: z.string() });
const notes = contract('notes', {
  add: { key: 'name', public: true, input: Name, output: z.int() },
  count: { key: 'name', public: true, consistency: 'sequential', input: Name, output: z.int() },
  slow: { public: true, consistency: 'eventual', output: z.string(), timeout: '3s' },
});
let stuck = 0;
const service = notes.implement({
  tables: { counts: table(z.int()) },
  partitions: 2,
  replicas: 3,
  methods: {
    add: ({ name }, ctx) =>
      ctx.transact(tx => {
        const next = (tx.counts.get(name) ?? 0) + 1;
        tx.counts.put(name, next);
        return next;
      }),
    count: async ({ name }, ctx) => (await ctx.tables.counts.get(name)) ?? 0,
    slow: (_input, ctx) => {
      if (!ctx.instance.startsWith('notes-1')) return ctx.instance;
      stuck++;
      return new Promise<string>(() => {});
    },
  },
});

/** An engine that tells this instance of new entries a while after the others know. */
function lagging(engine: Engine, lagMs: number): Engine {
  const follow = async function* (log: string, from: number, signal: AbortSignal): AsyncGenerator<readonly Entry[]> {
    for await (const entries of engine.log.follow(log, from, signal)) {
      await sleep(systemClock, lagMs, signal);
      yield entries;
    }
  };
  const log: Engine['log'] = {
    append: (...given) => engine.log.append(...given),
    barrier: (...given) => engine.log.barrier(...given),
    read: (...given) => engine.log.read(...given),
    begin: (...given) => engine.log.begin(...given),
    trim: (...given) => engine.log.trim(...given),
    info: (...given) => engine.log.info(...given),
    list: (...given) => engine.log.list(...given),
    follow,
  };
  return { log, bus: engine.bus, blobs: engine.blobs, capabilities: engine.capabilities, close: () => engine.close() };
}

let app: RealApp;
before(async () => {
  const lagMs: Record<string, number> = { 'notes-2': 15, 'notes-3': 40 };
  app = await openRealApp({
    services: [service],
    instances: 3,
    gateways: 2,
    engineOf: (slot, engine) => (lagMs[slot] ? lagging(engine, lagMs[slot]) : engine),
  });
});
after(() => app?.[Symbol.asyncDispose]());

/** A client whose requests go to each gateway in turn. */
function clientOf(keepsToken: boolean) {
  let turn = 0;
  const tokens = new Set<string>();
  const send: typeof fetch = (given, init) => {
    const { pathname } = new URL(String(given));
    const headers = new Headers(init?.headers);
    const token = headers.get('tandem-session');
    if (token) tokens.add(token);
    if (!keepsToken) headers.delete('tandem-session');
    return fetch(`${app.urls[turn++ % app.urls.length]}${pathname}`, { ...init, headers });
  };
  return { calls: createClient({ url: app.urls[0]!, fetch: send }).call(notes), tokens };
}

test('clients with tokens of their own each read their own writes and never go back, whichever gateway and replica answers', async () => {
  const clients = ['ann', 'bob', 'cy', 'dee'].map(own => ({ own, ...clientOf(true) }));
  await Promise.all(
    clients.map(async ({ own, calls }) => {
      let shared = 0;
      for (let round = 1; round <= 15; round++) {
        assert.equal(await calls.add({ name: own }), round);
        for (let again = 0; again < 3; again++) assert.equal(await calls.count({ name: own }), round, `${own}'s own`);
        shared = Math.max(shared, await calls.add({ name: 'shared' }));
        const seen = await calls.count({ name: 'shared' });
        assert.ok(seen >= shared, `${own} saw ${shared} of what is shared, then ${seen}`);
        shared = seen;
      }
    }),
  );
  for (const { own, tokens } of clients) assert.ok(tokens.size > 10, `${own} sent ${tokens.size} tokens`);
  assert.equal(await clientOf(true).calls.count({ name: 'shared' }, { consistency: 'strong' }), 60);
});

test('a client that throws its token away reads old values: what the tokens are for', async () => {
  const { calls } = clientOf(false);
  let old = 0;
  for (let round = 1; round <= 15; round++) {
    await calls.add({ name: 'careless' });
    for (let again = 0; again < 3; again++) if ((await calls.count({ name: 'careless' })) < round) old++;
  }
  assert.ok(old > 0, 'no replica lagged: the test before this one shows nothing');
});

test('a hedge asked for over HTTP is answered by another instance while the first is stuck', async () => {
  const { calls } = clientOf(true);
  const answers = await Promise.all(Array.from({ length: 12 }, () => calls.slow(undefined, { hedge: '30ms' })));
  for (const answer of answers) assert.match(answer, /^notes-[23]/);
  assert.ok(stuck > 0, 'the stuck one was never asked');
});

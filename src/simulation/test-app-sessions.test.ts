/** What several clients see of one service while a replica lags, and what a hedge does: over the real rooms, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import type { Calls } from '../contract/call.ts';
import { table } from '../contract/table.ts';
import { seededRandom } from '../core/random.ts';
import { contract } from '../index.ts';
import { checkSessions, type Observation } from './sessions.ts';
import { testApp } from './test-app.ts';

const Board = z.object({ version: z.int(), by: z.string() });
const board = contract('board', {
  write: { key: 'name', input: z.object({ name: z.string(), by: z.string() }), output: Board },
  read: { key: 'name', consistency: 'sequential', input: z.object({ name: z.string() }), output: Board },
});
const service = board.implement({
  tables: { boards: table(Board) },
  partitions: 2,
  replicas: 3,
  methods: {
    write: ({ name, by }, ctx) =>
      ctx.transact(tx => {
        const next = { version: (tx.boards.get(name)?.version ?? 0) + 1, by };
        tx.boards.put(name, next);
        return next;
      }),
    read: async ({ name }, ctx) => (await ctx.tables.boards.get(name)) ?? { version: 0, by: '' },
  },
});
const names = ['a', 'b', 'c'];

let ticks = 0;

/** One client's life: writes and reads in turn, reads at both levels. Only answers are observations. */
async function live(who: string, calls: Calls, seed: number, rounds: number) {
  const random = seededRandom(seed);
  const seen = { sequential: [] as Observation[], eventual: [] as Observation[] };
  const { write, read } = calls.try(board);
  for (let round = 0; round < rounds; round++) {
    const key = names[random.below(names.length)]!;
    const note = (kind: 'read' | 'write', { version, by }: z.infer<typeof Board>, invoked: number): Observation => ({
      session: who,
      kind,
      key,
      version,
      value: by,
      invoked,
      returned: ++ticks,
    });
    let at = ++ticks;
    const wrote = await write({ name: key, by: `${who}${round}` });
    if (wrote.ok) for (const level of Object.values(seen)) level.push(note('write', wrote.value, at));
    for (const consistency of ['eventual', 'sequential', 'sequential'] as const) {
      at = ++ticks;
      const got = await read({ name: key }, { consistency });
      if (got.ok) seen[consistency].push(note('read', got.value, at));
    }
  }
  return seen;
}

for (const seed of [1, 2, 3]) {
  test(`several clients each read their own writes and never go back, in one order, while replicas lag (seed ${seed})`, async () => {
    await using app = await testApp([service], { instances: { board: 3 }, seed });
    let done = false;
    const lives = Promise.all(
      ['ann', 'bob', 'cy', 'dee'].map((who, index) => live(who, app.client(), seed * 10 + index, 40)),
    ).finally(() => (done = true));
    for (let round = 0; !done; round++) {
      app.cut(`board-${(round % 3) + 1}`, 'engine');
      await app.clock.advance('20ms');
      app.heal();
      await app.clock.advance('10ms');
    }
    const seen = await lives;
    const sequential = seen.flatMap(each => each.sequential);
    assert.deepEqual(checkSessions(sequential), []);
    assert.equal(sequential.length, 4 * 40 * 3, 'some calls were not answered');
    const stale = checkSessions(seen.flatMap(each => each.eventual));
    assert.ok(stale.length > 0, 'no replica ever lagged, so this run shows nothing');
  });
}

const quick = contract('quick', {
  look: { consistency: 'eventual', output: z.string(), timeout: '2s' },
  order: { output: z.string(), timeout: '2s' },
});

/** One of two instances never answers. */
async function halfStuck() {
  let asked = 0;
  const ids = new Set<string>();
  const answer = (id: string): string | Promise<string> => {
    asked++;
    ids.add(id);
    return id.startsWith('quick-1') ? new Promise<string>(() => {}) : id;
  };
  const methods = {
    look: (_input: undefined, ctx: { instance: string }) => answer(ctx.instance),
    order: (_input: undefined, ctx: { instance: string }) => answer(ctx.instance),
  };
  const app = await testApp([quick.implement({ methods })], { instances: { quick: 2 } });
  return { app, ids, asked: () => asked };
}

test('a hedged read is answered by another instance when the first is stuck, long before its deadline', async () => {
  const { app, ids, asked } = await halfStuck();
  await using _ = app;
  for (let round = 0; round < 10; round++) {
    const startedAt = app.clock.now();
    assert.match(await app.call(quick).look(undefined, { hedge: '50ms' }), /^quick-2/);
    assert.ok(app.clock.now() - startedAt < 60, `round ${round} took ${app.clock.now() - startedAt} ms`);
  }
  assert.equal(ids.size, 2, 'the stuck one was never asked first, so nothing was hedged');
  assert.ok(asked() <= 20);
});

test('what is not safe to repeat is not hedged: it waits for its one instance', async () => {
  const { app, asked } = await halfStuck();
  await using _ = app;
  let late = 0;
  for (let round = 1; round <= 6; round++) {
    const answer = await app.try(quick).order(undefined, { hedge: '50ms' });
    assert.equal(asked(), round, 'asked twice');
    if (answer.ok) continue;
    late++;
    assert.equal(`${answer.error.code} ${answer.outcome}`, 'DEADLINE_EXCEEDED unknown');
  }
  assert.ok(late > 0, 'the stuck one was never asked');
});

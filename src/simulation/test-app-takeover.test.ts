/** How soon the next writes after a writer's death, and that nobody fights over it: the real rooms, in virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { table } from '../contract/table.ts';
import { contract } from '../index.ts';
import { type TestApp, testApp } from './test-app.ts';

const Row = z.object({ key: z.string(), id: z.int() });
const tally = contract('tally', {
  add: { key: 'key', timeout: '4s', input: Row, output: z.array(z.int()) },
});
const tallyService = tally.implement({
  tables: { rows: table(z.array(z.int())) },
  partitions: 8,
  methods: {
    add: ({ key, id }, ctx) =>
      ctx.transact(tx => {
        const ids = [...(tx.rows.get(key) ?? []), id];
        tx.rows.put(key, ids);
        return ids;
      }),
  },
});

const open = (seed: number): Promise<TestApp> => testApp([tallyService], { seed, instances: { tally: 3 } });
const indexes = [0, 1, 2] as const;
const slot = (index: number): string => `tally-${index + 1}`;

/** One write, which must be acknowledged: who did it, and which ids its row has then. */
function writer(app: TestApp, key = 'k') {
  let id = 0;
  return async (): Promise<{ index: number; ids: readonly number[] }> => {
    const answer = await app.try(tally).add({ key, id: ++id });
    assert.ok(answer.ok, answer.ok ? '' : `${answer.error.code} ${answer.error.message}`);
    return { index: Number(answer.meta.instance!.split('-')[1]) - 1, ids: answer.value };
  };
}

function holdsAllOnce(ids: readonly number[]): void {
  assert.deepEqual(
    ids,
    Array.from({ length: ids.length }, (_, n) => n + 1),
  );
}

test('after kill -9 of a writer the next write is accepted within 20 ms, whoever it was, and nothing is lost', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    await using app = await open(seed);
    const write = writer(app);
    await app.clock.advance('5s');
    const { index } = await write();
    // A caller that cannot reach the writer has its calls sent on by the others.
    if (seed % 2 === 0) app.cut('client', slot(index), { refuses: true });
    await app.clock.advance(`${seed * 21}ms`);
    await app.kill(tallyService, index);
    const killedAt = app.clock.now();
    const next = await write();
    const gapMs = app.clock.now() - killedAt;
    assert.ok(gapMs <= 20, `seed ${seed}: ${gapMs} ms`);
    assert.notEqual(next.index, index);
    holdsAllOnce(next.ids);
  }
});

test('a line between two that refuses, while everyone hears both, costs at most one takeover and its return', async () => {
  for (const seed of [1, 2, 3]) {
    for (const other of [1, 2]) {
      await using app = await open(seed);
      const write = writer(app);
      await app.clock.advance('5s');
      const first = (await write()).index;
      const accuser = (first + other) % 3;
      app.cut(slot(first), slot(accuser), { refuses: true });
      let last = first;
      let changes = 0;
      for (let n = 0; n < 200; n++) {
        await app.clock.advance('200ms');
        const { index, ids } = await write();
        if (index !== last) changes++;
        last = index;
        if (n === 199) holdsAllOnce(ids);
      }
      assert.ok(changes <= 2, `seed ${seed}: the writer changed ${changes} times`);
    }
  }
});

test('a writer that everyone is refused by, though it lives, loses its partitions once; no write is lost or blocked for long', async () => {
  for (const seed of [1, 2, 3]) {
    await using app = await open(seed);
    const write = writer(app);
    await app.clock.advance('5s');
    const first = (await write()).index;
    for (const index of indexes) if (index !== first) app.cut(slot(first), slot(index), { refuses: true });
    let changes = 0;
    let last = first;
    for (let n = 0; n < 200; n++) {
      await app.clock.advance('200ms');
      const startedAt = app.clock.now();
      const { index, ids } = await write();
      assert.ok(app.clock.now() - startedAt < 1000, `seed ${seed}: a write took ${app.clock.now() - startedAt} ms`);
      if (index !== last) changes++;
      last = index;
      if (n === 199) holdsAllOnce(ids);
    }
    assert.ok(changes <= 4, `seed ${seed}: the writer changed ${changes} times`);
  }
});

test('a writer that is cut off without a word, nothing refused, is followed within two seconds', async () => {
  await using app = await open(1);
  const write = writer(app);
  await app.clock.advance('5s');
  const { index } = await write();
  app.cut(slot(index), '*');
  const cutAt = app.clock.now();
  const next = await write();
  assert.notEqual(next.index, index);
  assert.ok(app.clock.now() - cutAt < 2000, `${app.clock.now() - cutAt} ms`);
  holdsAllOnce(next.ids);
});

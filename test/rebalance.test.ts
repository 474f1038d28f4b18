// A subscription of two, three and again two real processes under load: who joins or leaves costs nobody a delivery. Every run
// of the handler is written to a file as it begins, so that a second one shows even if what it transacts would not.
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderWith, leftOf, prints, ran, tandem, until } from './running-app.ts';

const work = `
import { appendFileSync } from 'node:fs';
import { contract, table, topic } from 'tandem';
import * as z from 'zod';
const Job = z.object({ key: z.string(), n: z.int() });
const asked = topic('asked', Job, { key: 'key', partitions: 8 });
export default contract('work', {
  ask: { key: 'key', http: 'POST /ask', input: Job },
  done: { key: 'key', http: 'GET /done/:key', consistency: 'strong', input: z.object({ key: z.string() }), output: z.array(z.int()) },
}).implement({
  tables: { jobs: table(z.int()), done: table(z.array(z.int())) },
  partitions: 8,
  methods: {
    ask: ({ key, n }, ctx) =>
      ctx.transact(tx => {
        tx.jobs.put(key, n);
        tx.emit(asked, { key, n });
      }),
    done: async ({ key }, ctx) => (await ctx.tables.done.get(key)) ?? [],
  },
  subscriptions: {
    run: {
      topic: asked,
      handler: async ({ key, n }, ctx) => {
        appendFileSync(process.env.RUNS, key + ' ' + n + ' ' + process.pid + '\\n');
        await new Promise(done => setTimeout(done, 20));
        await ctx.transact(tx => tx.done.put(key, [...(tx.done.get(key) ?? []), n]));
      },
    },
  },
});
`;

test('a subscription of 2, 3 and again 2 processes under load runs each event once, in order', {
  timeout: 180_000,
}, async () => {
  const folder = folderWith({ 'work.ts': work });
  const runs = join(folder, 'runs');
  appendFileSync(runs, '');
  const data = join(folder, 'data');
  const options = { cwd: folder, environment: { RUNS: runs, PORT: '', TANDEM_PORT: '' } };
  const app = tandem(['up', 'work.ts', '--data', 'data', '--port', '0', '--scale', 'work=2'], options);
  const [, url] = await prints(app, /(http:\/\/127\.0\.0\.1:\d+)/);
  const keys = Array.from({ length: 24 }, (_, i) => `key-${i}`);

  const sent = new Map(keys.map(key => [key, 0]));
  let asking = true;
  const load = Promise.all(
    keys.map(async key => {
      for (let n = 1; asking; n++) {
        const response = await fetch(`${url}/ask`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': `${key}-${n}` },
          body: JSON.stringify({ key, n }),
        });
        assert(response.ok, await response.text());
        sent.set(key, n);
        await new Promise(done => setTimeout(done, 100));
      }
    }),
  );
  const lines = (): string[] => (existsSync(runs) ? readFileSync(runs, 'utf8').trimEnd().split('\n') : []);
  const workers = (from: number): Set<string | undefined> =>
    new Set(
      lines()
        .slice(from)
        .map(line => line.split(' ')[2]),
    );
  const scale = async (count: number): Promise<void> => {
    const { code, printed } = await ran(['scale', `work=${count}`, '--data', 'data'], options);
    assert.equal(code, 0, printed);
    const from = lines().length;
    await until(
      `${count} processes to take part`,
      () => workers(from).size === count && lines().length > from + 200,
      60_000,
    );
  };
  await until('both to take part', () => workers(0).size === 2);
  await scale(3);
  await scale(2);
  asking = false;
  await load;
  const total = [...sent.values()].reduce((sum, n) => sum + n, 0);
  await until('all to be done', () => lines().length >= total);

  for (const key of keys) {
    // A line is written as a run begins.
    const done = await until(`all of ${key}`, async () => {
      const found = (await (await fetch(`${url}/done/${key}`)).json()) as number[];
      return found.length >= sent.get(key)! && found;
    });
    assert.deepEqual(
      done,
      Array.from({ length: sent.get(key)! }, (_, i) => i + 1),
      key,
    );
  }
  const times = new Map<string, number>();
  for (const line of lines()) {
    const event = line.split(' ').slice(0, 2).join(' ');
    times.set(event, (times.get(event) ?? 0) + 1);
  }
  assert.deepEqual(
    [...times].filter(([, count]) => count > 1),
    [],
    'no event was handled twice',
  );
  assert.equal(times.size, total);
  app.child.kill('SIGTERM');
  await app.ended;
  assert.deepEqual(leftOf(data), []);
});

// What a user of `tandem up --engine nats://…` is told when the cluster is not as it must be: before anything starts, while
// the app runs, and when it comes back without its data.
import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createClient } from 'tandem/client';
import { findNatsServer, type NatsCluster, startNats } from './nats-servers.ts';
import { folderWith, prints, type Run, ran, stateOf, tandem, until } from './running-app.ts';

const found = findNatsServer();
const skip = 'missing' in found ? found.missing : false;
const path = 'path' in found ? found.path : '';
const counting = `
import { contract, table } from 'tandem';
import * as z from 'zod';
const Key = z.object({ key: z.string() });
export const counting = contract('counting', {
  add: { key: 'key', public: true, input: Key.extend({ filling: z.string() }), output: z.int() },
  get: { key: 'key', public: true, consistency: 'strong', input: Key, output: z.int() },
});
export default counting.implement({
  tables: { counters: table(z.object({ n: z.int(), filling: z.string() })) },
  partitions: 1,
  replicas: 1,
  methods: {
    add: ({ key, filling }, ctx) => ctx.transact(tx => {
      const n = (tx.counters.get(key)?.n ?? 0) + 1;
      tx.counters.put(key, { n, filling });
      return n;
    }),
    get: async ({ key }, ctx) => (await ctx.tables.counters.get(key))?.n ?? 0,
  },
});
`;
const here = { cwd: folderWith({ 'counting.ts': counting }), environment: { TANDEM_SECRET: 'of this test' } };
const clusters: NatsCluster[] = [];
after(() => Promise.all(clusters.map(cluster => cluster.close())));

async function started(...given: Parameters<typeof startNats>): Promise<NatsCluster> {
  const cluster = await startNats(...given);
  clusters.push(cluster);
  return cluster;
}

const dataOf = (): string => mkdtempSync(join(tmpdir(), 'tandem-nats-accident-'));
const up = (data: string, engine: string): string[] => [
  'up',
  'counting.ts',
  '--data',
  data,
  '--port',
  '0',
  '--engine',
  engine,
];

interface Counting {
  add(input: {
    key: string;
    filling: string;
  }): Promise<{ ok: boolean; value?: number; outcome?: string; error?: { code: string; message: string } }>;
  get(input: { key: string }, options?: object): Promise<{ ok: boolean; value?: number }>;
}
const clientOf = (data: string): Counting =>
  createClient({ url: stateOf(data)!.facts.gatewayUrl! }).try('counting') as unknown as Counting;

test('up says what is wrong with a cluster before it starts anything', { skip, timeout: 60_000 }, async () => {
  const plain = await started(path, 1, { more: 'authorization { user: shop, password: right }' });
  const { port } = plain.servers[0]!;
  const tried = async (engine: string): Promise<string> => {
    const result = await ran(up(dataOf(), engine), here);
    assert.equal(result.code, 1, result.printed);
    assert.doesNotMatch(result.printed, /wrong@|right@/, 'no password is shown');
    return result.said;
  };
  assert.match(await tried(`nats://shop:wrong@127.0.0.1:${port}?sync=unchecked`), /refuses the credentials/);
  assert.match(await tried(`nats://shop:right@127.0.0.1:${port}?sync=unchecked`), /has no JetStream/);
});

test('a cluster without room refuses writes, keeps what was acknowledged, reads go on, and with room so do writes', {
  skip,
  timeout: 120_000,
}, async () => {
  const cluster = await started(path, 1, { jetstream: 'max_mem: 16MB, max_file: 24MB, sync_interval: always' });
  const data = dataOf();
  const run: Run = tandem(up(data, cluster.address()), here);
  await prints(run, /is up/, 60_000);
  const api = clientOf(data);
  const filling = 'x'.repeat(400_000);
  let acknowledged = 0;
  let refused: Awaited<ReturnType<Counting['add']>> | undefined;
  for (let n = 0; n < 200 && !refused; n++) {
    const answer = await api.add({ key: 'k', filling });
    if (answer.ok) acknowledged = answer.value!;
    else refused = answer;
  }
  assert.ok(refused, 'the cluster took more than it has room for');
  assert.ok(acknowledged > 5);
  assert.match(refused.error!.code, /UNAVAILABLE|DEADLINE_EXCEEDED/);
  const counted = await until('reads to go on', async () => {
    // A strong one is behind an append, which finds no room either.
    const answer = await api.get({ key: 'k' }, { consistency: 'eventual' });
    return answer.ok && answer;
  });
  assert.ok(counted.value! >= acknowledged, 'nothing that was acknowledged is lost');

  const server = cluster.servers[0]!;
  server.kill('SIGTERM');
  await server.ended();
  server.configure('max_mem: 16MB, max_file: 1GB, sync_interval: always');
  server.start();
  const next = await until('writes to go on', async () => {
    const answer = await api.add({ key: 'k', filling });
    return answer.ok && answer.value;
  });
  // Those that were refused as unknown may have been done.
  assert.ok(next > acknowledged, `${next} after ${acknowledged}`);
  run.child.kill('SIGTERM');
  await run.ended;
});

test('a cluster that comes back empty is not served on top of, and says so', { skip, timeout: 120_000 }, async () => {
  const cluster = await started(path, 1);
  const data = dataOf();
  const run = tandem(up(data, cluster.address()), here);
  await prints(run, /is up/, 60_000);
  for (let n = 0; n < 5; n++) assert.ok((await clientOf(data).add({ key: 'k', filling: '' })).ok);
  const [server] = cluster.servers;
  server!.kill('SIGKILL');
  await server!.ended();
  server!.erase();
  server!.start();
  const answers = new Map<string, number>();
  const answer = await until(
    'the app to refuse',
    async () => {
      const tried = await clientOf(data).add({ key: 'k', filling: '' });
      const said = tried.ok ? 'ok' : `${tried.error!.code}: ${tried.error!.message}`;
      answers.set(said, (answers.get(said) ?? 0) + 1);
      assert.ok(!tried.ok || tried.value === 6, 'it went on as if nothing had been lost');
      return !tried.ok && tried.error!.code === 'LOG_LOST' && tried;
    },
    60_000,
  ).catch(cause => {
    throw new Error(
      `${(cause as Error).message}; it answered ${JSON.stringify([...answers])}; ${run.printed().slice(-3000)}`,
    );
  });
  assert.match(answer.error!.message, /restore/);
  // Whoever calls later is told why, too.
  const later = await clientOf(data).add({ key: 'k', filling: '' });
  assert.equal(later.error?.code, 'LOG_LOST');
  const read = await clientOf(data).get({ key: 'k' }, { consistency: 'eventual' });
  assert.equal((read as { error?: { code: string } }).error?.code, 'LOG_LOST');
  run.child.kill('SIGTERM');
  await run.ended;
});

test('a cluster that was emptied while the app was down is not begun anew on top of', {
  skip,
  timeout: 120_000,
}, async () => {
  const cluster = await started(path, 1);
  const data = dataOf();
  const first = tandem(up(data, cluster.address()), here);
  await prints(first, /is up/, 60_000);
  for (let n = 0; n < 5; n++) assert.ok((await clientOf(data).add({ key: 'k', filling: '' })).ok);
  first.child.kill('SIGTERM');
  await first.ended;
  const server = cluster.servers[0]!;
  server.kill('SIGKILL');
  await server.ended();
  server.erase();
  server.start();
  const second = tandem(up(data, cluster.address()), here);
  const told = await until(
    'the app to refuse',
    async () => {
      if (second.child.exitCode !== null) return second.said();
      if (stateOf(data)?.facts.gatewayUrl === undefined) return undefined;
      const tried = await clientOf(data).add({ key: 'k', filling: '' });
      assert.ok(!tried.ok, 'it began anew as if nothing had been lost');
      return tried.error!.code === 'LOG_LOST' && tried.error!.message;
    },
    60_000,
  );
  assert.match(told, /restore/);
  second.child.kill('SIGTERM');
  await second.ended;
});

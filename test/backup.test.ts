// A bank runs under load, is backed up meanwhile, and restored elsewhere: the audit of what came back must balance. Then the
// same file goes into a NATS cluster, and a backup of that into a directory again.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClient } from 'tandem/client';
import { findNatsServer, startNats } from './nats-servers.ts';
import { folderWith, prints, type Run, ran, tandem } from './running-app.ts';

const bank = `
import { contract, table, topic } from 'tandem';
import * as z from 'zod';
const Sent = z.object({ id: z.string(), to: z.string(), amount: z.int() });
// What leaves one account arrives at another by an event: in between it is on its way.
export const sent = topic('bank.sent', Sent, { key: 'to', partitions: 4 });
export const bank = contract('bank', {
  send: { key: 'from', public: true, input: z.object({ from: z.string(), to: z.string(), amount: z.int(), id: z.string() }), output: z.int() },
  account: { key: 'name', public: true, consistency: 'strong', input: z.object({ name: z.string() }), output: z.any() },
});
export default bank.implement({
  tables: { accounts: table(z.object({ balance: z.int(), sent: z.array(z.string()), got: z.array(z.string()) })) },
  partitions: 4,
  methods: {
    send: ({ from, to, amount, id }, ctx) => ctx.transact(tx => {
      const row = tx.accounts.get(from) ?? { balance: 0, sent: [], got: [] };
      tx.accounts.put(from, { ...row, balance: row.balance - amount, sent: [...row.sent, id] });
      tx.emit(sent, { id, to, amount });
      return row.balance - amount;
    }),
    account: async ({ name }, ctx) => (await ctx.tables.accounts.get(name)) ?? { balance: 0, sent: [], got: [] },
  },
  subscriptions: {
    arrive: {
      topic: sent,
      handler: ({ id, to, amount }, ctx) => ctx.transact(tx => {
        const row = tx.accounts.get(to) ?? { balance: 0, sent: [], got: [] };
        tx.accounts.put(to, { ...row, balance: row.balance + amount, got: [...row.got, id] });
      }),
    },
  },
});
`;
const folder = folderWith({ 'bank.ts': bank });
const here = { cwd: folder };
const names = ['ada', 'grace', 'edsger', 'barbara', 'leslie', 'tony'];

interface Account {
  readonly balance: number;
  readonly sent: readonly string[];
  readonly got: readonly string[];
}

interface BankCalls {
  send(input: { from: string; to: string; amount: number; id: string }): Promise<number>;
  account(input: { name: string }): Promise<Account>;
}

async function started(data: string, ...more: string[]): Promise<{ app: Run; api: BankCalls }> {
  const app = tandem(['up', 'bank.ts', '--scale', 'bank=3', '--data', data, '--port', '0', '--json', ...more], here);
  await prints(app, /"kind":"up"/);
  const url = (JSON.parse(app.out().trim().split('\n').at(-1)!) as { gatewayUrl: string }).gatewayUrl;
  return { app, api: createClient({ url }).call('bank') as unknown as BankCalls };
}

async function stopped(app: Run): Promise<void> {
  app.child.kill('SIGINT');
  assert.equal(await app.ended, 0, app.printed());
}

/** What was sent has arrived, once each; the money is all there; waits until nothing is on its way. */
async function audit(api: BankCalls): Promise<{ sent: Set<string>; balances: number[] }> {
  for (let tries = 0; ; tries++) {
    const accounts = await Promise.all(names.map(name => api.account({ name })));
    const sent = accounts.flatMap(account => account.sent).sort();
    const got = accounts.flatMap(account => account.got).sort();
    assert.equal(new Set(got).size, got.length, 'nothing arrived twice');
    const balances = accounts.map(({ balance }) => balance);
    if (sent.length === got.length) {
      assert.deepEqual(got, sent);
      assert.equal(
        balances.reduce((sum, balance) => sum + balance, 0),
        0,
      );
      return { sent: new Set(sent), balances };
    }
    assert.ok(tries < 400, `${sent.length} sent, ${got.length} arrived`);
    await new Promise(done => setTimeout(done, 50));
  }
}

test('a backup of a running app restores to a state that balances, with everything that was acknowledged before it', {
  timeout: 150_000,
}, async t => {
  const data = join(folder, 'data');
  const file = join(folder, 'bank.backup');
  const { app, api } = await started(data);
  const acknowledged: string[] = [];
  let going = true;
  const lanes = Array.from({ length: 8 }, async (_, lane) => {
    for (let n = 0; going; n++) {
      const id = `${lane}.${n}`;
      const [from, to] = [names[(lane + n) % names.length]!, names[(lane + n * 5 + 1) % names.length]!];
      await api.send({ from, to, amount: 1 + (n % 7), id });
      acknowledged.push(id);
    }
  });
  await new Promise(done => setTimeout(done, 1500));
  const before = [...acknowledged];
  const taken = await ran(['backup', file, '--data', data, '--json'], here);
  const after = acknowledged.length;
  await new Promise(done => setTimeout(done, 500));
  going = false;
  await Promise.all(lanes);
  assert.equal(taken.code, 0, taken.printed);
  assert.ok(after > before.length && acknowledged.length > after, 'writes went on meanwhile and afterwards');
  const live = await audit(api);
  assert.deepEqual([...live.sent].sort(), [...acknowledged].sort());
  assert.match((await ran(['backup', file, '--data', data], here)).said, /exists; name another file/);
  await stopped(app);

  const elsewhere = join(folder, 'restored');
  assert.match((await ran(['restore', file, '--data', data], here)).said, /has data already/);
  const restored = await ran(['restore', file, '--data', elsewhere], here);
  assert.equal(restored.code, 0, restored.printed);
  assert.match(restored.out, /^Restored: .*bank\.backup, of .*: \d+ logs, \d+ entries/);
  const second = await started(elsewhere);
  const back = await audit(second.api);
  for (const id of before) assert.ok(back.sent.has(id), `${id} was acknowledged before the backup and is gone`);
  assert.ok(back.sent.size <= acknowledged.length);
  await second.api.send({ from: 'ada', to: 'grace', amount: 5, id: 'after' });
  assert.ok((await audit(second.api)).sent.has('after'));
  await stopped(second.app);

  const again = join(folder, 'stopped.backup');
  const offline = await ran(['backup', again, '--data', elsewhere], here);
  assert.equal(offline.code, 0, offline.printed);
  const summary = JSON.parse((await ran(['backup', 'verify', again, '--json'], here)).out) as { logs: number };
  assert.ok(summary.logs >= 8);

  await t.test('a damaged file is refused before anything is written', async () => {
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 4;
    const damaged = join(folder, 'damaged.backup');
    writeFileSync(damaged, bytes);
    const target = join(folder, 'never');
    const refused = await ran(['restore', damaged, '--data', target], here);
    assert.equal(refused.code, 1);
    assert.match(refused.said, /damaged at byte \d+.*Nothing was restored; use another copy/);
    assert.equal(existsSync(join(target, 'engine')), false);
    assert.match((await ran(['backup', 'verify', damaged], here)).said, /damaged at byte/);
    assert.match((await ran(['backup', 'verify', join(folder, 'bank.ts')], here)).said, /is not a backup/);
  });

  const found = findNatsServer();
  await t.test(
    'the same file moves the app to a NATS cluster, and a backup of that one moves it back',
    { skip: 'missing' in found && found.missing },
    async () => {
      if (!('path' in found)) return;
      const cluster = await startNats(found.path, 1);
      try {
        const address = cluster.address('&app=bank');
        const moved = await ran(['restore', again, '--engine', address], here);
        assert.equal(moved.code, 0, moved.printed);
        assert.match((await ran(['restore', again, '--engine', address], here)).said, /has data already/);
        const onNats = join(folder, 'on-nats');
        const third = await started(onNats, '--engine', address);
        assert.deepEqual([...(await audit(third.api)).sent].sort(), [...back.sent, 'after'].sort());
        await third.api.send({ from: 'ada', to: 'grace', amount: 5, id: 'on nats' });
        const home = join(folder, 'home.backup');
        const left = await ran(['backup', home, '--data', onNats], here);
        assert.equal(left.code, 0, left.printed);
        await stopped(third.app);
        assert.equal((await ran(['restore', home, '--data', join(folder, 'home')], here)).code, 0);
        const fourth = await started(join(folder, 'home'));
        assert.ok((await audit(fourth.api)).sent.has('on nats'));
        await stopped(fourth.app);
      } finally {
        await cluster.close();
      }
    },
  );
});

/** A bank as an app for tests of backups: transfers that are on their way as events, load, and an audit that must balance. */
import assert from 'node:assert/strict';
import { createClient } from 'tandem/client';
import { folderWith, prints, type Run, tandem, until } from './running-app.ts';

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
export const folder: string = folderWith({ 'bank.ts': bank });
// One secret for all, as on a cluster: tokens of before a restore verify, and must be told what they are.
export const here: { readonly cwd: string; readonly environment: Readonly<Record<string, string>> } = {
  cwd: folder,
  environment: { TANDEM_SECRET: 'the-same-everywhere-0123456789' },
};
const names = ['ada', 'grace', 'edsger', 'barbara', 'leslie', 'tony'];

export interface Account {
  readonly balance: number;
  readonly sent: readonly string[];
  readonly got: readonly string[];
}

export interface BankCalls {
  send(input: { from: string; to: string; amount: number; id: string }): Promise<number>;
  account(input: { name: string }): Promise<Account>;
}

export interface Started {
  readonly app: Run;
  readonly api: BankCalls;
  /** A read in the session that the token says. */
  read(name: string, token: string): Promise<Response>;
  /** A write, and the token of who wrote it. */
  write(id: string): Promise<string>;
}

export async function started(data: string, ...more: string[]): Promise<Started> {
  const app = tandem(['up', 'bank.ts', '--scale', 'bank=3', '--data', data, '--port', '0', '--json', ...more], here);
  await prints(app, /"kind":"up"/);
  const url = (JSON.parse(app.out().trim().split('\n').at(-1)!) as { gatewayUrl: string }).gatewayUrl;
  const post = (method: string, input: object, headers = {}): Promise<Response> =>
    fetch(`${url}/call/bank/${method}`, {
      method: 'POST',
      body: JSON.stringify(input),
      headers: { 'content-type': 'application/json', ...headers },
    });
  return {
    app,
    api: createClient({ url }).call('bank') as unknown as BankCalls,
    read: (name, token) => post('account', { name }, { 'tandem-session': token, 'tandem-consistency': 'sequential' }),
    write: async id => {
      const answer = await post('send', { from: 'ada', to: 'grace', amount: 1, id });
      assert.equal(answer.status, 200, await answer.clone().text());
      return answer.headers.get('tandem-session')!;
    },
  };
}

export async function stopped(app: Run): Promise<void> {
  app.child.kill('SIGINT');
  assert.equal(await app.ended, 0, app.printed());
}

/** Transfers without pause, until `end`; what was acknowledged so far is in `acknowledged`. */
export function load(api: BankCalls, name: string): { acknowledged: string[]; end(): Promise<unknown> } {
  const acknowledged: string[] = [];
  let going = true;
  const lanes = Array.from({ length: 8 }, async (_, lane) => {
    for (let n = 0; going; n++) {
      const id = `${name}.${lane}.${n}`;
      const [from, to] = [names[(lane + n) % names.length]!, names[(lane + n * 5 + 1) % names.length]!];
      await api.send({ from, to, amount: 1 + (n % 7), id });
      acknowledged.push(id);
    }
  });
  return {
    acknowledged,
    end: () => {
      going = false;
      return Promise.all(lanes);
    },
  };
}

/** What was sent has arrived, once each; the money is all there; waits until nothing is on its way. */
export function audit(api: BankCalls): Promise<{ sent: Set<string>; balances: number[] }> {
  return until('all that was sent arrives', async () => {
    const accounts = await Promise.all(names.map(name => api.account({ name })));
    const sent = accounts.flatMap(account => account.sent).sort();
    const got = accounts.flatMap(account => account.got).sort();
    assert.equal(new Set(got).size, got.length, 'nothing arrived twice');
    if (sent.length !== got.length) return undefined;
    assert.deepEqual(got, sent);
    const balances = accounts.map(({ balance }) => balance);
    const sum = balances.reduce((total, balance) => total + balance, 0);
    assert.equal(sum, 0);
    return { sent: new Set(sent), balances };
  });
}

/** Waits for so many more. */
export function acknowledges(acknowledged: readonly string[], more: number): Promise<unknown> {
  const wanted = acknowledged.length + more;
  return until(`${more} more transfers`, () => acknowledged.length >= wanted);
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { type Balances, bankModel, checkBank } from './bank.ts';
import { History, type Operation } from './history.ts';
import { checkLinearizability } from './linearizability.ts';

const initial = { a: 10, b: 10, c: 10 };

function snapshot(output: Balances, invoked = 0): Operation {
  const whole = { process: 'c', kind: 'read', key: 'bank', input: undefined, outcome: 'ok' as const };
  return { ...whole, output, invoked, returned: invoked + 1 };
}
const kinds = (balances: Balances): string[] => checkBank([snapshot(balances)], initial).map(({ kind }) => kind);

test('money that is only moved is in order', () => {
  assert.deepEqual(kinds({ a: 0, b: 30, c: 0 }), []);
  assert.deepEqual(checkBank([{ ...snapshot({ a: 0 }), outcome: 'unknown' }], initial), []);
});

test('money that comes, goes, is owed or has no account is caught', () => {
  assert.deepEqual(kinds({ a: 10, b: 10, c: 11 }), ['wrong total']);
  assert.deepEqual(kinds({ a: 10, b: 10, c: 9 }), ['wrong total']);
  assert.deepEqual(kinds({ a: 20, b: 10 }), ['missing account']);
  assert.deepEqual(kinds({ a: -1, b: 21, c: 10 }), ['overdrawn']);
});

test('a transfer refused though there was enough is caught by the model', () => {
  const refused: Operation = {
    ...snapshot(initial),
    kind: 'transfer',
    input: { from: 'a', to: 'b', amount: 5 },
    output: false as never,
  };
  assert.equal(checkLinearizability([refused], bankModel(initial)).kind, 'violation');
  assert.equal(checkLinearizability([{ ...refused, output: true }], bankModel(initial)).kind, 'linearizable');
});

interface Fault {
  /** A snapshot is read account by account. */
  readonly torn?: boolean;
  /** Of some transfers only one half is kept. */
  readonly half?: boolean;
  /** Whether there is enough is looked up before others come between. */
  readonly unguarded?: boolean;
  /** Some accepted transfers are forgotten: every total stays right. */
  readonly forgotten?: boolean;
}

function run(random: Random, fault: Fault = {}): readonly Operation[] {
  const history = new History();
  const accounts = Object.keys(initial);
  const balances: Record<string, number> = { ...initial };
  const transfer = (from: string, to: string, amount: number): void => {
    balances[from]! -= amount;
    if (!(fault.half && random.next() < 0.1)) balances[to]! += amount;
  };
  for (let at = 0; at < 150; at++) {
    const [from, to] = random.next() < 0.5 ? ['a', 'b'] : ['b', 'c'];
    const amount = 1 + random.below(8);
    const other = { from: accounts[2]!, to: accounts[0]!, amount: 1 + random.below(8) };
    const competing = random.next() < 0.7;
    const answer = history.invoke({ process: 'c0', kind: 'transfer', key: 'bank', input: { from, to, amount } });
    const second = competing
      ? history.invoke({
          process: 'c1',
          kind: 'transfer',
          key: 'bank',
          input: fault.unguarded ? { from, to, amount } : other,
        })
      : undefined;
    const enough = balances[from]! >= amount;
    if (second) {
      const { from: source, to: target, amount: sum } = fault.unguarded ? { from, to, amount } : other;
      const fits = balances[source]! >= sum;
      if (fits && !(fault.forgotten && random.next() < 0.2)) transfer(source, target, sum);
      second('ok', fits);
    }
    const still = fault.unguarded ? enough : balances[from]! >= amount;
    if (still) transfer(from, to, amount);
    answer('ok', still);
    const reading = history.invoke({ process: 'c2', kind: 'read', key: 'bank' });
    const seen: Record<string, number> = {};
    for (const account of accounts) {
      seen[account] = balances[account]!;
      if (fault.torn && balances.a! > 0 && random.next() < 0.5) transfer('a', 'c', 1);
    }
    reading('ok', seen);
  }
  return history.operations;
}

test('a bank that keeps its word is never found guilty', () => {
  for (let seed = 0; seed < 50; seed++) {
    const operations = run(seededRandom(seed));
    assert.deepEqual(checkBank(operations, initial), [], `seed ${seed}`);
    assert.equal(checkLinearizability(operations, bankModel(initial)).kind, 'linearizable', `seed ${seed}`);
  }
});

test('each kind of broken bank is caught', () => {
  for (let seed = 0; seed < 20; seed++) {
    for (const [fault, expected] of [
      [{ torn: true }, 'wrong total'],
      [{ half: true }, 'wrong total'],
      [{ unguarded: true }, 'overdrawn'],
    ] as const) {
      const found = checkBank(run(seededRandom(seed), fault), initial).map(({ kind }) => kind);
      assert.ok(found.includes(expected), `${JSON.stringify(fault)}, seed ${seed}: ${found.join()}`);
    }
    const forgetful = run(seededRandom(seed), { forgotten: true });
    assert.equal(checkLinearizability(forgetful, bankModel(initial)).kind, 'violation', `forgotten, seed ${seed}`);
  }
});

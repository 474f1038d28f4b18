/**
 * Money moves between accounts and never comes or goes: in every snapshot that a transaction read, all accounts together
 * hold what they held at first, and none owes. (The bank test of Jepsen: it shows reads that mix two moments, transfers
 * of which half is lost, and transfers that happened twice.) An operation `read` gives `{ account: balance }`.
 * `bankModel` judges more, by the search for an order: also that a transfer refused for want of money was refused rightly.
 */
import type { Operation } from './history.ts';
import { impossible, type Model } from './model.ts';

export type Balances = Readonly<Record<string, number>>;

export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly amount: number;
}

export interface BankFinding {
  readonly kind: 'wrong total' | 'missing account' | 'overdrawn';
  readonly operation: Operation;
  readonly story: string;
}

export function checkBank(operations: readonly Operation[], initial: Balances): BankFinding[] {
  const found: BankFinding[] = [];
  const accounts = Object.keys(initial).sort();
  const total = sum(initial);
  for (const operation of operations) {
    if (operation.kind !== 'read' || operation.outcome !== 'ok') continue;
    const balances = operation.output as Balances;
    const report = (kind: BankFinding['kind'], what: string): void => {
      found.push({ kind, operation, story: `${operation.process} read ${JSON.stringify(balances)}: ${what}` });
    };
    const missing = accounts.find(account => balances[account] === undefined);
    if (missing !== undefined) report('missing account', `there is no ${missing}`);
    else if (sum(balances) !== total) report('wrong total', `together ${sum(balances)}, not ${total}`);
    const owing = accounts.find(account => (balances[account] ?? 0) < 0);
    if (owing !== undefined) report('overdrawn', `${owing} owes`);
  }
  return found;
}

/** `transfer` takes a `Transfer` and gives whether there was enough; `read` gives all balances. */
export function bankModel(initial: Balances): Model<Balances> {
  const accounts = Object.keys(initial).sort();
  const fingerprint = (balances: Balances): string => accounts.map(account => balances[account]).join();
  return {
    initial,
    fingerprint,
    step(state, { kind, input, output, outcome }) {
      const known = outcome === 'ok';
      if (kind === 'read') return !known || fingerprint(output as Balances) === fingerprint(state) ? state : impossible;
      const { from, to, amount } = input as Transfer;
      const enough = state[from]! >= amount;
      if (known && output !== enough) return impossible;
      return enough ? { ...state, [from]: state[from]! - amount, [to]: state[to]! + amount } : state;
    },
  };
}

function sum(balances: Balances): number {
  return Object.values(balances).reduce((total, balance) => total + balance, 0);
}

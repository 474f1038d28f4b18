/**
 * Transactions over several rows of one partition, and what to make of their answers: appends to lists and reads of them
 * (judged by their dependencies), transfers between accounts and views of all of them (judged by the sum, and by the search
 * for an order). The simulation and the runs of real processes ask the same and are judged alike.
 */
import { TandemError } from '../src/core/errors.ts';
import type { Random } from '../src/core/random.ts';
import { type Balances, bankModel, checkBank, type Transfer } from '../src/simulation/bank.ts';
import type { History, Operation, OperationOutcome } from '../src/simulation/history.ts';
import { checkLinearizability } from '../src/simulation/linearizability.ts';
import { checkListAppend, type MicroOperation } from '../src/simulation/list-append.ts';

/** What is asked of one group of rows, which lie in one partition. */
export type Asked =
  | { readonly kind: 'txn'; readonly group: string; readonly input: readonly MicroOperation[]; readonly abort: boolean }
  | { readonly kind: 'transfer'; readonly group: string; readonly input: Transfer }
  | { readonly kind: 'read'; readonly group: string };

interface Rows<V> {
  get(key: string): V | undefined;
  put(key: string, value: V): void;
}
export interface TransactionTables {
  readonly lists: Rows<readonly number[]>;
  readonly accounts: Rows<number>;
}

const initial: Balances = { alice: 20, bob: 20, carol: 20 };
const accounts = Object.keys(initial);
/** Appends after which a list is left for a new one, so that reads stay short. */
const listMax = 20;

/** Chooses what to ask; values are never used twice. */
export class TransactionSource {
  readonly #random: Random;
  readonly #groups: readonly string[];
  #appended = 0;

  constructor(random: Random, groups: readonly string[]) {
    this.#random = random;
    this.#groups = groups;
  }

  next(): Asked {
    const random = this.#random;
    const group = this.#groups[random.below(this.#groups.length)]!;
    const luck = random.next();
    if (luck < 0.3) return { kind: 'read', group };
    if (luck < 0.55) {
      const [from, to] = [random.below(3), 1 + random.below(2)];
      const input = { from: accounts[from]!, to: accounts[(from + to) % 3]!, amount: 1 + random.below(15) };
      return { kind: 'transfer', group, input };
    }
    const input = Array.from({ length: 1 + random.below(4) }, (): MicroOperation => {
      const list = `${group}.${random.below(3)}.${Math.floor(this.#appended / (3 * listMax * this.#groups.length))}`;
      return random.next() < 0.5 ? ['append', list, ++this.#appended] : ['r', list, null];
    });
    return { kind: 'txn', group, input, abort: random.next() < 0.08 };
  }
}

/** The body of the transaction; `abort` throws what ends it. */
export function perform(tx: TransactionTables, asked: Asked, abort: () => never = givenUp): unknown {
  const row = (name: string): string => `${asked.group}/${name}`;
  const balance = (account: string): number => tx.accounts.get(row(account)) ?? initial[account]!;
  if (asked.kind === 'read') return Object.fromEntries(accounts.map(account => [account, balance(account)]));
  if (asked.kind === 'transfer') {
    const { from, to, amount } = asked.input;
    if (balance(from) < amount) return false;
    tx.accounts.put(row(from), balance(from) - amount);
    tx.accounts.put(row(to), balance(to) + amount);
    return true;
  }
  const answered = asked.input.map((operation): MicroOperation => {
    const [kind, list, value] = operation;
    const now = tx.lists.get(row(list)) ?? [];
    if (kind === 'r') return ['r', list, [...now]];
    tx.lists.put(row(list), [...now, value as number]);
    return operation;
  });
  if (asked.abort) abort();
  return answered;
}

function givenUp(): never {
  throw new TandemError('DENIED', 'given up on purpose');
}

/** Call the result with the answer. */
export function begin(
  history: History,
  process: string,
  asked: Asked,
): (outcome: OperationOutcome, output?: unknown) => void {
  const key = asked.kind === 'txn' ? `lists ${asked.group}` : `bank ${asked.group}`;
  return history.invoke({ process, kind: asked.kind, key, input: asked.kind === 'read' ? undefined : asked.input });
}

/** What is wrong with a history; nothing when the transactions were atomic, in one order, and in time. */
export function judgeTransactions(operations: readonly Operation[]): string[] {
  const lists = operations.filter(({ key }) => key.startsWith('lists '));
  const bank = operations.filter(({ key }) => key.startsWith('bank '));
  const wrong = checkListAppend(lists).map(({ kind, story }) => `transactions: ${kind}: ${story}`);
  for (const { kind, story } of checkBank(bank, initial)) wrong.push(`bank: ${kind}: ${story}`);
  const judgement = checkLinearizability(bank, bankModel(initial), { stepsMax: 100_000 });
  if (judgement.kind === 'violation') wrong.push(`bank not linearizable: ${JSON.stringify(judgement)}`);
  return wrong;
}

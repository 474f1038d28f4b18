import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { History, type Operation, type OperationOutcome } from './history.ts';
import { checkListAppend, type MicroOperation } from './list-append.ts';

/** A transaction from `invoked` to `returned`; an aborted or unknown one saw nothing. */
function transaction(
  invoked: number,
  returned: number,
  operations: readonly MicroOperation[],
  outcome: OperationOutcome = 'ok',
): Operation {
  const asked = operations.map(operation => (operation[0] === 'r' ? (['r', operation[1], null] as const) : operation));
  return {
    process: `c${invoked}`,
    kind: 'txn',
    key: 'p0',
    input: asked,
    output: outcome === 'ok' ? operations : undefined,
    outcome,
    invoked,
    returned: outcome === 'unknown' ? Number.POSITIVE_INFINITY : returned,
  };
}
const append = (list: string, value: number): MicroOperation => ['append', list, value];
const read = (list: string, ...values: number[]): MicroOperation => ['r', list, values];

const kinds = (...operations: Operation[]): string[] => checkListAppend(operations).map(({ kind }) => kind);

test('what one order explains is not found guilty', () => {
  assert.deepEqual(kinds(), []);
  assert.deepEqual(
    kinds(
      transaction(0, 1, [append('x', 1), append('y', 1)]),
      transaction(2, 3, [read('x', 1), append('x', 2), read('x', 1, 2), append('x', 3)]),
      transaction(4, 5, [append('x', 4)], 'unknown'),
      transaction(6, 7, [append('y', 9)], 'fail'),
      transaction(8, 9, [read('x', 1, 2, 3, 4), read('y', 1), read('z')]),
    ),
    [],
  );
  assert.deepEqual(
    kinds(
      transaction(0, 9, [append('x', 1), append('y', 1)]),
      transaction(1, 8, [read('x'), read('y')]),
      transaction(2, 7, [read('x', 1), read('y', 1)]),
    ),
    [],
    'concurrent transactions may come in either order',
  );
});

test('reads of what did not happen, or half happened, or twice, or never was, are caught', () => {
  assert.deepEqual(kinds(transaction(0, 1, [append('x', 1)], 'fail'), transaction(2, 3, [read('x', 1)])), ['G1a']);
  assert.deepEqual(
    kinds(
      transaction(0, 9, [append('x', 1), append('x', 2)]),
      transaction(1, 2, [read('x', 1)]),
      transaction(3, 4, [read('x', 1, 2)]),
    ).includes('G1b'),
    true,
  );
  assert.deepEqual(kinds(transaction(0, 1, [append('x', 1)]), transaction(2, 3, [read('x', 1, 1)])), ['duplicate']);
  assert.deepEqual(kinds(transaction(2, 3, [read('x', 7)])), ['invented']);
});

test('a transaction that does not see its own appends, or sees others come between its reads, is caught', () => {
  assert.deepEqual(
    kinds(transaction(0, 1, [append('x', 1), read('x')])),
    ['internal', 'G-single-realtime'].slice(0, 1),
  );
  assert.deepEqual(kinds(transaction(0, 9, [read('x'), read('x', 1)]), transaction(1, 2, [append('x', 1)])), [
    'internal',
  ]);
});

test('reads that do not continue each other are caught', () => {
  const found = kinds(
    transaction(0, 9, [append('x', 1)]),
    transaction(1, 9, [append('x', 2)]),
    transaction(2, 9, [read('x', 1, 2)]),
    transaction(3, 9, [read('x', 2)]),
  );
  assert.ok(found.includes('incompatible order'), found.join());
});

test('each circle is caught under its name', () => {
  const writes = [
    transaction(0, 9, [append('x', 1), append('y', 1)]),
    transaction(1, 9, [append('x', 2), append('y', 2)]),
  ];
  assert.deepEqual(kinds(...writes, transaction(2, 9, [read('x', 1, 2), read('y', 2, 1)])), ['G0']);

  assert.deepEqual(
    kinds(transaction(0, 9, [append('x', 1), read('y', 1)]), transaction(1, 9, [append('y', 1), read('x', 1)])),
    ['G1c'],
  );

  assert.deepEqual(
    kinds(
      transaction(0, 9, [append('x', 1), append('y', 1)]),
      transaction(1, 9, [read('x', 1), read('y')]),
      transaction(2, 9, [read('y', 1)]),
    ),
    ['G-single'],
    'a read of half a transaction',
  );

  assert.deepEqual(
    kinds(
      transaction(0, 9, [read('x'), append('y', 1)]),
      transaction(1, 9, [read('y'), append('x', 1)]),
      transaction(2, 9, [read('x', 1), read('y', 1)]),
    ),
    ['G2'],
    'write skew',
  );
});

test('an order against the clock is caught, and allowed where only an order is asked for', () => {
  const stale = [
    transaction(0, 1, [append('x', 1)]),
    transaction(2, 3, [read('x')]),
    transaction(4, 5, [read('x', 1)]),
  ];
  assert.deepEqual(kinds(...stale), ['G-single-realtime']);
  assert.deepEqual(checkListAppend(stale, { realtime: false }), []);
  assert.deepEqual(
    kinds(
      transaction(0, 1, [append('x', 1)]),
      transaction(2, 3, [append('x', 2)]),
      transaction(4, 5, [read('x', 2, 1)]),
    ),
    ['G0-realtime'],
  );
  assert.deepEqual(
    kinds(transaction(0, 1, [append('x', 1)]), transaction(2, 3, [read('x')])),
    ['G-single-realtime'],
    'an accepted append that nobody ever sees is lost',
  );
});

test('two updates of one version are a lost update', () => {
  const found = kinds(
    transaction(0, 9, [read('x'), append('x', 1)]),
    transaction(1, 9, [read('x'), append('x', 2)]),
    transaction(10, 11, [read('x', 2)]),
  );
  assert.ok(found.includes('lost update'), found.join());
});

test('partitions are judged apart', () => {
  const [one, other] = [transaction(0, 1, [append('x', 1)]), transaction(2, 3, [read('x')])];
  assert.deepEqual(kinds(one, { ...other, key: 'p1' }), []);
});

interface Fault {
  /** Each step sees what is there at that moment. */
  readonly stepwise?: boolean;
  /** All reads from the beginning's state, and only writers of the same list exclude each other. */
  readonly snapshot?: boolean;
  /** The same, and nobody excludes anybody. */
  readonly lastWins?: boolean;
  /** Reading transactions are served from a copy that lags. */
  readonly staleReads?: boolean;
  /** Some accepted transactions leave nothing. */
  readonly drops?: boolean;
  /** Some refused transactions leave something. */
  readonly leaks?: boolean;
  /** Some transactions are done twice. */
  readonly repeats?: boolean;
}

/** A little database of lists with many clients, serializable unless it has a fault. */
function run(random: Random, fault: Fault = {}): readonly Operation[] {
  const history = new History();
  let lists = new Map<string, readonly number[]>();
  const past: (typeof lists)[] = [lists];
  let value = 0;
  interface Open {
    readonly asked: readonly MicroOperation[];
    readonly answered: MicroOperation[];
    readonly answer: (outcome: OperationOutcome, output?: unknown) => void;
    readonly begun: typeof lists;
    own: Map<string, readonly number[]>;
    done: boolean;
  }
  const open = new Map<number, Open>();
  const commit = (own: Map<string, readonly number[]>): void => {
    lists = new Map([...lists, ...own]);
    past.push(lists);
  };
  const step = (transaction: Open, from: typeof lists): void => {
    const next = transaction.asked[transaction.answered.length]!;
    const now = transaction.own.get(next[1]) ?? from.get(next[1]) ?? [];
    if (next[0] === 'append') {
      transaction.answered.push(next);
      transaction.own.set(next[1], [...now, next[2] as number]);
    } else transaction.answered.push(['r', next[1], now]);
  };
  const finish = (transaction: Open): void => {
    const { asked, begun, answered, answer } = transaction;
    const stepwise = fault.stepwise || fault.snapshot || fault.lastWins;
    const readsOnly = asked.every(([kind]) => kind === 'r');
    const source = fault.staleReads && readsOnly ? past[Math.max(0, past.length - 1 - random.below(4))]! : lists;
    while (answered.length < asked.length) step(transaction, stepwise && !fault.stepwise ? begun : source);
    const lost = fault.snapshot && [...transaction.own.keys()].some(list => lists.get(list) !== begun.get(list));
    const luck = random.next();
    if (lost || luck < 0.05) {
      if (fault.leaks && !lost && luck < 0.03) commit(transaction.own);
      answer('fail');
      return;
    }
    if (!(fault.drops && luck < 0.1)) commit(transaction.own);
    if (fault.repeats && luck > 0.97) {
      const again = asked.filter(([kind]) => kind === 'append') as (readonly ['append', string, number])[];
      commit(new Map(again.map(([, list, appended]) => [list, [...(lists.get(list) ?? []), appended]])));
    }
    answer(luck > 0.95 ? 'unknown' : 'ok', answered);
  };
  for (let begun = 0; begun < 300 || open.size > 0; ) {
    const client = random.below(6);
    const mine = open.get(client);
    if (!mine && begun < 300) {
      begun++;
      const asked = Array.from({ length: 1 + random.below(4) }, (): MicroOperation => {
        const list = `l${random.below(3)}-${Math.floor(begun / 60)}`;
        return random.next() < 0.5 ? ['append', list, ++value] : ['r', list, null];
      });
      const answer = history.invoke({ process: `c${client}`, kind: 'txn', key: 'p', input: asked });
      open.set(client, { asked, answer, answered: [], begun: lists, own: new Map(), done: false });
    } else if (mine && !mine.done) {
      if (fault.stepwise && mine.answered.length < mine.asked.length && random.next() < 0.8) {
        step(mine, lists);
        commit(mine.own);
        mine.own = new Map();
      } else if (random.next() < 0.5) mine.done = true;
    } else if (mine) {
      finish(mine);
      open.delete(client);
    }
  }
  return history.operations;
}

test('a database that keeps its word is never found guilty', () => {
  for (let seed = 0; seed < 60; seed++) {
    const found = checkListAppend(run(seededRandom(seed)));
    assert.deepEqual(
      found.map(({ kind, story }) => `${kind}: ${story}`),
      [],
      `seed ${seed}`,
    );
  }
});

test('each kind of broken database is caught, and as what it is', () => {
  const faults: readonly (readonly [Fault, RegExp])[] = [
    [{ stepwise: true }, /^(internal|G-single|G2|G1b|G1c|G0)/],
    [{ snapshot: true }, /^G(2|-single-realtime)/],
    [{ lastWins: true }, /^lost update$|^incompatible order$/],
    [{ staleReads: true }, /^G-single-realtime$/],
    [{ drops: true }, /^G-single/],
    [{ leaks: true }, /^G1a$/],
    [{ repeats: true }, /^duplicate$/],
  ];
  for (const [fault, name] of faults) {
    for (let seed = 0; seed < 20; seed++) {
      const found = checkListAppend(run(seededRandom(seed), fault)).map(({ kind }) => kind);
      assert.ok(
        found.some(kind => name.test(kind)),
        `${JSON.stringify(fault)}, seed ${seed}: ${found.join() || 'nothing found'}`,
      );
    }
  }
});

test('ten thousand transactions take a moment', { timeout: 20_000 }, () => {
  const history = new History();
  const lists = new Map<string, number[]>();
  for (let at = 0; at < 10_000; at++) {
    const list = `l${Math.floor(at / 50)}-${at % 3}`;
    const now = lists.get(list) ?? [];
    const asked = [append(list, at), ['r', list, null]];
    const answer = history.invoke({ process: `c${at % 8}`, kind: 'txn', key: 'p', input: asked });
    lists.set(list, [...now, at]);
    answer('ok', [append(list, at), read(list, ...now, at)]);
  }
  assert.deepEqual(checkListAppend(history.operations), []);
});

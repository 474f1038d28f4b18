import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../core/random.ts';
import { History, type Operation, toEdn } from './history.ts';
import { checkLinearizability } from './linearizability.ts';
import { impossible, listModel, registerModel } from './model.ts';

type Change = { -readonly [K in keyof Operation]: Operation[K] };

/** A correct history: each operation takes effect at a random moment between its two events, or, of unknown fate, later or never. */
function run(
  random: Random,
  options: { operations: number; clients: number; keys: number; unknownChance: number },
): Change[] {
  const history = new History();
  const state = new Map<string, number>();
  interface Open {
    effect: () => void;
    done: boolean;
    finish: () => void;
  }
  const open = new Map<number, Open>();
  const lingering: (() => void)[] = [];
  let value = 0;
  let begun = 0;
  while (begun < options.operations || open.size > 0) {
    const client = random.below(options.clients);
    const mine = open.get(client);
    if (lingering.length > 0 && random.next() < 0.02) lingering.splice(random.below(lingering.length), 1)[0]!();
    if (!mine) {
      if (begun >= options.operations) {
        for (const [id, waiting] of open) {
          if (!waiting.done) waiting.effect();
          waiting.finish();
          open.delete(id);
        }
        continue;
      }
      begun++;
      const key = `k${random.below(options.keys)}`;
      const kind = ['read', 'write', 'cas', 'add'][random.below(4)]!;
      const input =
        kind === 'write'
          ? ++value * 1000
          : kind === 'add'
            ? 1
            : kind === 'cas'
              ? { from: state.get(key) ?? 0, to: ++value * 1000 }
              : undefined;
      const answer = history.invoke({ process: `c${client}`, kind, key, input });
      let output: unknown;
      const effect = (): void => {
        const now = state.get(key) ?? 0;
        if (kind === 'read') output = now;
        else if (kind === 'write') state.set(key, input as number);
        else if (kind === 'add') {
          output = now + 1;
          state.set(key, now + 1);
        } else {
          const { from, to } = input as { from: number; to: number };
          output = now === from;
          if (output) state.set(key, to);
        }
      };
      const unknown = random.next() < options.unknownChance;
      const entry: Open = {
        done: false,
        effect: () => {
          if (unknown) {
            if (random.next() < 0.5) lingering.push(effect);
          } else effect();
          entry.done = true;
        },
        finish: () => answer(unknown ? 'unknown' : 'ok', unknown ? undefined : output),
      };
      open.set(client, entry);
    } else if (!mine.done) mine.effect();
    else {
      mine.finish();
      open.delete(client);
    }
  }
  return history.operations.map(operation => ({ ...operation }));
}

function operation(part: Partial<Operation>): Operation {
  const whole = { process: 'c', kind: 'read', key: 'k', input: undefined, output: undefined, outcome: 'ok' as const };
  return { ...whole, invoked: 0, returned: 1, ...part };
}

test('a read of an old value after a newer write was acknowledged is caught', () => {
  const judgement = checkLinearizability(
    [
      operation({ kind: 'write', input: 1, invoked: 0, returned: 1 }),
      operation({ kind: 'write', input: 2, invoked: 2, returned: 3 }),
      operation({ output: 1, invoked: 4, returned: 5 }),
    ],
    registerModel(0),
  );
  assert.equal(judgement.kind, 'violation');
  assert.equal(judgement.kind === 'violation' && judgement.operation.output, 1);
});

test('a value that two readers see come and go is caught', () => {
  const write = operation({ kind: 'write', input: 1, invoked: 0, returned: 9 });
  const reads = (first: number, second: number): Operation[] => [
    write,
    operation({ process: 'r', output: first, invoked: 1, returned: 2 }),
    operation({ process: 's', output: second, invoked: 3, returned: 4 }),
  ];
  assert.equal(checkLinearizability(reads(1, 0), registerModel(0)).kind, 'violation');
  assert.equal(checkLinearizability(reads(0, 1), registerModel(0)).kind, 'linearizable');
});

test('an unknown write may land late, never, but not twice', () => {
  const unknown = operation({
    kind: 'add',
    input: 1,
    outcome: 'unknown',
    invoked: 0,
    returned: Number.POSITIVE_INFINITY,
  });
  const read = (output: number, at: number): Operation => operation({ output, invoked: at, returned: at + 1 });
  const kinds = (...operations: Operation[]): string => checkLinearizability(operations, registerModel(0)).kind;
  assert.equal(kinds(unknown, read(0, 2), read(0, 4)), 'linearizable');
  assert.equal(kinds(unknown, read(0, 2), read(1, 4)), 'linearizable');
  assert.equal(kinds(unknown, read(1, 2), read(0, 4)), 'violation');
  assert.equal(kinds(unknown, read(0, 2), read(2, 4)), 'violation');
  assert.equal(kinds(unknown, unknown, read(0, 2), read(2, 4)), 'linearizable');
});

test('a refused write that shows up is caught', () => {
  const refused = operation({ kind: 'write', input: 5, outcome: 'fail', invoked: 0, returned: 1 });
  const read = operation({ output: 5, invoked: 2, returned: 3 });
  assert.equal(checkLinearizability([refused, read], registerModel(0)).kind, 'violation');
});

test('two winners of one compare-and-set are caught', () => {
  const won = (process: string, to: number): Operation =>
    operation({ process, kind: 'cas', input: { from: 0, to }, output: true, invoked: 0, returned: 9 });
  assert.equal(checkLinearizability([won('a', 1), won('b', 2)], registerModel(0)).kind, 'violation');
});

test('an append that is missing or out of order in a list is caught', () => {
  const append = (input: number, at: number): Operation =>
    operation({ kind: 'append', input, invoked: at, returned: at + 1 });
  const read = (output: number[]): Operation => operation({ output, invoked: 8, returned: 9 });
  const kind = (output: number[]): string =>
    checkLinearizability([append(1, 0), append(2, 2), read(output)], listModel).kind;
  assert.equal(kind([1, 2]), 'linearizable');
  assert.equal(kind([2, 1]), 'violation');
  assert.equal(kind([2]), 'violation');
});

test('correct histories of many clients pass, unknown fates included', () => {
  for (let seed = 0; seed < 60; seed++) {
    const operations = run(seededRandom(seed), { operations: 300, clients: 8, keys: 2, unknownChance: 0.03 });
    assert.equal(checkLinearizability(operations, registerModel(0)).kind, 'linearizable', `seed ${seed}`);
  }
});

test('each kind of seeded wrong answer is caught', () => {
  const mutants: Record<string, (operations: Change[], random: Random) => boolean> = {
    'stale read': (operations, random) => {
      const reads = operations.filter(({ kind, outcome }) => kind === 'read' && outcome === 'ok');
      const read = reads[reads.length - 1 - random.below(5)]!;
      const before = reads.find(({ key, output }) => key === read.key && output !== read.output);
      if (!before || read.invoked - before.returned < 200) return false;
      read.output = before.output;
      return true;
    },
    'lost update': (operations, random) => {
      const adds = operations.filter(({ kind, outcome }) => kind === 'add' && outcome === 'ok');
      const add = adds[random.below(adds.length)]!;
      add.output = Number(add.output) - 1;
      return true;
    },
    'cas wins wrongly': (operations, random) => {
      const lost = operations.filter(
        ({ kind, outcome, output }) => kind === 'cas' && outcome === 'ok' && output === false,
      );
      if (lost.length === 0) return false;
      lost[random.below(lost.length)]!.output = true;
      return true;
    },
  };
  for (const [name, mutate] of Object.entries(mutants)) {
    let made = 0;
    let caught = 0;
    for (let seed = 0; seed < 40; seed++) {
      const random = seededRandom(seed);
      const operations = run(random, { operations: 400, clients: 5, keys: 2, unknownChance: 0 });
      if (!mutate(operations, random)) continue;
      made++;
      if (checkLinearizability(operations, registerModel(0)).kind === 'violation') caught++;
    }
    // a changed answer may happen to be a right one, such as a set that was overwritten unseen
    assert.ok(made >= 10 && caught >= made * 0.6, `${name}: ${caught} of ${made} caught`);
  }
});

/** By definition: tries every order of every choice of unknown operations. */
function bruteForce(operations: readonly Operation[]): boolean {
  const model = registerModel(0);
  const search = (state: unknown, left: readonly Operation[]): boolean => {
    if (left.every(({ outcome }) => outcome === 'unknown')) return true;
    const answer = Math.min(...left.map(({ returned }) => returned));
    return left.some(candidate => {
      if (candidate.invoked > answer) return false;
      const next = model.step(state, candidate);
      return (
        next !== impossible &&
        search(
          next,
          left.filter(other => other !== candidate),
        )
      );
    });
  };
  return search(
    0,
    operations.filter(({ outcome }) => outcome !== 'fail'),
  );
}

test('on small histories, right or wrong, it agrees with trying everything', () => {
  const counts = { linearizable: 0, violation: 0, undecided: 0 };
  for (let seed = 0; seed < 3000; seed++) {
    const random = seededRandom(seed);
    const history = new History();
    const open: ((outcome: 'ok' | 'fail' | 'unknown') => void)[] = [];
    for (let begun = 0; begun < 6 || open.length > 0; ) {
      if (begun < 6 && (open.length === 0 || (open.length < 3 && random.next() < 0.5))) {
        const kind = ['read', 'write', 'cas', 'add'][random.below(4)]!;
        const input = kind === 'cas' ? { from: random.below(3), to: random.below(3) } : random.below(3);
        const output = kind === 'cas' ? random.next() < 0.5 : kind === 'write' ? undefined : random.below(3);
        const answer = history.invoke({ process: `${begun++}`, kind, key: 'k', input });
        open.push(outcome => answer(outcome, output));
      } else {
        const outcome = (['ok', 'ok', 'ok', 'ok', 'unknown', 'fail'] as const)[random.below(6)]!;
        open.splice(random.below(open.length), 1)[0]!(outcome);
      }
    }
    const { kind } = checkLinearizability(history.operations, registerModel(0));
    counts[kind]++;
    assert.equal(kind === 'linearizable', bruteForce(history.operations), `seed ${seed}`);
  }
  assert.ok(counts.linearizable > 200 && counts.violation > 200, JSON.stringify(counts));
});

test('thousands of operations take seconds', { timeout: 20_000 }, () => {
  const operations = run(seededRandom(1), { operations: 10_000, clients: 16, keys: 4, unknownChance: 0.005 });
  assert.equal(checkLinearizability(operations, registerModel(0)).kind, 'linearizable');
});

test('a search without end is given up and says so', () => {
  const operations = run(seededRandom(3), { operations: 200, clients: 8, keys: 1, unknownChance: 0 });
  assert.equal(checkLinearizability(operations, registerModel(0), { stepsMax: 50 }).kind, 'undecided');
});

test('a history is written in the shape of Jepsen', () => {
  let ms = 0;
  const history = new History(() => ms++);
  const answer = history.invoke({ process: 'a', kind: 'write', key: 'x', input: { n: 1 } });
  history.invoke({ process: 'b', kind: 'read', key: 'x' })('ok', [1, 'two']);
  answer('unknown');
  const append = ['append', 'l', 5];
  const transaction = history.invoke({ process: 'a', kind: 'txn', key: 'p', input: [append, ['r', 'l', null]] });
  transaction('ok', [append, ['r', 'l', [5]]]);
  assert.equal(
    toEdn(history.operations),
    '{:index 0, :time 0, :type :invoke, :process 0, :f :write, :value ["x" {:n 1}]}\n' +
      '{:index 1, :time 1000000, :type :invoke, :process 1, :f :read, :value ["x" nil]}\n' +
      '{:index 2, :time 2000000, :type :ok, :process 1, :f :read, :value ["x" [1 "two"]]}\n' +
      '{:index 3, :time 3000000, :type :info, :process 0, :f :write, :value ["x" {:n 1}]}\n' +
      '{:index 4, :time 4000000, :type :invoke, :process 2, :f :txn, :value [[:append "l" 5] [:r "l" nil]]}\n' +
      '{:index 5, :time 5000000, :type :ok, :process 2, :f :txn, :value [[:append "l" 5] [:r "l" [5]]]}\n',
  );
});

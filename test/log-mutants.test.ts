/**
 * Two more rules broken on purpose, which need a world of their own: a log that was emptied or made anew is never served,
 * and a row's life ends by the partition's clock. With the rule kept, the same history is clean.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../src/calling/session.ts';
import { type Table, table } from '../src/contract/table.ts';
import { sleep } from '../src/core/clock.ts';
import { TandemError } from '../src/core/errors.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import type { AnySchema } from '../src/core/schema.ts';
import type { Head, ReplicaStore } from '../src/replication/store.ts';
import { type DataCluster, type DataNode, dataCluster } from '../src/simulation/data-cluster.ts';
import { type EngineModel, engineModel } from '../src/simulation/engine.ts';
import { History, type Operation } from '../src/simulation/history.ts';
import { checkLinearizability } from '../src/simulation/linearizability.ts';
import { impossible, type Model, registerModel } from '../src/simulation/model.ts';
import { type ProcessClock, type VirtualClock, virtualClock } from '../src/simulation/virtual-clock.ts';
import type { Scope } from '../src/state/keyspace.ts';

const anything = {
  '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) },
} as AnySchema;

interface World {
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly model: EngineModel;
  readonly cluster: DataCluster;
  readonly history: History;
  start(...slots: string[]): Promise<DataNode[]>;
  /** A call at the node, noted in the history. */
  call(node: DataNode, kind: string, input: unknown, work: (scope: Scope) => Promise<unknown>): Promise<unknown>;
}

type HeadOf = (store: ReplicaStore, clock: ProcessClock) => Head;

function world(seed: number, rows: Table<unknown>, headOf?: HeadOf): World {
  const clock = virtualClock();
  const random = seededRandom(seed);
  const model = engineModel({ clock, random });
  const cluster = dataCluster({
    clock,
    random,
    connect: own => model.connect(own),
    tables: { rows },
    partitions: 1,
    replicas: 3,
    settings: { engineTimeoutMs: 300 },
    ...(headOf && { store: (store: ReplicaStore, own: ProcessClock) => misled(store, () => headOf(store, own)) }),
  });
  const history = new History();
  return {
    clock,
    random,
    model,
    cluster,
    history,
    start: (...slots) => clock.complete(() => Promise.all(slots.map(slot => cluster.start(slot)))),
    async call(node, kind, input, work) {
      const end = history.invoke({ process: node.id, kind, key: 'a', input });
      const scope = node.keyspace.scope({
        partition: 0,
        level: 'strong',
        session: new Session(),
        deadline: clock.monotonic() + 2000,
        request: { id: random.id() },
      });
      try {
        const value = await work(scope);
        end('ok', value);
        return value;
      } catch (thrown) {
        end(TandemError.from(thrown).outcome === 'not-done' ? 'fail' : 'unknown');
        throw thrown;
      }
    },
  };
}

/** A store that says another head. */
function misled(store: ReplicaStore, head: () => Head): ReplicaStore {
  return {
    get head() {
      return head();
    },
    get: (name, key) => store.get(name, key),
    scan: (name, prefix, options) => store.scan(name, prefix, options),
    commit: (writes, now) => store.commit(writes, now),
    replace: (rows, now) => store.replace(rows, now),
    capture: () => store.capture(),
    tables: () => store.tables(),
    close: () => store.close(),
  };
}

interface Rows {
  readonly rows: { get(key: string): number | undefined; put(key: string, value: number): void };
}
const add = (scope: Scope): Promise<unknown> =>
  scope.transact(tx => {
    const { rows } = tx as unknown as Rows;
    const next = (rows.get('a') ?? 0) + 1;
    rows.put('a', next);
    return next;
  });
const read = async (scope: Scope): Promise<unknown> => (await scope.tables['rows']!.get('a')) ?? 0;
const log = 'state/data/0';

/** Counts to ten, then has the log exchanged for `other` (or nothing), and asks both nodes again. */
async function afterExchange(
  other: readonly Uint8Array[] | undefined,
  headOf?: HeadOf,
): Promise<[string[], Operation[]]> {
  const { clock, model, history, start, call } = world(1, table(anything), headOf);
  const [x, y] = await start('x', 'y');
  await clock.advance(2000);
  for (let i = 0; i < 10; i++) await clock.complete(() => call(x!, 'add', 1, add));
  await clock.advance(500);
  model.replace(log, other);
  await clock.advance(3000);
  const heard: string[] = [];
  for (const [node, kind] of [
    [x!, 'read'],
    [y!, 'read'],
    [y!, 'add'],
  ] as const) {
    const [input, work] = kind === 'read' ? [undefined, read] : [1, add];
    heard.push(
      await clock.complete(() => call(node, kind, input, work).then(String, thrown => TandemError.from(thrown).code)),
    );
  }
  for (const node of [x!, y!]) node.kill();
  return [heard, [...history.operations]];
}

/** The log of an app of the same name that has nothing to do with this one. */
async function strangersLog(): Promise<readonly Uint8Array[]> {
  const { clock, model, start, call } = world(2, table(anything));
  const [x] = await start('x');
  await clock.advance(2000);
  for (let i = 0; i < 3; i++) await clock.complete(() => call(x!, 'add', 1, add));
  for (let i = 0; i < 30; i++) {
    await clock.complete(() =>
      call(x!, 'other', 1, scope => scope.transact(tx => (tx as unknown as Rows).rows.put('b', i))),
    );
  }
  x!.kill();
  return model.entries(log);
}

test('a log that was emptied is not served and not begun anew', async () => {
  const [heard] = await afterExchange(undefined);
  for (const answer of heard) assert.match(answer, /LOG_LOST|UNAVAILABLE|MOVED|DEADLINE_EXCEEDED/);
});

test('a log that was made anew is not served; who does not look at its identity serves it, and is caught', async () => {
  const stranger = await strangersLog();
  const [heard] = await afterExchange(stranger);
  for (const answer of heard) assert.match(answer, /LOG_LOST|UNAVAILABLE|MOVED|DEADLINE_EXCEEDED/);
  const [careless, operations] = await afterExchange(stranger, store => ({ ...store.head, incarnation: '' }));
  assert.match(careless.join(), /\d/, 'the mutant answers');
  assert.equal(checkLinearizability(operations, registerModel(0)).kind, 'violation');
});

/** A value that may be gone at any time after it was written, once. */
const lease: Model<unknown> = {
  ...registerModel(null),
  step(state, operation) {
    if (operation.kind !== 'expire') return registerModel(null).step(state, operation);
    return state === operation.input ? null : impossible;
  },
};

/** Leases that end while nodes with clocks apart read them. */
async function leases(seed: number, headOf?: HeadOf): Promise<string> {
  const { clock, random, history, start, call } = world(seed, table(anything, { ttl: '300ms' }), headOf);
  const nodes = await start('x', 'y', 'z');
  await clock.advance(2000);
  for (const node of nodes) node.clock.jumpWall(random.below(800) - 400);
  let next = 0;
  let stopped = false;
  const client = async (): Promise<void> => {
    for (let i = 0; i < 60 && !stopped; i++) {
      const node = nodes[random.below(3)]!;
      const value = ++next;
      const write = random.next() < 0.1;
      if (write) history.invoke({ process: 'time', kind: 'expire', key: 'a', input: value });
      const asked = write
        ? call(node, 'write', value, scope => scope.transact(tx => (tx as unknown as Rows).rows.put('a', value)))
        : call(node, 'read', undefined, async scope => (await scope.tables['rows']!.get('a')) ?? null);
      await asked.catch(() => {});
      await sleep(clock, random.below(60));
    }
  };
  await clock.complete(() => Promise.all([client(), client(), client()]));
  stopped = true;
  for (const node of nodes) node.kill();
  return checkLinearizability(history.operations, lease, { stepsMax: 300_000 }).kind;
}

test("a row's life that ends by each reader's own clock is caught, and by the partition's is in order", async () => {
  let caught = 0;
  for (let seed = 0; seed < 10; seed++) {
    assert.equal(await leases(seed), 'linearizable', `seed ${seed}`);
    const local = await leases(seed, (store, own) => ({ ...store.head, time: own.now() }));
    if (local === 'violation') caught++;
  }
  assert.ok(caught > 5, `caught in ${caught} of 10 seeds`);
});

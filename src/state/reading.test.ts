import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Session } from '../calling/session.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { DataNode } from '../simulation/data-cluster.ts';
import { Barrier } from './barrier.ts';
import { type Rig, type Rows, rig } from './fixture.test.ts';
import type { Scope, ScopeOptions } from './keyspace.ts';

const put =
  (value: number) =>
  (tx: Rows): void =>
    tx.stock.put('a', value);
const get = (scope: Scope): Promise<unknown> => scope.tables['stock']!.get('a');

/** Two replicas, of which `slow` hears of the log's entries only when `gate` is opened. */
async function lagging(settings = {}): Promise<{ world: Rig; fast: DataNode; slow: DataNode; open: () => void }> {
  const world = rig({ settings });
  let closed = false;
  const gates: (() => void)[] = [];
  world.hooks.set('slow', next => ({
    async *follow(name, from, signal) {
      for await (const entries of next.follow(name, from, signal)) {
        if (closed) await new Promise<void>(resolve => gates.push(resolve));
        yield entries;
      }
    },
  }));
  const [fast, slow] = await world.start('fast', 'slow');
  await world.clock.advance(1000);
  closed = true;
  const open = (): void => {
    closed = false;
    for (const gate of gates.splice(0)) gate();
  };
  return { world, fast: fast!, slow: slow!, open };
}

async function settledAfter(world: Rig, ms: number, work: Promise<unknown>): Promise<boolean> {
  let settled = false;
  work.then(
    () => (settled = true),
    () => (settled = true),
  );
  await world.clock.advance(ms);
  return settled;
}

test('a strong read that arrives while a barrier is under way takes the next one', async () => {
  const { world } = await lagging();
  const asked: PromiseWithResolvers<number>[] = [];
  const ask = (): Promise<number> => {
    asked.push(Promise.withResolvers<number>());
    return asked.at(-1)!.promise;
  };
  const replica = { log: 'l', head: { position: 1 }, noteTail() {} } as never;
  const barrier = new Barrier(replica, ask, world.clock, 1000);
  const first = barrier.position();
  await world.clock.settle();
  const second = barrier.position();
  const third = barrier.position();
  await world.clock.settle();
  assert.equal(asked.length, 1);
  asked[0]!.resolve(5);
  await world.clock.settle();
  assert.equal(asked.length, 2);
  asked[1]!.resolve(9);
  assert.deepEqual(await Promise.all([first, second, third]), [5, 9, 9]);
});

test('a strong read at a lagging replica waits until it sees what was acknowledged before it', async () => {
  const { world, fast, slow, open } = await lagging();
  await world.clock.complete(() => world.transact(fast, put(1)));
  const reading = world.read(slow, 'a');
  assert.equal(await settledAfter(world, 500, reading), false);
  open();
  assert.equal(await world.clock.complete(reading), 1);
});

test('a sequential read waits for what its session has seen, and only for that', async () => {
  const { world, fast, slow, open } = await lagging();
  const session = new Session();
  await world.clock.complete(() => world.scope(fast, { session }).transact(tx => put(1)(tx as never)));
  const level = 'sequential';
  assert.equal(await world.clock.complete(get(world.scope(slow, { level }))), undefined);
  const reading = get(world.scope(slow, { level, session }));
  assert.equal(await settledAfter(world, 500, reading), false);
  open();
  assert.equal(await world.clock.complete(reading), 1);
});

test('a session that is full and forgot reads behind a barrier what it does not list', async () => {
  const { world, fast, slow, open } = await lagging();
  const session = new Session();
  await world.clock.complete(() => world.scope(fast, { session }).transact(tx => put(1)(tx as never)));
  for (let other = 0; other < limits.sessionPositionsMax; other++) session.advance(`state/other/${other}#i`, 1);
  assert.ok(session.overflowed);
  const reading = get(world.scope(slow, { level: 'sequential', session: Session.fromForm(session.toForm()) }));
  assert.equal(await settledAfter(world, 500, reading), false);
  open();
  assert.equal(await world.clock.complete(reading), 1);
});

test('a session ahead of the log is an alarm, not a wait', async () => {
  const { world, fast } = await lagging();
  const session = new Session();
  await world.clock.complete(() => world.scope(fast, { session }).transact(tx => put(1)(tx as never)));
  session.advance(fast.keyspace.logOf(0), 1000);
  const startedAt = world.clock.monotonic();
  await assert.rejects(
    world.clock.complete(() => get(world.scope(fast, { level: 'sequential', session }))),
    {
      code: 'LOG_LOST',
    },
  );
  assert.ok(world.clock.monotonic() - startedAt < 1000);
  const stranger = Session.fromForm({ positions: [['state/data/0#another', 3]] });
  await assert.rejects(
    world.clock.complete(() => get(world.scope(fast, { level: 'sequential', session: stranger }))),
    {
      code: 'LOG_LOST',
    },
  );
});

test('an eventual read answers at once and says how far behind it knows itself to be', async () => {
  const { world, fast, slow } = await lagging();
  await world.clock.complete(() => world.transact(fast, put(1)));
  void world.read(slow, 'a').catch(() => {}); // its barrier tells the replica of the tail
  await world.clock.advance(300);
  const scope = world.scope(slow, { level: 'eventual' });
  assert.equal(await get(scope), undefined);
  const { level, staleness } = scope.replyMeta();
  assert.equal(level, 'eventual');
  assert.ok(staleness!.entries >= 1 && staleness!.entries < 10 && staleness!.ms >= 250, JSON.stringify(staleness));
});

test('a strong read leaves no trace in staleness, and no timer', async () => {
  const { world, fast } = await lagging();
  await world.clock.complete(() => world.transact(fast, put(1)));
  await world.clock.complete(world.read(fast, 'a'));
  const scope = world.scope(fast, { level: 'eventual' });
  await get(scope);
  assert.deepEqual(scope.replyMeta().staleness, { entries: 0, ms: 0 });
  const before = world.clock.pending;
  for (let n = 0; n < 50; n++) await world.clock.complete(world.read(fast, 'a'));
  assert.ok(world.clock.pending < before + 10, `${world.clock.pending - before} timers are left`);
});

test('with degrade a read that cannot be strong in time is eventual, and says so', async () => {
  const { world, fast, slow } = await lagging();
  await world.clock.complete(() => world.transact(fast, put(1)));
  const scope = world.scope(slow, { degrade: 'eventual' });
  assert.equal(await world.clock.complete(get(scope)), undefined);
  const { level, degraded } = scope.replyMeta();
  assert.deepEqual({ level, degraded }, { level: 'eventual', degraded: true });
  await assert.rejects(world.clock.complete(get(world.scope(slow))), {
    code: 'DEADLINE_EXCEEDED',
    outcome: 'not-done',
  });
});

/** A cluster where `third` holds nothing. */
async function third(): Promise<{ world: Rig; holder: DataNode; other: DataNode }> {
  const world = rig();
  const nodes = await world.start('x', 'y', 'z');
  await world.clock.advance(8000);
  const other = nodes.find(node => node.keyspace.held().length === 0)!;
  const holder = nodes.find(node => node.keyspace.isWriter(0))!;
  assert.ok(other && holder, JSON.stringify(nodes.map(node => node.keyspace.held())));
  return { world, holder, other };
}

test('an instance without a replica reads at one that has, keeps the session, and transacts only where the data is', async () => {
  const { world, holder, other } = await third();
  await world.clock.complete(() => world.transact(holder, put(7)));
  const session = new Session();
  const options: Partial<ScopeOptions> = { level: 'strong', session };
  assert.equal(await world.clock.complete(get(world.scope(other, options))), 7);
  assert.ok(session.position(holder.keyspace.logOf(0)) > 0);
  const error = await world.clock.complete(() => world.transact(other, put(8))).catch(TandemError.from);
  assert.ok(error instanceof TandemError);
  assert.equal(error.code, 'MOVED');
  assert.match(String(error.details?.['instance']), /^[xyz]-/);
  assert.equal(other.keyspace.route(0, false).here, false);
});

test('a row held elsewhere is watched: its value now, after changes, and through the end of the one who held it', async () => {
  const { world, holder, other } = await third();
  const stop = new AbortController();
  const seen: unknown[] = [];
  const scope = world.scope(other, { signal: stop.signal, deadline: world.clock.monotonic() + 600_000 });
  const watching = (async () => {
    for await (const value of scope.tables['stock']!.watch('a')) seen.push(value);
  })();
  await world.clock.complete(() => world.transact(holder, put(1)));
  await world.clock.advance(15_000);
  await world.clock.complete(() => world.transact(holder, put(2)));
  await world.clock.advance(100);
  assert.deepEqual(seen, [1, 2]);
  holder.kill();
  await world.clock.advance(5000);
  const writer = [...world.cluster.nodes.values()].find(node => node !== holder && node.keyspace.isWriter(0))!;
  await world.clock.complete(() => world.transact(writer, put(3)));
  await world.clock.advance(12_000);
  assert.equal(seen.at(-1), 3);
  stop.abort();
  await world.clock.complete(watching);
});

test('a watch of a row held here ends with an error when its replica is closed', async () => {
  const world = rig();
  const [node] = await world.start('x');
  await world.clock.complete(() => world.transact(node!, put(1)));
  const scope = world.scope(node!, { level: 'sequential' });
  const values = scope.tables['stock']!.watch('a')[Symbol.asyncIterator]();
  assert.equal((await world.clock.complete(values.next())).value, 1);
  const next = values.next();
  next.catch(() => {});
  await world.clock.complete(() => node!.keyspace.close());
  await assert.rejects(next, { code: 'CLOSED' });
});

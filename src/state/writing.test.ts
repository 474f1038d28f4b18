import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TandemError } from '../core/errors.ts';
import type { AppendResult } from '../log/engine.ts';
import { pack } from '../replication/codec.ts';
import { decodeEntry, encodeEntry } from '../replication/entry.ts';
import { type Rig, type Rows, rig, sold } from './fixture.test.ts';

const log = 'state/data/0';
const increment = (tx: Rows): number => {
  const next = (tx.stock.get('a') ?? 0) + 1;
  tx.stock.put('a', next);
  return next;
};

/** Does `meanwhile` once, right before the next append that carries rows of users reaches the engine. */
function before(slot: string, { hooks }: Rig, meanwhile: () => Promise<unknown>): void {
  let done = false;
  hooks.set(slot, next => ({
    append: async (name, expected, bodies, options) => {
      if (!done && decodeEntry(bodies[0]!).writes.some(([table]) => table === 'stock')) {
        done = true;
        await meanwhile();
      }
      return next.append(name, expected, bodies, options);
    },
  }));
}

test('a body that returns a promise is refused, and nothing of it stays', async () => {
  const world = rig();
  const [node] = await world.start('x');
  const body = async (tx: Rows): Promise<void> => tx.stock.put('a', 1);
  await assert.rejects(world.clock.complete(world.transact(node!, body)), { code: 'INVALID' });
  assert.equal(await world.clock.complete(world.read(node!, 'a')), undefined);
});

test('a key of another partition is refused by name', async () => {
  const world = rig({ partitions: 2 });
  const [node] = await world.start('x');
  const keys = ['a', 'b', 'c', 'd', 'e'];
  const elsewhere = keys.find(key => node!.keyspace.partitionOf(key) === 1)!;
  await assert.rejects(world.clock.complete(world.transact(node!, tx => tx.stock.put(elsewhere, 1))), {
    code: 'CROSS_PARTITION',
  });
});

test('a body that throws leaves nothing behind, and its neighbours in the bundle go on', async () => {
  const world = rig();
  const [node] = await world.start('x');
  const results = await world.clock.complete(() =>
    Promise.allSettled([
      world.transact(node!, increment),
      world.transact(node!, tx => {
        tx.stock.put('a', 100);
        throw new TandemError('CONFLICT', 'no');
      }),
      world.transact(node!, increment),
    ]),
  );
  assert.deepEqual(
    results.map(result => (result.status === 'fulfilled' ? result.value : result.reason.code)),
    [1, 'CONFLICT', 2],
  );
});

test('an entry of another in the window of an append makes it run again, and neither is lost', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  before('x', world, () => world.transact(y!, increment));
  assert.equal(await world.clock.complete(() => world.transact(x!, increment)), 2);
  assert.equal(await world.clock.complete(world.read(y!, 'a')), 2);
});

test('a refusal never contradicts what another acknowledged before it: it runs again', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  let restocked = false;
  world.hooks.set('x', next => ({
    barrier: async (name, options) => {
      if (!restocked) {
        restocked = true;
        await world.transact(y!, increment);
      }
      return next.barrier(name, options);
    },
  }));
  const soldOut = world.clock.complete(() =>
    world.transact(x!, tx => {
      const there = tx.stock.get('a') ?? 0;
      if (there === 0) throw new TandemError('CONFLICT', 'sold out');
      return there;
    }),
  );
  assert.equal(await soldOut, 1);
});

for (const landed of [true, false]) {
  test(`an append of unknown fate that ${landed ? 'landed counts once' : 'did not land is sent again'}`, async () => {
    const world = rig();
    const [x, y] = await world.start('x', 'y');
    let doubts = 0;
    world.hooks.set('x', next => ({
      append: async (name, expected, bodies, options): Promise<AppendResult> => {
        if (doubts++ > 0) return next.append(name, expected, bodies, options);
        if (landed) await next.append(name, expected, bodies, options);
        return { kind: 'unknown', cause: new Error('lost') };
      },
    }));
    assert.equal(await world.clock.complete(() => world.transact(x!, increment)), 1);
    assert.equal(await world.clock.complete(() => world.transact(x!, increment)), 2);
    assert.equal(await world.clock.complete(world.read(y!, 'a')), 2);
    assert.ok(doubts > 0);
  });
}

test('while a slot is undecided a caller whose time ends hears unknown, and its id tells the fate later', async () => {
  const world = rig();
  const [node] = await world.start('x');
  world.hooks.set('x', next => ({
    append: async (...args): Promise<AppendResult> => {
      await next.append(...args);
      return { kind: 'unknown', cause: new Error('lost') };
    },
    read: async () => {
      throw new TandemError('UNAVAILABLE', 'away');
    },
  }));
  const request = { id: 'pay-1', inputHash: 'h' };
  await assert.rejects(
    world.clock.complete(() => world.transact(node!, increment, request)),
    {
      code: 'DEADLINE_EXCEEDED',
      outcome: 'unknown',
    },
  );
  world.hooks.clear();
  assert.equal(await world.clock.complete(() => world.transact(node!, increment, request)), 1);
  assert.equal(await world.clock.complete(world.read(node!, 'a')), 1);
});

test('concurrent increments at two instances add up exactly', async () => {
  const world = rig();
  const nodes = await world.start('x', 'y');
  const results = await world.clock.complete(() =>
    Promise.all(Array.from({ length: 400 }, (_, at) => world.transact(nodes[at % 2]!, increment))),
  );
  assert.equal(new Set(results).size, 400);
  assert.equal(await world.clock.complete(world.read(nodes[0]!, 'a')), 400);
});

test('a request id happens once: repeated it gives the first result, with another input it is refused', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  const request = { id: 'order-7', born: world.clock.now(), inputHash: 'one' };
  const both = world.clock.complete(() =>
    Promise.all([world.transact(x!, increment, request), world.transact(x!, increment, request)]),
  );
  assert.deepEqual(await both, [1, 1]);
  assert.equal(await world.clock.complete(() => world.transact(y!, increment, request)), 1);
  await assert.rejects(
    world.clock.complete(() => world.transact(x!, increment, { ...request, inputHash: 'two' })),
    { code: 'CONFLICT' },
  );
  assert.equal(await world.clock.complete(world.read(x!, 'a')), 1);
});

test('a request id is known to the next writer when the first one was killed', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  const request = { id: 'order-8', born: world.clock.now(), inputHash: 'one' };
  const writer = x!.keyspace.isWriter(0) ? x! : y!;
  const other = writer === x ? y! : x!;
  await world.clock.complete(() => world.transact(writer, increment, request));
  writer.kill();
  await world.clock.advance(3000);
  assert.ok(other.keyspace.isWriter(0), 'the other took over');
  assert.equal(await world.clock.complete(() => world.transact(other, increment, request)), 1);
});

test('an id older than the window is refused, never run, and its row is forgotten', async () => {
  const world = rig({ settings: { requestIdWindowMs: 1000 } });
  const [node] = await world.start('x');
  const request = { id: 'old', born: world.clock.now(), inputHash: '' };
  await world.clock.complete(() => world.transact(node!, increment, request));
  await world.clock.advance(2500);
  await world.clock.complete(() => world.transact(node!, increment));
  await assert.rejects(
    world.clock.complete(() => world.transact(node!, increment, request)),
    { code: 'EXPIRED' },
  );
  assert.equal(node!.stores.get(0)!.get('$request', 'old'), undefined);
  assert.equal(await world.clock.complete(world.read(node!, 'a')), 2);
});

test('a delivery happens once, and one at or below the floor is done without its id being kept', async () => {
  const world = rig();
  const [node] = await world.start('x');
  const system = node!.keyspace.system(0);
  const deadline = (): { deadline: number } => ({ deadline: world.clock.monotonic() + 1000 });
  const deliver = (number: number): Promise<unknown> =>
    world.clock.complete(() =>
      system.transact(
        { id: `e${number}`, delivery: { source: 's', number } },
        tx => tx.put('$n', 'n', Number(tx.get('$n', 'n') ?? 0) + 1),
        deadline(),
      ),
    );
  await deliver(1);
  await deliver(1);
  await deliver(2);
  assert.equal(system.get('$n', 'n'), 2);
  await world.clock.complete(() => system.raiseFloor('s', 2, deadline()));
  assert.equal([...node!.stores.get(0)!.scan('$delivery', '')].length, 0);
  await deliver(1);
  await deliver(3);
  assert.equal(system.get('$n', 'n'), 3);
});

test('emitted events come in order, from memory, from the log, and past an entry that does not continue the chain', async () => {
  const world = rig();
  const [x] = await world.start('x');
  const emit = (n: number): Promise<unknown> =>
    world.clock.complete(() => world.transact(x!, tx => tx.emit(sold, { key: 'a', n })));
  await emit(1);
  await emit(2);
  const engine = world.model.connect(world.clock.process());
  const tail = world.model.entries(log).length;
  const stranger = { ...decodeEntry(world.model.entries(log)[tail - 1]!), parent: 'f'.repeat(32) };
  await world.clock.complete(
    engine.log.append(log, tail, [encodeEntry(stranger)], { deadline: world.clock.monotonic() + 1000 }),
  );
  await world.clock.advance(100);
  await emit(3);
  const [y] = await world.start('y'); // knows the past only from the log
  await emit(4);
  for (const from of [1, tail, tail + 1]) {
    const seen = await world.clock.complete(() => Promise.all([x!, y!].map(node => events(node, from))));
    assert.deepEqual(seen[0], seen[1]);
    assert.deepEqual(seen[0]!.slice(-2), [pack({ key: 'a', n: 3 }), pack({ key: 'a', n: 4 })]);
    assert.equal(seen[0]!.length, from === 1 ? 4 : from === tail ? 3 : 2);
  }
  assert.equal(await world.clock.complete(world.read(y!, 'a')), undefined);
});

async function events(node: Awaited<ReturnType<Rig['start']>>[0], from: number): Promise<Uint8Array[]> {
  const seen: Uint8Array[] = [];
  const end = new AbortController();
  for await (const batch of node!.keyspace.emitted(0, from, end.signal)) {
    for (const event of batch.events) seen.push(event.body);
    if (batch.through >= node!.stores.get(0)!.head.position) end.abort();
  }
  return seen;
}

test('where nothing was emitted a new writer does not read the log again to find that out', async () => {
  const world = rig();
  const [x] = await world.start('x');
  for (let n = 0; n < 20; n++) await world.clock.complete(world.transact(x!, increment));
  const [before] = await world.start('y');
  before!.kill();
  const [y] = await world.start('y'); // knows its rows, and nothing else
  let reads = 0;
  world.hooks.set('y', log => ({
    read: (...args) => {
      reads++;
      return log.read(...args);
    },
  }));
  assert.deepEqual(await world.clock.complete(() => events(y!, 1)), []);
  assert.equal(reads, 0);
  await world.clock.complete(world.transact(x!, tx => tx.emit(sold, { key: 'a' })));
  await world.clock.complete(world.transact(x!, increment));
  await world.clock.advance(100);
  y!.kill();
  const [z] = await world.start('y');
  assert.equal((await world.clock.complete(() => events(z!, 1))).length, 1);
  assert.ok(reads > 0);
});

test('a writer that drains finishes what it took on, names its heir, and refuses what comes later as moved', async () => {
  const world = rig();
  const [x, y] = await world.start('x', 'y');
  await world.clock.advance(500);
  const writer = x!.keyspace.isWriter(0) ? x! : y!;
  const other = writer === x ? y! : x!;
  const taken = Array.from({ length: 20 }, () => world.transact(writer, increment));
  await world.clock.complete(() => writer.keyspace.drain(world.clock.monotonic() + 2000));
  assert.equal(new Set(await Promise.all(taken)).size, 20);
  await assert.rejects(
    world.clock.complete(() => world.transact(writer, increment)),
    { code: 'MOVED' },
  );
  await world.clock.advance(50);
  assert.ok(other.keyspace.isWriter(0), 'the heir took over at once');
  assert.equal(await world.clock.complete(() => world.transact(other, increment)), 21);
});

test('the writer snapshots and trims behind the relay, and a newcomer begins with the snapshot', async () => {
  const world = rig({ settings: { snapshotEntries: 5 } });
  const [x] = await world.start('x');
  const write = async (times: number): Promise<void> => {
    for (let n = 0; n < times; n++) {
      await world.clock.complete(() => world.transact(x!, increment));
      await world.clock.advance(60);
    }
  };
  const engine = world.model.connect(world.clock.process());
  const first = async (): Promise<number> =>
    (await world.clock.complete(engine.log.info(log, { deadline: world.clock.monotonic() + 1000 }))).first;
  await write(30);
  assert.equal(await first(), 1, 'nothing is trimmed before the relay has said how far it is');
  x!.keyspace.setTrimFloor(0, 12);
  await write(10);
  assert.equal(await first(), 12);
  x!.keyspace.setTrimFloor(0, 1000);
  await write(20);
  assert.ok((await first()) > 20);
  const [y] = await world.start('y');
  await world.clock.advance(100);
  assert.deepEqual(y!.stores.get(0)!.head.digest, x!.stores.get(0)!.head.digest);
  assert.equal(await world.clock.complete(() => world.transact(y!, increment)), 61);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { startBeatsInLoop } from '../failure-detection/beats-in-loop.ts';
import type { Bus } from '../log/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { openRegistry } from './open-registry.ts';

function localBus() {
  const receivers = new Set<(subject: string, body: Uint8Array) => void>();
  const watchers = new Set<(connected: boolean) => void>();
  let connected = true;
  const bus: Bus = {
    publish: (subject, body) => {
      if (connected) for (const receive of receivers) receive(subject, body);
    },
    subscribe: (_, receive) => {
      receivers.add(receive);
      return () => receivers.delete(receive);
    },
    get connected() {
      return connected;
    },
    onConnection: watcher => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
  const set = (value: boolean): void => {
    connected = value;
    for (const watcher of watchers) watcher(value);
  };
  return { bus, set, open: () => receivers.size + watchers.size };
}

function descriptor(hash: string, methods: string[], partitions = 4): Descriptor {
  const form = (name: string): MethodForm => ({
    name,
    errors: {},
    public: false,
    key: [],
    reads: false,
    timeoutMs: 5000,
    priority: 'default',
    idempotent: false,
    raw: false,
    fallback: false,
  });
  const keyspace = { partitions, replicas: 3 };
  return { format: 1, service: 'stock', hash, methods: methods.map(form), keyspace, topics: [], subscriptions: [] };
}

function world(describe: (address: string) => Promise<Descriptor>) {
  const clock = virtualClock();
  const { bus, set, open } = localBus();
  const registry = openRegistry({ bus, describe, clock, random: seededRandom(1), logger: silentLogger });
  const start = (id: string, descriptorHash = 'h1') => {
    const identity = {
      id,
      role: 'instance' as const,
      service: 'stock',
      node: 'n',
      zone: 'z',
      weight: 1,
      pid: 1,
      address: `memory://${id}`,
      descriptorHash,
    };
    const read = () => ({ ready: true, draining: false, inflight: 0, partitions: [] });
    const process = clock.process();
    return { beats: startBeatsInLoop({ bus, clock: process, identity, read }), process };
  };
  return { clock, registry, start, set, open };
}

test('an instance that cannot describe itself is asked again until it can, each kind once', async () => {
  let asked = 0;
  const { clock, registry, start } = world(async () => {
    if (++asked < 3) throw new TandemError('UNAVAILABLE', 'not yet');
    return descriptor('h1', ['get']);
  });
  start('stock-0-a');
  start('stock-1-b');
  await clock.advance(10_000);
  assert.equal(asked, 3);
  assert.equal(registry.descriptor('stock')!.hash, 'h1');
  assert.deepEqual(registry.services(), ['stock']);
});

test('until: resolves when it holds, and is UNAVAILABLE at the deadline', async () => {
  const { clock, registry, start } = world(async () => descriptor('h1', ['get']));
  const two = registry.until(() => registry.instances('stock').length === 2, 'two of stock', clock.monotonic() + 1000);
  start('stock-0-a');
  clock.after(300, () => start('stock-1-b'));
  await clock.complete(two);
  const three = registry.until(() => registry.instances('stock').length === 3, 'three', clock.monotonic() + 500);
  await assert.rejects(clock.complete(three), { code: 'UNAVAILABLE' });
});

test('a killed instance leaves within about a second, one that says farewell at once; the array stays the same meanwhile', async () => {
  const { clock, registry, start } = world(async () => descriptor('h1', ['get']));
  const one = start('stock-0-a');
  const two = start('stock-1-b');
  await clock.advance(5000);
  const both = registry.instances('stock');
  await clock.advance(1000);
  assert.equal(registry.instances('stock'), both);
  one.process.kill();
  await clock.advance(1300);
  assert.deepEqual(
    registry.instances('stock').map(({ beat }) => beat.id),
    ['stock-1-b'],
  );
  await two.beats.close();
  assert.equal(registry.instances('stock').length, 0);
  assert.equal(registry.descriptor('stock')?.hash, 'h1', 'still known, so that calls wait instead of NOT_FOUND');
});

test('losing the bus keeps everyone', async () => {
  const { clock, registry, start, set } = world(async () => descriptor('h1', ['get']));
  start('stock-0-a');
  await clock.advance(2000);
  set(false);
  await clock.advance(30_000);
  assert.equal(registry.instances('stock')[0]!.verdict, 'alive');
  set(true);
  await clock.advance(2000);
  assert.equal(registry.instances('stock')[0]!.verdict, 'alive');
});

test('two versions during a roll are no conflict, two services of one name are', async () => {
  const kinds: Record<string, Descriptor> = {
    'memory://stock-0-a': descriptor('h1', ['get']),
    'memory://stock-1-b': descriptor('h2', ['get', 'put']),
    'memory://stock-2-c': descriptor('h3', ['other']),
  };
  const { clock, registry, start } = world(async address => kinds[address]!);
  start('stock-0-a');
  await clock.advance(10);
  start('stock-1-b', 'h2');
  await clock.advance(1000);
  assert.deepEqual(
    registry
      .descriptors('stock')
      .map(({ hash }) => hash)
      .sort(),
    ['h1', 'h2'],
  );
  assert.equal(registry.descriptor('stock')!.hash, 'h2', 'the newest');
  assert.deepEqual(registry.conflicts(), []);
  start('stock-2-c', 'h3');
  await clock.advance(1000);
  assert.equal(registry.conflicts()[0]!.reason, 'they have no method in common');
});

test('closing takes away every timer and listener', async () => {
  const { clock, registry, start, open } = world(async () => descriptor('h1', ['get']));
  const one = start('stock-0-a');
  await clock.advance(1000);
  await one.beats.close();
  registry.close();
  assert.equal(clock.pending, 0);
  assert.equal(open(), 0);
});

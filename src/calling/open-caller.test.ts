import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import type { Channel, Dialer, LinkEnd, Reply, SendOptions } from '../core/channel.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import type { CallMeta } from '../core/meta.ts';
import { silentMeter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { silentTracer } from '../core/tracer.ts';
import type { Member, PartitionBeat, Verdict } from '../failure-detection/beat.ts';
import type { Registry } from '../naming/registry.ts';
import { partitionOf } from '../partitioning/hash.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { openCaller } from './open-caller.ts';
import { Session } from './session.ts';

type Answer = (body: unknown, options: SendOptions, address: string) => Promise<Reply>;

function form(name: string, more: Partial<MethodForm> = {}): MethodForm {
  return {
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
    ...more,
  };
}
const descriptor: Descriptor = {
  format: 1,
  service: 'stock',
  hash: 'h1',
  methods: [
    form('plain'),
    form('safe', { idempotent: true }),
    form('get', { key: ['sku'], reads: true, idempotent: true }),
    form('reserve', { key: ['sku'], idempotent: true }),
    form('live', { output: { stream: true, schema: {} }, idempotent: true }),
  ],
  keyspace: { partitions: 4, replicas: 3 },
  topics: [],
  subscriptions: [],
};

function member(id: string, more: { ready?: boolean; partitions?: PartitionBeat[]; verdict?: Verdict } = {}): Member {
  return {
    beat: {
      id,
      role: 'instance',
      service: 'stock',
      node: 'n',
      zone: 'z',
      weight: 1,
      pid: 1,
      address: `memory://${id}`,
      startedAt: 1,
      sequence: 1,
      sentAt: 1,
      ready: more.ready ?? true,
      draining: false,
      mainLoopSilentMs: 0,
      load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
      descriptorHash: 'h1',
      partitions: more.partitions ?? [],
      entryFormat: 1,
    },
    verdict: more.verdict ?? 'alive',
    since: 0,
    clockAheadMs: 0,
  };
}

function world(members: Member[], answer: Answer) {
  const clock = virtualClock();
  const listeners = new Set<() => void>();
  const broken: string[] = [];
  const refused: string[] = [];
  const sent: { address: string; method: string; meta: CallMeta }[] = [];
  let current = members;
  let version = 1;
  const registry: Registry = {
    members: () => current,
    instances: service => (service === 'stock' ? current : []),
    member: id => current.find(({ beat }) => beat.id === id),
    descriptor: service => (service === 'stock' ? descriptor : undefined),
    descriptors: service => (service === 'stock' ? [descriptor] : []),
    descriptorOf: () => descriptor,
    learning: () => false,
    conflicts: () => [],
    services: () => ['stock'],
    get version() {
      return version;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    until: (found, what, deadline) =>
      new Promise((resolve, reject) => {
        if (found(registry)) {
          resolve();
          return;
        }
        clock.after(deadline - clock.monotonic(), () => reject(new TandemError('UNAVAILABLE', what)));
      }),
    reportBroken: id => void broken.push(id),
    reportRefused: id => void refused.push(id),
  };
  const channels = new Map<string, { channel: Channel; close: (end?: LinkEnd) => void }>();
  const dialled: string[] = [];
  const dialer: Dialer = {
    dial(address) {
      let known = channels.get(address);
      if (!known) {
        const closers: ((end: LinkEnd) => void)[] = [];
        dialled.push(address);
        known = {
          close: (end = 'lost') => {
            channels.delete(address);
            for (const closer of closers) closer(end);
          },
          channel: {
            call(method, body, options) {
              sent.push({ address, method, meta: options.meta as CallMeta });
              return answer(body, options, address);
            },
            async *stream(method, body, options) {
              sent.push({ address, method, meta: options.meta as CallMeta });
              yield (await answer(body, options, address)).body;
              yield 'last';
            },
            onClose: listener => {
              closers.push(listener);
            },
            close: async () => {},
          },
        };
        channels.set(address, known);
      }
      return known.channel;
    },
  };
  const caller = openCaller({
    registry,
    dialer,
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    meter: silentMeter,
    tracer: silentTracer,
    self: { id: 'me' },
  });
  const change = (next: Member[]): void => {
    current = next;
    version++;
    for (const listener of [...listeners]) listener();
  };
  return { clock, caller, sent, broken, refused, dialled, change, channels, registry };
}
const fails = (code: ConstructorParameters<typeof TandemError>[0], details?: Record<string, unknown>): Promise<never> =>
  Promise.reject(new TandemError(code, code, details ? { details } : {}));
const partition = (key: string, ready: boolean, epoch: number): PartitionBeat => ({
  partition: partitionOf(key, 4),
  ready,
  epoch,
  position: 1,
});

test('an unknown service is NOT_FOUND and says which was meant', async () => {
  const { caller, clock } = world([], () => fails('INTERNAL'));
  await assert.rejects(
    clock.complete(() => caller.call('stok', 'get', {})),
    (error: TandemError) => {
      assert.equal(error.code, 'NOT_FOUND');
      assert.deepEqual(error.details, { didYouMean: ['stock'] });
      return true;
    },
  );
});

test('an unknown method is NOT_FOUND at once', async () => {
  const { caller } = world([member('a')], () => fails('INTERNAL'));
  await assert.rejects(caller.call('stock', 'reserv', {}), /did you mean stock.reserve/);
});

test('a call with an unknown fate is repeated only when the method is idempotent, and with the same request id', async () => {
  const { caller, clock, sent } = world([member('a'), member('b')], async (_, __, address) =>
    address === sent[0]!.address ? fails('INTERRUPTED') : { body: 'ok' },
  );
  await assert.rejects(
    clock.complete(() => caller.call('stock', 'plain', 1)),
    { code: 'INTERRUPTED', outcome: 'unknown' },
  );
  assert.equal(sent.length, 1);
  sent.length = 0;
  const { value } = await clock.complete(() => caller.call('stock', 'safe', 1));
  assert.equal(value, 'ok');
  assert.equal(sent.length, 2);
  assert.notEqual(sent[0]!.address, sent[1]!.address, 'the repeat goes elsewhere');
  assert.equal(sent[0]!.meta.requestId, sent[1]!.meta.requestId);
  assert.deepEqual(
    sent.map(({ meta }) => meta.repeated),
    [undefined, true],
    'and says that it is one',
  );
});

test('an answer of the contract is never repeated', async () => {
  const { caller, sent } = world([member('a'), member('b')], () =>
    Promise.reject(new DeclaredError('outOfStock', 409, { left: 1 })),
  );
  await assert.rejects(caller.call('stock', 'safe', 1), { code: 'outOfStock' });
  assert.equal(sent.length, 1);
});

test('after a try with unknown fate, no later error claims that nothing was done', async () => {
  const { caller, clock, sent } = world([member('a'), member('b')], () =>
    sent.length === 1 ? fails('INTERRUPTED') : fails('INVALID'),
  );
  await assert.rejects(
    clock.complete(() => caller.call('stock', 'safe', 1)),
    { code: 'INVALID', outcome: 'unknown' },
  );
});

test('when no instance is ready the call waits for one until its deadline', async () => {
  const { caller, clock, change } = world([member('a', { ready: false })], async () => ({ body: 'ok' }));
  clock.after(1500, () => change([member('a')]));
  assert.equal((await clock.complete(() => caller.call('stock', 'plain', 1))).value, 'ok');
  change([]);
  await assert.rejects(
    clock.complete(() => caller.call('stock', 'plain', 1, { timeoutMs: 300 })),
    { code: 'UNAVAILABLE', outcome: 'not-done' },
  );
});

test('a keyed write goes to the writer, a keyed read to any ready replica, never to one that is not', async () => {
  const { caller, sent } = world(
    [
      member('a', { partitions: [partition('x', true, 0)] }),
      member('b', { partitions: [partition('x', true, 7)] }),
      member('c', { partitions: [partition('x', false, 0)] }),
    ],
    async () => ({ body: 'ok' }),
  );
  for (let i = 0; i < 20; i++) await caller.call('stock', 'reserve', { sku: 'x' });
  assert.deepEqual([...new Set(sent.map(({ address }) => address))], ['memory://b']);
  sent.length = 0;
  for (let i = 0; i < 40; i++) await caller.call('stock', 'get', { sku: 'x' });
  assert.deepEqual([...new Set(sent.map(({ address }) => address))].sort(), ['memory://a', 'memory://b']);
});

test('a keyed write waits for the new writer while the old one is gone', async () => {
  let writer = 'memory://nobody';
  const { caller, clock, change } = world(
    [member('b', { partitions: [partition('x', true, 7)] })],
    async (_, __, address) => (address === writer ? { body: 'ok' } : fails('UNAVAILABLE')),
  );
  clock.after(900, () => {
    writer = 'memory://a';
    change([member('a', { partitions: [partition('x', true, 8)] })]);
  });
  assert.equal((await clock.complete(() => caller.call('stock', 'reserve', { sku: 'x' }))).value, 'ok');
});

test('MOVED with a hint is followed at once', async () => {
  const { caller, sent, clock } = world(
    [member('a', { partitions: [partition('x', true, 3)] }), member('b')],
    async (_, __, address) => (address === 'memory://a' ? fails('MOVED', { instance: 'b' }) : { body: 'ok' }),
  );
  const before = clock.monotonic();
  await caller.call('stock', 'reserve', { sku: 'x' });
  assert.deepEqual(
    sent.map(({ address }) => address),
    ['memory://a', 'memory://b'],
  );
  assert.equal(clock.monotonic(), before);
});

test('OVERLOADED is repeated only after the wait that was asked for', async () => {
  const { caller, clock, sent } = world([member('a')], () =>
    sent.length === 1 ? fails('OVERLOADED', { retryAfterMs: 400 }) : Promise.resolve({ body: 1 }),
  );
  const before = clock.monotonic();
  await clock.complete(() => caller.call('stock', 'plain', 1));
  assert.ok(clock.monotonic() - before >= 400);
});

test('the retry budget ends a storm of retries', async () => {
  const { caller, clock, sent } = world([member('a'), member('b'), member('c')], () => fails('OVERLOADED'));
  const calls = Array.from({ length: 500 }, () => caller.call('stock', 'plain', 1).catch(() => {}));
  await clock.complete(() => Promise.all(calls));
  assert.ok(sent.length < 500 + 100 + 100 + 30, `${sent.length} tries`);
});

test('a connection that ends is evidence for the registry', async () => {
  const { caller, broken, channels } = world([member('a')], async () => ({ body: 1 }));
  await caller.call('stock', 'plain', 1);
  channels.get('memory://a')!.close();
  assert.deepEqual(broken, ['a']);
});

test('a link that ends is dialled anew until it is refused: that process is dead', async () => {
  const one = { ...member('a') };
  const { caller, broken, refused, dialled, channels, clock } = world([one], async () => ({ body: 1 }));
  const end = (why: LinkEnd): void => channels.get('memory://a')!.close(why);
  caller.watch(one);
  caller.watch(one);
  assert.equal(dialled.length, 1);
  end('lost');
  assert.deepEqual([dialled.length, broken, refused], [2, ['a'], []]);
  end('lost');
  assert.equal(dialled.length, 2, 'a process that is being killed resets what its kernel took: there is a pause');
  await clock.advance(5);
  assert.equal(dialled.length, 3);
  end('not-tried');
  assert.deepEqual([broken.length, refused.length], [2, 0], 'what was not tried is no evidence');
  await clock.advance(5);
  end('refused');
  assert.deepEqual(refused, ['a']);
  Object.assign(one, { verdict: 'dead' });
  await clock.advance(1000);
  assert.equal(dialled.length, 4);
});

test('a line that breaks again and again is dialled a few times for each beat interval, no more', async () => {
  const { caller, dialled, channels, clock } = world([member('a')], async () => ({ body: 1 }));
  for (let ms = 0; ms < 5000; ms++) {
    caller.watch(caller.registry.members()[0]!);
    await clock.advance(1);
    if (ms % 100 === 0) channels.get('memory://a')!.close('lost');
  }
  assert.ok(dialled.length < 120, `${dialled.length}`);
  caller.close();
  await clock.advance(1000);
  assert.equal(clock.pending, 0);
});

test('an instance that sent calls on to one that is gone is not taken for broken itself', async () => {
  let instance = 'gone';
  const { caller, clock } = world([member('a')], () => fails('INTERRUPTED', { instance }));
  const waitedMs = async (): Promise<number> => {
    const before = clock.monotonic();
    for (let n = 0; n < 10; n++) await assert.rejects(clock.complete(() => caller.call('stock', 'plain', n)));
    return clock.monotonic() - before;
  };
  assert.equal(await waitedMs(), 0, 'its circuit stays closed');
  instance = 'a';
  assert.ok((await waitedMs()) > 100, 'its own silence opens it');
});

test('links to a process that is dead are given up, so that calls under way need not wait for their deadlines', async () => {
  const one = { ...member('a') };
  const { caller, channels, change } = world([one], async () => ({ body: 1 }));
  await caller.call('stock', 'plain', 1);
  let given = 0;
  channels.get('memory://a')!.channel.close = async () => void given++;
  change([one]);
  assert.equal(given, 0);
  Object.assign(one, { verdict: 'dead' });
  change([one]);
  change([one]);
  assert.equal(given, 1);
});

test('a fallback answers system failures, says so, and never hides an answer of the contract', async () => {
  let failure: unknown = new TandemError('INTERNAL', 'broken');
  const { caller } = world([member('a')], () => Promise.reject(failure));
  const answered = await caller.call('stock', 'plain', 1, { fallback: () => 'instead' });
  assert.equal(answered.value, 'instead');
  assert.equal(answered.meta.degraded, true);
  failure = new DeclaredError('no', 404, undefined);
  await assert.rejects(caller.call('stock', 'plain', 1, { fallback: () => 'instead' }), { code: 'no' });
});

test('the session goes along and comes back advanced', async () => {
  const { caller, sent } = world([member('a')], async () => ({
    body: 1,
    meta: { session: { positions: [['state/stock/1', 9]] } },
  }));
  const session = Session.fromForm({ positions: [['state/stock/1', 4]] });
  await caller.call('stock', 'plain', 1, { session });
  assert.deepEqual(sent[0]!.meta.session, { positions: [['state/stock/1', 4]] });
  assert.equal(session.position('state/stock/1'), 9);
});

test('a hedge asks a second instance when the first is slow, and cancels the loser', async () => {
  const aborted: string[] = [];
  const { caller, clock, sent } = world([member('a'), member('b')], (_, options, address) =>
    address === sent[0]!.address
      ? new Promise((_resolve, reject) =>
          options.signal!.addEventListener('abort', () => {
            aborted.push(address);
            reject(new TandemError('CANCELED', 'x'));
          }),
        )
      : Promise.resolve({ body: 'second' }),
  );
  const { value } = await clock.complete(() => caller.call('stock', 'safe', 1, { hedgeMs: 50 }));
  assert.equal(value, 'second');
  assert.equal(sent[0]!.meta.requestId, sent[1]!.meta.requestId);
  assert.deepEqual(aborted, [sent[0]!.address]);
});

test('a cancelled call stops trying', async () => {
  const { caller, clock } = world([], async () => ({ body: 1 }));
  const controller = new AbortController();
  clock.after(100, () => controller.abort());
  await assert.rejects(
    clock.complete(() => caller.call('stock', 'plain', 1, { signal: controller.signal })),
    { code: 'CANCELED', outcome: 'not-done' },
  );
});

test('a stream is opened elsewhere when its first try fails, then delivers', async () => {
  const { caller, clock, sent } = world([member('a'), member('b')], () =>
    sent.length === 1 ? fails('UNAVAILABLE') : Promise.resolve({ body: 'first' }),
  );
  const items = await clock.complete(() => itemsOf(caller.stream('stock', 'live', {})));
  assert.deepEqual(items, ['first', 'last']);
});

test('calls spread over all ready instances', async () => {
  const { caller, sent } = world([member('a'), member('b'), member('c')], async () => ({ body: 1 }));
  for (let i = 0; i < 300; i++) await caller.call('stock', 'plain', 1);
  for (const id of ['a', 'b', 'c']) {
    const share = sent.filter(({ address }) => address === `memory://${id}`).length;
    assert.ok(share > 60 && share < 140, `${id}: ${share}`);
  }
});

async function itemsOf(stream: AsyncIterable<unknown>): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

test('with ip-hash all calls for one client go to one instance, whoever else calls', async () => {
  const all = Array.from({ length: 5 }, (_, i) => member(`i${i}`));
  const { caller, sent } = world(all, async () => ({ body: 1 }));
  caller.setStrategy('stock', 'ip-hash');
  assert.deepEqual(caller.strategyOf('stock').switched, 'ip-hash');
  const places = new Map<string, Set<string>>();
  for (let n = 0; n < 200; n++) {
    const address = `10.0.0.${n % 20}`;
    await caller.call('stock', 'plain', n, { caller: { address } });
    const used = places.get(address) ?? new Set();
    places.set(address, used.add(sent.at(-1)!.address));
  }
  assert.ok([...places.values()].every(({ size }) => size === 1));
  assert.ok(new Set([...places.values()].flatMap(used => [...used])).size > 2, 'clients are spread');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Balance, balanceForm, type Strategy } from '../contract/balance.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { openCircuitBreaker } from '../degradation/circuit-breaker.ts';
import type { Beat, Member } from '../failure-detection/beat.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { Balancer } from './balancer.ts';
import { Target } from './target.ts';

type Change = Partial<Pick<Beat, 'zone' | 'weight' | 'startedAt'>>;

function rig(
  names: readonly string[],
  balance: Strategy | Balance,
  beatOf: (name: string, now: number) => Change = () => ({}),
) {
  const clock = virtualClock();
  const counter = silentMeter.counter('picked');
  const targets = names.map(id => {
    const beat = {
      id,
      service: 's',
      zone: 'here',
      weight: 1,
      startedAt: 0,
      load: { cpu: 0.1, loopDelayMs: 1, inflight: 0 },
    };
    const member = {
      beat: { ...beat, ...beatOf(id, clock.now()) },
      verdict: 'alive',
      clockAheadMs: 0,
    } as unknown as Member;
    return new Target(member, openCircuitBreaker({ clock }), counter);
  });
  const state = { form: balanceForm('s', balance) };
  const balancer = new Balancer({
    service: 's',
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    meter: silentMeter,
    zone: 'here',
    form: () => state.form,
    targets: () => targets,
  });
  const none = new Set<Target>();
  const shares = (picks = 1000, tried: ReadonlySet<Target> = none): Record<string, number> => {
    const found: Record<string, number> = Object.fromEntries(names.map(name => [name, 0]));
    for (let i = 0; i < picks; i++) {
      const picked = balancer.pick(targets, tried, i);
      assert.ok(picked instanceof Target);
      found[picked.member.beat.id]!++;
    }
    return found;
  };
  return { clock, balancer, targets, shares, state };
}

test('what the service says is followed, and followed anew when it says otherwise', async () => {
  const { balancer, shares, state, clock } = rig(['a', 'b', 'c'], 'round-robin');
  shares(1);
  assert.equal(balancer.strategy, 'round-robin');
  state.form = balanceForm('s', 'ip-hash');
  await clock.advance(250);
  shares(1);
  assert.equal(balancer.strategy, 'ip-hash');
});

test('a switch by hand goes before what the service and its rules say, until it is taken back', () => {
  const rules = [{ when: { inflight: 0 }, strategy: 'dynamic' }] as const;
  const { balancer, shares } = rig(['a', 'b'], { strategy: 'round-robin', rules });
  shares(1);
  assert.equal(balancer.strategy, 'dynamic');
  balancer.override('power-of-two-choices');
  shares(1);
  assert.equal(balancer.strategy, 'power-of-two-choices');
  balancer.override(undefined);
  shares(1);
  assert.equal(balancer.strategy, 'dynamic');
});

test('weights of machines and the slow start of new instances both count', async () => {
  const { shares, clock } = rig(
    ['old', 'strong', 'new'],
    { strategy: 'weighted-round-robin', slowStart: '10s' },
    (name, now) => ({
      weight: name === 'strong' ? 2 : 1,
      startedAt: name === 'new' ? now - 1000 : 0,
    }),
  );
  const early = shares(3100);
  assert.ok(Math.abs(early.new! - 100) < 5 && Math.abs(early.strong! - 2000) < 5, JSON.stringify(early));
  await clock.advance(10_000);
  const late = shares(4000);
  assert.ok(Math.abs(late.new! - 1000) < 5, JSON.stringify(late));
});

test('instances of the own zone get all calls while enough of them are well', () => {
  const zoneOf = (name: string): Change => ({ zone: name.startsWith('far') ? 'there' : 'here' });
  const { shares, targets, balancer } = rig(['near1', 'near2', 'far1', 'far2'], 'round-robin', zoneOf);
  assert.deepEqual(shares(), { near1: 500, near2: 500, far1: 0, far2: 0 });
  for (let i = 0; i < 5; i++) balancer.failed(targets[0]!, 10);
  // One of two is well: 70 % stay near, the rest goes to all that are well.
  const found = shares(3000);
  assert.equal(found.near1, 0);
  assert.ok(found.near2! > 2250 && found.near2! < 2550, JSON.stringify(found));
});

test('a zone with less than its part of the instances is not flooded by its callers', () => {
  const zoneOf = (name: string): Change => ({ zone: name === 'near' ? 'here' : 'there' });
  const { shares } = rig(['near', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6'], 'round-robin', zoneOf);
  const { near } = shares(7000);
  assert.ok(near! > 2500 && near! < 3900, `${near} of 7000`);
  const any = rig(['near', 'f1', 'f2'], { strategy: 'round-robin', zones: 'any' }, zoneOf);
  assert.equal(any.shares(300).near, 100);
});

test('when most are ejected none is left out: all of them are rarely wrong', () => {
  const { shares, targets, balancer } = rig(['a', 'b', 'c'], 'round-robin');
  for (const target of targets.slice(0, 2)) for (let i = 0; i < 5; i++) balancer.failed(target, 10);
  const one = shares();
  assert.ok(one.a === 0 && one.b! > 0, 'only one may be ejected');
});

test('who failed this very call is picked only when there is nobody else', () => {
  const { shares, targets } = rig(['a', 'b', 'c'], 'least-connections');
  const [a, b, c] = targets as [Target, Target, Target];
  assert.deepEqual(shares(100, new Set([a, b])), { a: 0, b: 0, c: 100 });
  assert.equal(shares(300, new Set([a, b, c])).a! > 0, true);
});

test('full instances get nothing, and when all are full the caller hears so', () => {
  const { balancer, targets } = rig(['a', 'b'], { strategy: 'round-robin', inflightMax: 2 });
  const picked: Target[] = [];
  for (;;) {
    const target = balancer.pick(targets, new Set(), undefined);
    if (!(target instanceof Target)) {
      assert.equal(target, 'full');
      break;
    }
    target.inflight++;
    picked.push(target);
  }
  assert.deepEqual(picked.map(({ member }) => member.beat.id).sort(), ['a', 'a', 'b', 'b']);
  assert.equal(balancer.pick([], new Set(), undefined), undefined);
});

test('those who wait for room come first come first served, are bounded, and give up in time', async () => {
  const { balancer, clock, targets } = rig(['a'], { inflightMax: 1, queueMax: 2 });
  const { places, queueMax } = balancer;
  const order: string[] = [];
  const wait = (name: string, deadlineMs: number, signal?: AbortSignal): Promise<void> =>
    places.wait('s', targets, queueMax, clock.monotonic() + deadlineMs, signal).then(
      () => void order.push(name),
      ({ code }) => void order.push(`${name} ${code}`),
    );
  const canceled = new AbortController();
  void wait('first', 1000);
  void wait('second', 50, canceled.signal);
  await wait('third', 1000);
  assert.deepEqual(order, ['third OVERLOADED']);
  canceled.abort();
  await clock.advance(0);
  void wait('fourth', 20);
  places.next(targets[0]!);
  await clock.advance(30);
  assert.deepEqual(order, ['third OVERLOADED', 'second CANCELED', 'first', 'fourth DEADLINE_EXCEEDED']);
  assert.equal(places.waiting, 0);
});

test('pickers see the same array for the same instances, or turns would begin anew at each pick', () => {
  const { shares, targets, balancer } = rig(['a', 'b', 'c', 'd'], 'weighted-round-robin');
  for (let i = 0; i < 5; i++) balancer.failed(targets[0]!, 10);
  assert.deepEqual(shares(300), { a: 0, b: 100, c: 100, d: 100 });
});

test('what callers cannot follow is refused with the words that they could', () => {
  const refused = (balance: object, message: RegExp): void =>
    assert.throws(() => balanceForm('shop', balance as Balance), { code: 'INVALID', message });
  refused({ strategy: 'round-robbin' }, /there is no strategy 'round-robbin'; did you mean round-robin\?/);
  refused({ strategie: 'dynamic' }, /there is no 'strategie'; known: strategy, rules/);
  refused({ inflightMax: 0 }, /inflightMax is a whole number above 0/);
  refused({ queueMax: -1 }, /queueMax/);
  refused({ slowStart: 'soon' }, /is not a duration/);
  refused({ zones: 'far' }, /neither near nor any/);
  refused({ rules: [{ when: {}, strategy: 'dynamic' }] }, /a rule needs a condition/);
  refused({ rules: [{ when: { weather: 1 }, strategy: 'dynamic' }] }, /rules know no 'weather'/);
  refused({ rules: [{ when: { cpu: Number.NaN }, strategy: 'dynamic' }] }, /must be a number/);
});

test('room at an instance wakes the first who may have it, not one for whom it is of no use', async () => {
  const { balancer, clock, targets } = rig(['a', 'b'], { inflightMax: 1 });
  const [a, b] = targets as [Target, Target];
  const { places, queueMax } = balancer;
  const woken: string[] = [];
  const wait = (name: string, candidates: readonly Target[]): void =>
    void places.wait('s', candidates, queueMax, clock.monotonic() + 1000, undefined).then(
      () => woken.push(name),
      () => {},
    );
  wait('for a', [a]);
  wait('for b', [b]);
  wait('for both', targets);
  places.next(b);
  await clock.advance(0);
  assert.deepEqual(woken, ['for b']);
  places.next(b);
  await clock.advance(0);
  assert.deepEqual(woken, ['for b', 'for both']);
  places.all();
  await clock.advance(0);
  assert.deepEqual(woken, ['for b', 'for both', 'for a']);
});

test('an answer that is not to be compared leaves the latency of its instance as it was', () => {
  const { balancer, targets } = rig(['a', 'b'], 'least-response-time');
  balancer.succeeded(targets[0]!, undefined);
  assert.equal(targets[0]!.latencyMs, 0);
  balancer.succeeded(targets[0]!, 7);
  assert.equal(targets[0]!.latencyMs, 7);
});

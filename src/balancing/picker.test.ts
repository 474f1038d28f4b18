import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Strategy, strategies } from '../contract/balance.ts';
import { seededRandom } from '../core/random.ts';
import { dynamicWeight } from './dynamic-weight.ts';
import { PeakEwma } from './peak-ewma.ts';
import { type Known, known, pickerSuite } from './picker.contract-suite.ts';
import { openPicker } from './strategy.ts';

for (const strategy of strategies)
  pickerSuite(strategy, random => openPicker<Known>(strategy, random), {
    honoursWeights: strategy === 'weighted-round-robin',
    sticky: strategy === 'ip-hash',
  });

/** Which of the candidates get calls, and how many of 1000. */
function spread(strategy: Strategy, candidates: readonly Known[], client?: number): Record<string, number> {
  const picker = openPicker<Known>(strategy, seededRandom(1));
  const found: Record<string, number> = Object.fromEntries(candidates.map(({ name }) => [name, 0]));
  for (let i = 0; i < 1000; i++) found[picker.pick(candidates, client)!.name]!++;
  return found;
}

function withOpen(...inflight: readonly number[]): Known[] {
  return inflight.map((open, i) => Object.assign(known(`t${i}`), { inflight: open }));
}

test('least connections avoids the one with many open calls, and gives a heavy one more of them', () => {
  assert.deepEqual(spread('least-connections', withOpen(9, 1, 1)).t0, 0);
  const [heavy, light] = withOpen(5, 2) as [Known, Known];
  heavy.weight = 3;
  assert.deepEqual(spread('least-connections', [heavy, light]), { t0: 1000, t1: 0 });
});

test('the power of two choices leaves the most loaded of all out', () => {
  const found = spread('power-of-two-choices', withOpen(9, 1, 1, 1));
  assert.equal(found.t0, 0);
});

test('the power of two choices keeps queues nearly as even as asking all', () => {
  // Balls into bins: n balls into n bins give a fullest bin near ln n / ln ln n at random (about 4 to 8), near log2 log2 n with two choices.
  const targets = Array.from({ length: 1000 }, (_, i) => known(`t${i}`));
  const picker = openPicker<Known>('power-of-two-choices', seededRandom(4));
  for (let i = 0; i < 1000; i++) picker.pick(targets)!.inflight++;
  assert.ok(Math.max(...targets.map(({ inflight }) => inflight)) <= 4);
});

test('least response time prefers the faster, tries the unknown once, and weighs what waits', () => {
  const [slow, fast] = withOpen(0, 0) as [Known, Known];
  slow.latencyMs = 50;
  fast.latencyMs = 5;
  assert.equal(spread('least-response-time', [slow, fast]).t0, 0);
  fast.inflight = 20; // 105 ms expected
  assert.equal(spread('least-response-time', [slow, fast]).t1, 0);
  const fresh = Object.assign(known('new'), { latencyMs: 0 });
  assert.equal(spread('least-response-time', [fast, fresh]).new, 1000);
  fresh.inflight = 1; // its first answer is awaited
  assert.equal(spread('least-response-time', [fast, fresh]).new, 0);
});

test('a client that floods its target is passed on, to the same next choices each time', () => {
  const all = withOpen(0, 0, 0, 0, 0);
  const picker = openPicker<Known>('ip-hash', seededRandom(1));
  const client = 0xc0ffee;
  for (let i = 0; i < 100; i++) picker.pick(all, client)!.inflight++;
  const most = Math.max(...all.map(({ inflight }) => inflight));
  assert.ok(most <= Math.ceil((1.25 * 101) / 5), `${most} at one of five, of 100`);
});

test('ip hash gives targets of unequal weight clients in proportion', () => {
  const all = [known('one', 1), known('three', 3)];
  const picker = openPicker<Known>('ip-hash', seededRandom(1));
  const random = seededRandom(8);
  let three = 0;
  for (let i = 0; i < 20_000; i++) if (picker.pick(all, random.below(0x1_0000_0000))!.name === 'three') three++;
  assert.ok(Math.abs(three / 20_000 - 0.75) < 0.015, `${three / 20_000}`);
});

test('a weighted turn is spread out, not bunched', () => {
  const picker = openPicker<Known>('weighted-round-robin', seededRandom(2));
  const all = [known('a', 5), known('b', 1), known('c', 1)];
  const turns = Array.from({ length: 70 }, () => picker.pick(all)!.name).join('');
  assert.ok(!turns.includes('aaaaa'), turns);
});

test('a peak counts at once and fades', () => {
  const latency = new PeakEwma();
  assert.equal(latency.value(0), 0);
  latency.observe(10, 1000);
  latency.observe(500, 1100);
  assert.ok(latency.value(1100) === 500);
  latency.observe(10, 1200);
  assert.ok(latency.value(1200) > 450);
  assert.ok(latency.value(31_200) < 30);
});

test('a failure never makes a target look faster', () => {
  const latency = new PeakEwma();
  latency.observe(100, 0);
  for (let i = 1; i < 50; i++) latency.failed(0.1, i * 10);
  assert.ok(latency.value(500) >= 90);
});

test('each kind of trouble lowers a dynamic weight, slowly, none to nothing', () => {
  const after = (reports: number, ...[load, mean, errors]: [typeof calm, number, number]): number => {
    let weight = 1;
    for (let i = 0; i < reports; i++) weight = dynamicWeight(weight, load, mean, errors);
    return weight;
  };
  const calm = { cpu: 0.2, loopDelayMs: 1, inflight: 3 };
  const base = after(100, calm, 3, 0);
  assert.ok(base > 0.7);
  for (const [load, errors] of [
    [{ ...calm, cpu: 0.9 }, 0],
    [{ ...calm, loopDelayMs: 60 }, 0],
    [{ ...calm, inflight: 30 }, 0],
    [calm, 0.5],
  ] as const) {
    const weight = after(100, load, 3, errors);
    assert.ok(weight < base / 2 && weight >= 0.05, `${weight} of ${base}`);
    assert.ok(after(1, load, 3, errors) > base / 2, 'one report does not send everybody away');
  }
  assert.ok(Math.abs(after(1000, { cpu: 3, loopDelayMs: 10_000, inflight: 1e6 }, 0, 1) - 0.05) < 1e-9);
});

test('a dynamic weight counts between two that are drawn', () => {
  const [busy, calm] = [known('busy'), known('calm')];
  busy.dynamicWeight = 0.2;
  assert.deepEqual(spread('dynamic', [busy, calm]), { busy: 0, calm: 1000 });
  calm.inflight = 6;
  assert.deepEqual(spread('dynamic', [busy, calm]), { busy: 1000, calm: 0 });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BalanceRule } from '../contract/balance.ts';
import { seededRandom } from '../core/random.ts';
import { type Known, known } from './picker.contract-suite.ts';
import { figuresOf, type Seen, Switch } from './rules.ts';
import { Shadow } from './shadow.ts';
import { slowStartShare } from './slow-start.ts';
import { nearShare } from './zones.ts';

test('all calls stay near while enough near targets are well, then ever fewer', () => {
  assert.equal(nearShare(3, 3), 1);
  assert.equal(nearShare(8, 10), 1);
  assert.ok(Math.abs(nearShare(5, 10) - 0.7) < 1e-9);
  assert.equal(nearShare(0, 10), 0);
  assert.equal(nearShare(0, 0), 0);
});

test('a new target grows from a tenth to its whole share', () => {
  assert.equal(slowStartShare(0, 10_000), 0.1);
  assert.equal(slowStartShare(5000, 10_000), 0.5);
  assert.equal(slowStartShare(10_000, 10_000), 1);
  assert.equal(slowStartShare(-50, 10_000), 0.1, 'a clock that is ahead');
  assert.equal(slowStartShare(3, 0), 1);
});

const calm: Seen = { cpu: 0.2, loopDelayMs: 1, inflight: 2, errorShare: 0, latencyMs: 5 };

test('the first rule whose condition holds decides, and stands for ten seconds', () => {
  const rules: BalanceRule[] = [
    { when: { latencySpread: 3 }, strategy: 'least-response-time' },
    { when: { cpu: 0.8, loopDelayMs: 20 }, strategy: 'dynamic' },
  ];
  const rule = new Switch(rules, 'round-robin');
  assert.equal(rule.look(figuresOf([calm, calm]), 0), 'round-robin');
  const one = { ...calm, latencyMs: 100 };
  assert.equal(rule.look(figuresOf([calm, calm, calm, one]), 1000), 'least-response-time');
  assert.equal(rule.look(figuresOf([calm, calm]), 10_999), 'least-response-time');
  assert.equal(rule.look(figuresOf([calm, calm]), 11_001), 'round-robin');
  const busy = { ...calm, cpu: 0.9 };
  assert.equal(rule.look(figuresOf([busy, busy]), 30_000), 'round-robin', 'both conditions must hold');
  assert.equal(rule.look(figuresOf([{ ...busy, loopDelayMs: 50 }]), 30_001), 'dynamic');
});

test('figures of nobody are zeros', () => {
  assert.deepEqual(new Set(Object.values(figuresOf([]))), new Set([0]));
});

test('the shadow score tells strategies that see a slow target from those that do not', () => {
  const shadow = new Shadow<Known>(seededRandom(3));
  const all = ['a', 'b', 'c', 'd', 'slow'].map(name => known(name));
  for (const target of all) Object.assign(target, { latencyMs: target.name === 'slow' ? 200 : 5, inflight: 1 });
  assert.ok(Number.isNaN(shadow.score('round-robin')));
  for (let i = 0; i < 64_000; i++) shadow.picked(all, i);
  assert.ok(shadow.score('least-response-time') < 25);
  assert.ok(shadow.score('round-robin') > 50);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AlertRule, type AlertState, standingRules, stepAlerts } from './alerts.ts';

const rule: AlertRule<boolean> = {
  name: 'bad',
  severity: 'page',
  forMs: 5000,
  find: bad => (bad ? [{ subject: 'x', text: 'x is bad' }] : []),
};

test('a blip shorter than the rule asks for calls nobody', () => {
  let state: AlertState = new Map();
  for (const [at, bad] of [
    [0, true],
    [4000, true],
    [5000, false],
    [6000, true],
    [10_000, true],
  ] as const) {
    const step = stepAlerts(state, [rule], bad, at);
    assert.deepEqual(step.changes, []);
    state = step.state;
  }
  assert.equal([...state.values()][0]?.state, 'pending');
});

test('pending, firing once, resolved once, and forgotten after a while', () => {
  let state: AlertState = new Map();
  const told: string[] = [];
  for (let at = 0; at < 1_000_000; at += 1000) {
    const step = stepAlerts(state, [rule], at < 20_000, at);
    for (const change of step.changes) told.push(`${at} ${change.state}`);
    state = step.state;
  }
  assert.deepEqual(told, ['5000 firing', '20000 resolved']);
  assert.equal(state.size, 0);
});

test('the standing rules see a dead instance, a lost engine, failing calls, a service without instances and a stopped subscription', () => {
  const { state } = stepAlerts(
    new Map(),
    standingRules(),
    {
      processes: [
        { id: 'inventory-4-a', role: 'instance', name: 'inventory-4', verdict: 'dead' },
        { id: 'engine-1-a', role: 'engine', name: 'engine-1', verdict: 'dead' },
        { id: 'orders-1-a', role: 'instance', name: 'orders-1', verdict: 'slow' },
      ],
      services: [
        { name: 'orders', ready: 0, requestsPerSecond: 5, errorShare: 0.2 },
        { name: 'quiet', ready: 1, requestsPerSecond: 0, errorShare: 0 },
      ],
      partitionsWithoutWriter: [],
      deadLetters: [],
      stoppedSubscriptions: [{ topic: 'orders', subscription: 'shop.book', partitions: 2 }],
    },
    0,
  );
  assert.equal(
    state.get('subscription stopped orders shop.book')?.text,
    'shop.book is stopped in 2 partitions of orders; why and what to do: tandem topic show orders',
  );
  const found = [...state.values()].map(alert => `${alert.rule}: ${alert.subject} ${alert.state}`);
  assert.deepEqual(found, [
    'instance dead: inventory-4-a firing',
    'engine unreachable: engine firing',
    'service down: orders pending',
    'error rate: orders pending',
    'subscription stopped: orders shop.book firing',
  ]);
});

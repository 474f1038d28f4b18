import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partitionOf } from './hash.ts';
import { movePlan } from './move-plan.ts';
import { placement } from './placement.ts';

const members = Array.from({ length: 10 }, (_, at) => `inventory-${at}-life`);

test('keys that share the text before the first slash lie together, and keys spread evenly', () => {
  assert.equal(partitionOf('order-1/lines/3', 64), partitionOf('order-1', 64));
  const counts = new Array<number>(8).fill(0);
  for (let n = 0; n < 8000; n++) counts[partitionOf(`key-${n}`, 8)]!++;
  assert.ok(Math.min(...counts) > 850 && Math.max(...counts) < 1150, counts.join());
});

test('all compute the same placement, each partition on distinct members, none with far more than its share', () => {
  const held = new Map<string, number>();
  for (let partition = 0; partition < 64; partition++) {
    const placed = placement('inventory', partition, members, 3);
    assert.equal(new Set(placed).size, 3);
    assert.deepEqual(placement('inventory', partition, members.toReversed(), 3), placed);
    for (const id of placed) held.set(id, (held.get(id) ?? 0) + 1);
  }
  assert.ok(Math.max(...held.values()) < 40, [...held.values()].join());
});

test('a restarted instance gets the same partitions back', () => {
  const after = members.map(id => (id === 'inventory-3-life' ? 'inventory-3-next' : id));
  for (let partition = 0; partition < 64; partition++) {
    const before = placement('inventory', partition, members, 3).includes('inventory-3-life');
    assert.equal(placement('inventory', partition, after, 3).includes('inventory-3-next'), before);
  }
});

test('a member that joins takes only what it wins, and each partition it takes is given up by one other', () => {
  const plan = movePlan('inventory', 64, 3, members, [...members, 'inventory-10-life']);
  const takes = plan.filter(({ kind }) => kind === 'take');
  const gives = plan.filter(({ kind }) => kind === 'give');
  assert.ok(takes.every(({ member }) => member === 'inventory-10-life'));
  assert.deepEqual(takes.map(({ partition }) => partition).sort(), gives.map(({ partition }) => partition).sort());
  assert.ok(takes.length > 5 && takes.length < 35, String(takes.length));
});

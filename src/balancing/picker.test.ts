import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { leastConnections } from './least-connections.ts';
import { pickerSuite } from './picker.contract-suite.ts';
import { openPicker, strategies } from './strategy.ts';

for (const strategy of strategies) pickerSuite(strategy, options => openPicker(strategy, options));

test('least connections avoids the one with many open calls', () => {
  const open = new Map([
    ['a', 9],
    ['b', 1],
    ['c', 1],
  ]);
  const picker = leastConnections<string>({ inflight: id => open.get(id)!, random: seededRandom(1) });
  const picked = new Set(Array.from({ length: 50 }, () => picker.pick(['a', 'b', 'c'])));
  assert.deepEqual([...picked].sort(), ['b', 'c']);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partitionOf } from './hash.ts';
import {
  afterDividing,
  dividing,
  heirsOf,
  livingNumbers,
  newerMap,
  numberOfKey,
  type PartitionMap,
  predecessorOf,
  sideOf,
  sliceOf,
  steadyMap,
  successorsOf,
} from './partition-map.ts';

const keys = Array.from({ length: 500 }, (_, n) => `key-${n}`);

function doubling(map: PartitionMap): PartitionMap {
  return { ...map, version: map.version + 1, to: 2 * map.count };
}

test('without a change numbers are what the hash says', () => {
  for (const key of keys) assert.equal(numberOfKey(steadyMap(6), key), partitionOf(key, 6));
  assert.deepEqual(livingNumbers(steadyMap(3)), [0, 1, 2]);
  assert.equal(dividing(steadyMap(3)), undefined);
});

test('at every step of two doublings each key lies in one living partition, and moves only when its own is divided', () => {
  let map = steadyMap(3);
  const used = new Set(livingNumbers(map));
  for (const count of [3, 6]) {
    map = doubling(map);
    for (let step = 0; step < count; step++) {
      const number = dividing(map)!;
      const next = afterDividing(map);
      const [lower, upper] = successorsOf(map.first, number);
      for (const fresh of [lower, upper]) {
        assert.ok(!used.has(fresh), `${fresh} was used before`);
        used.add(fresh);
        assert.equal(predecessorOf(map.first, fresh), number);
      }
      assert.ok(livingNumbers(map).includes(number) && !livingNumbers(next).includes(number));
      assert.deepEqual(heirsOf(next, number), [lower, upper]);
      for (const key of keys) {
        const [before, after] = [numberOfKey(map, key), numberOfKey(next, key)];
        assert.ok(livingNumbers(map).includes(before));
        if (before !== number) assert.equal(after, before);
        else assert.equal(after, sideOf(key, sliceOf(map.first, number).count) === 0 ? lower : upper);
      }
      assert.equal(newerMap(map, next), next);
      assert.equal(newerMap(next, map), next);
      map = next;
    }
    assert.deepEqual([map.count, map.divided], [2 * count, 0]);
    for (const key of keys) assert.equal(sliceOf(3, numberOfKey(map, key)).index, partitionOf(key, 2 * count));
  }
  assert.equal(heirsOf(map, 1).length, 4);
  assert.equal(livingNumbers(map).length, 12);
});

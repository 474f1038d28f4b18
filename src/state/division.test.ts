import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { partitionOf } from '../partitioning/hash.ts';
import { keptBy, systemTables } from './division.ts';

const [lower, upper] = [keptBy(0, 4), keptBy(1, 4)];
const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`);
const goesUp = (key: string): boolean => partitionOf(key, 8) >= 4;

test('a row goes to the one successor that its key lies in', () => {
  for (const key of keys) {
    assert.deepEqual([lower('stock', key), upper('stock', key)], [!goesUp(key), goesUp(key)]);
    assert.equal(upper('stock', `${key}/line-1`), goesUp(key));
    assert.equal(upper('$cursor', key), goesUp(key));
    assert.equal(upper('$parked', `sub\n${key}`), goesUp(key));
    assert.equal(upper('$parked-event', `sub\n${key}\n17`), goesUp(key));
    assert.equal(upper('$due', `0000000000000017\nrow\nstock\n${key}`), goesUp(key));
    assert.equal(upper('$due', `0000000000000017\nschedule\n${key}\nnightly`), goesUp(key));
    assert.equal(upper('$schedule', `${key}\nnightly`), goesUp(key));
  }
});

test('requests, deliveries and floors go to both, the relay position to neither, a later event to exactly one', () => {
  for (const table of ['$request', '$request-time', '$delivery', '$floor'])
    for (const key of keys) assert.ok(lower(table, key) && upper(table, key));
  assert.ok(!lower('$relay', 'position') && !upper('$relay', 'position'));
  for (const key of keys) {
    const due = `0000000000000017\nevent\n${key}`;
    assert.notEqual(lower('$due', due), upper('$due', due));
  }
});

test('every system table says where its rows go when a partition is divided', () => {
  const methods = new Set(['$barrier', '$drop-rows', '$event', '$read', '$scan', '$stored-tables', '$watch']);
  const src = join(import.meta.dirname, '..');
  const missing = ['state', 'events'].flatMap(room =>
    readdirSync(join(src, room))
      .filter(file => !file.endsWith('.test.ts'))
      .flatMap(file =>
        [...readFileSync(join(src, room, file), 'utf8').matchAll(/'(\$[a-z-]+)'/g)].map(([, name]) => name!),
      )
      .filter(name => !methods.has(name) && !systemTables.has(name)),
  );
  assert.deepEqual(missing, [], 'name it in division.ts');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzProtocols } from './fuzz-protocols.ts';
import { fuzz } from './fuzzing.ts';

for (const protocol of Object.keys(fuzzProtocols)) {
  test(`mutated ${protocol} crashes nothing, grows nothing, and is not noticed by a client beside it`, async () => {
    const report = await fuzz({ protocol, seed: 20, forMs: 1200, casesMax: 2000 });
    assert.deepEqual(report.wrong, [], `repeat with: npm run fuzz -- ${protocol} --seed 20`);
    assert.ok(report.cases > report.samples, `${report.cases} cases`);
  });
}

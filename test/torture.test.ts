// Ten seconds of `npm run torture`: real processes are killed, stopped and cut off while clients write, read and make transactions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missingForCuts } from './link-cuts.ts';
import { tortureApart } from './torture.ts';

test('so it is while the partitions of the service are doubled', { timeout: 200_000 }, async () => {
  const { code, printed, ok } = await tortureApart(['--for', '8s', '--seed', '3', '--reshard']);
  assert.equal(code, 0, printed);
  assert.ok(ok > 80, `too little happened: ${printed}`);
  assert.match(printed, /"count":8/);
});

test('what clients of real processes see under kill -9, SIGSTOP and cut links is linearizable, atomic and in order', {
  timeout: 150_000,
}, async t => {
  const { code, printed, ok } = await tortureApart(['--for', '10s', '--seed', '2']);
  assert.equal(code, 0, printed);
  assert.ok(ok > 100, `too little happened: ${printed}`);
  assert.match(printed, /kill -9/);
  const missing = missingForCuts();
  if (missing === undefined) assert.match(printed, /cut the links of/);
  else t.diagnostic(`no links were cut: ${missing}`);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Failed, mayRepeat } from './retry-rule.ts';

const base: Failed = { verb: 'GET', sent: true, bodyTaken: false, answerBegun: false, timedOut: false };

test('what was never sent may be repeated, whatever its verb', () => {
  for (const verb of ['GET', 'POST', 'PATCH', 'BREW']) assert.ok(mayRepeat({ ...base, verb, sent: false }), verb);
  assert.ok(mayRepeat({ ...base, verb: 'POST', sent: false, timedOut: true }), 'a connection that did not come');
});

test('what was sent may be repeated only when its verb is idempotent', () => {
  for (const verb of ['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE'])
    assert.ok(mayRepeat({ ...base, verb }), verb);
  for (const verb of ['POST', 'PATCH', 'get', 'BREW']) assert.ok(!mayRepeat({ ...base, verb }), verb);
});

test('nothing is repeated once a byte of its body went out, a byte of its answer came in, or the upstream may be at work still', () => {
  for (const change of [{ bodyTaken: true }, { answerBegun: true }, { timedOut: true }])
    assert.ok(!mayRepeat({ ...base, ...change }), JSON.stringify(change));
  assert.ok(!mayRepeat({ ...base, sent: false, bodyTaken: true }));
});

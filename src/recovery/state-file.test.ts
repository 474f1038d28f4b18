import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type SupervisorState, stateFile } from './state-file.ts';

const path = (t: TestContext): string => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'deep', 'supervisor.json');
};
const state: SupervisorState = {
  format: 1,
  supervisor: { pid: 1, birth: 'b' },
  startedAt: 0,
  wanted: {},
  processes: [],
  facts: {},
};

test('a file that is no JSON, or of a newer format, is refused with what to do', t => {
  const file = path(t);
  stateFile(file).save(state);
  writeFileSync(file, '{"format":');
  assert.throws(() => stateFile(file).load(), { code: 'CORRUPT', message: /delete the file/ });
  writeFileSync(file, '{"format":2,"processes":[]}');
  assert.throws(() => stateFile(file).load(), { code: 'UNSUPPORTED', message: /format 2/ });
});

test('no file means no former supervisor', t => assert.equal(stateFile(path(t)).load(), undefined));

test('what was saved is loaded, and only its owner may read it', t => {
  const file = path(t);
  stateFile(file).save(state);
  assert.deepEqual(stateFile(file).load(), state);
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

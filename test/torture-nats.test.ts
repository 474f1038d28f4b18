// Ten seconds of `npm run torture -- --engine nats`: processes of the app and three NATS servers are killed and stopped, and the
// links between them cut, while clients write, read and make transactions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { missingForCuts } from './link-cuts.ts';
import { findNatsServer } from './nats-servers.ts';
import { tortureApart } from './torture.ts';

const found = findNatsServer();

test('on three NATS servers it is so under kill -9, SIGSTOP, cut links and cut routes', {
  skip: 'missing' in found ? found.missing : false,
  timeout: 170_000,
}, async () => {
  const { code, printed, ok } = await tortureApart(['--for', '10s', '--seed', '5', '--engine', 'nats']);
  assert.equal(code, 0, printed);
  assert.ok(ok > 100, `too little happened: ${printed}`);
  assert.match(printed, missingForCuts() === undefined ? /cut the routes of/ : /cut the links to/);
});

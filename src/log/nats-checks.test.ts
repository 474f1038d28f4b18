import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Logger, silentLogger } from '../core/logger.ts';
import { parseNatsAddress } from './nats-address.ts';
import { checkStream, checkVersion, replicasOf } from './nats-checks.ts';
import { refusal } from './nats-errors.ts';
import { checkServers } from './nats-monitors.ts';
import { logOf, streamOf, subjectOf } from './nats-names.ts';

test('servers that lose acknowledged entries are refused, with the version to use', () => {
  for (const version of ['2.9.10', '2.10.27', '2.12.8', '0'])
    assert.throws(() => checkVersion(version), { code: 'UNSUPPORTED', message: /2\.12\.9 or newer/ });
  for (const version of ['2.13.0', '2.14.0'])
    assert.throws(() => checkVersion(version), { code: 'UNSUPPORTED', message: /2\.14\.1 or newer/ });
  for (const version of ['2.12.9', '2.12.10', '2.14.1', '2.15.1-dev', '3.0.0']) checkVersion(version);
});

test('a stream is refused for what could make gaps or lose what was acknowledged, and for too few copies', () => {
  const good = {
    ...{ retention: 'limits', storage: 'file', discard: 'new', max_age: 0, max_msgs: -1, max_bytes: -1 },
    ...{ max_msgs_per_subject: -1, max_msg_size: -1, deny_delete: true, allow_atomic: true, allow_direct: true },
    num_replicas: 3,
  };
  checkStream('s', good, 3);
  const refused = (change: object, message: RegExp): void =>
    assert.throws(() => checkStream('s', { ...good, ...change }, 3), { code: 'CONFIG', message });
  refused({ persist_mode: 'async' }, /persist_mode "async", a log needs default/);
  refused({ retention: 'workqueue' }, /a log needs limits/);
  refused({ deny_delete: false }, /deny_delete undefined, a log needs true/);
  refused({ mirror: { name: 'other' } }, /mirror .*a log needs none/);
  refused({ num_replicas: 1 }, /1 replicas, 3 are promised/);
});

test('copies fit what the servers are', () => {
  const of = (query: string, cluster?: string): number => replicasOf(parseNatsAddress(`nats://a${query}`), cluster);
  assert.deepEqual([of(''), of('', 'c'), of('?replicas=5', 'c'), of('?replicas=1')], [1, 3, 5, 1]);
  assert.throws(() => of('?replicas=1', 'c'), { code: 'CONFIG', message: /too few/ });
  assert.throws(() => of('?replicas=3'), { code: 'CONFIG', message: /needs a cluster/ });
});

test('a cluster is trusted when all its servers were asked, most answered and none is wrong', async () => {
  const server = (id: string, change: object = {}) => ({
    version: '2.15.1',
    server_id: id,
    jetstream: { config: { sync_always: true }, meta: { cluster_size: 3 } },
    ...change,
  });
  let warned = 0;
  const logger: Logger = { ...silentLogger, warn: () => warned++ };
  const ask = (answers: Record<string, object>, asked = 'http://a,http://b/,http://c') =>
    checkServers(
      parseNatsAddress(`nats://a?monitor=${asked}`),
      url => {
        const answer = answers[url.slice(7, 8)];
        return answer ? Promise.resolve(answer) : Promise.reject(new Error('nobody there'));
      },
      logger,
    );
  await ask({ a: server('1'), b: server('2'), c: server('3') });
  assert.equal(warned, 0);
  await ask({ a: server('1'), b: server('2') });
  assert.equal(warned, 1);
  await assert.rejects(ask({ a: server('1') }), { code: 'UNAVAILABLE', outcome: 'not-done' });
  await assert.rejects(ask({ a: server('1') }, 'http://a,http://a'), { code: 'CONFIG', message: /3 servers, but 1/ });
  const old = server('3', { version: '2.10.27' });
  await assert.rejects(ask({ a: server('1'), b: server('2'), c: old }), { code: 'UNSUPPORTED' });
  const lazy = server('3', { jetstream: { config: {} } });
  await assert.rejects(ask({ a: server('1'), b: server('2'), c: lazy }), { message: /sync_interval: always/ });
  await assert.rejects(ask({ a: server('1'), b: server('2'), c: server('3', { jetstream: {} }) }), {
    message: /runs without JetStream/,
  });
});

test('a refusal counts as one only when nothing can have landed', () => {
  assert.equal(refusal(10_047, 'insufficient storage', 3)?.outcome, 'not-done');
  assert.equal(refusal(10_054, 'too large', 3)?.code, 'TOO_LARGE');
  assert.equal(refusal(10_023, 'insufficient resources', 1)?.outcome, 'not-done');
  assert.equal(refusal(10_023, 'insufficient resources', 3), undefined);
  assert.equal(refusal(10_077, 'store is closed', 3), undefined);
  assert.equal(refusal(10_009, 'not leader', 3), undefined);
});

test('different logs never share a stream, and each stream tells its log', () => {
  const logs = ['state/orders/3', 'state/orders_3', 'state/orders.3', 'state/é', 'a=2F', 'catalog/x-y'];
  const streams = logs.map(log => streamOf('shop', log));
  assert.equal(new Set(streams).size, logs.length);
  for (const stream of streams) assert.match(stream, /^[a-zA-Z0-9_=-]+$/);
  assert.deepEqual(
    streams.map(stream => logOf('shop', stream)),
    logs,
  );
  assert.equal(subjectOf('shop', 'state/orders/3'), 'shop.log.state_orders_3');
  assert.equal(logOf('other', streams[0]!), undefined);
});

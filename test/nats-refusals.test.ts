// What the NATS driver refuses before it trusts a server or a stream with a log, by real servers with real settings.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { systemClock as clock } from '../src/core/clock.ts';
import { type Logger, silentLogger as logger } from '../src/core/logger.ts';
import { systemRandom as random } from '../src/core/random.ts';
import type { Engine } from '../src/log/engine.ts';
import { openNatsEngine } from '../src/log/nats-engine.ts';
import { findNatsServer, type NatsCluster, startNats } from './nats-servers.ts';

const found = findNatsServer();
const skip = 'missing' in found ? found.missing : false;
const path = 'path' in found ? found.path : '';

const soon = (): { deadline: number } => ({ deadline: clock.monotonic() + 10_000 });
const open = (address: string, to: Logger = logger): Promise<Engine> =>
  openNatsEngine({ address, name: 'test', clock, random, logger: to });

let three: NatsCluster;
before(async () => {
  if (!skip) three = await startNats(path, 3);
});
after(() => three?.close());

test('a server that does not sync before it acknowledges is refused, with what to set', { skip }, async () => {
  const lazy = await startNats(path, 1, { jetstream: 'max_file: 1GB' });
  try {
    await assert.rejects(open(lazy.address()), { code: 'CONFIG', message: /sync_interval: always/ });
    const bare = `nats://127.0.0.1:${lazy.servers[0]!.port}`;
    await assert.rejects(open(bare), { code: 'CONFIG', message: /add monitor=http/ });
    const engine = await open(`${bare}?sync=unchecked`);
    assert.match(engine.capabilities.acknowledged, /not checked/);
    await engine.close();
  } finally {
    await lazy.close();
  }
});

test('a server without JetStream, with other credentials or that is not there is told apart', { skip }, async () => {
  const plain = await startNats(path, 1, { more: 'authorization { user: shop, password: right }' });
  try {
    const where = `127.0.0.1:${plain.servers[0]!.port}`;
    const told = (user: string, rest = '?sync=unchecked') => open(`nats://${user}@${where}${rest}`);
    await assert.rejects(told('shop:wrong'), { code: 'CONFIG', message: /refuses the credentials/ });
    await assert.rejects(told('shop:right'), { code: 'CONFIG', message: /has no JetStream/ });
    const monitor = `?monitor=http://127.0.0.1:${plain.servers[0]!.monitorPort}`;
    await assert.rejects(told('shop:right', monitor), { code: 'CONFIG', message: /runs without JetStream/ });
    await assert.rejects(told('shop:right', '?sync=unchecked&creds=/nowhere'), { code: 'CONFIG', message: /nowhere/ });
  } finally {
    await plain.close();
  }
  await assert.rejects(open('nats://127.0.0.1:1?sync=unchecked'), { code: 'UNAVAILABLE', message: /does not answer/ });
});

test('copies that are too few for a cluster, or more than a single server can keep, are refused', {
  skip,
}, async () => {
  await assert.rejects(open(three.address('&replicas=1')), { code: 'CONFIG', message: /too few for the cluster/ });
  const alone = await startNats(path, 1);
  try {
    await assert.rejects(open(alone.address('&replicas=3')), { code: 'CONFIG', message: /needs a cluster/ });
  } finally {
    await alone.close();
  }
});

test('all servers of a cluster are to be asked; one that is down does not keep an app from starting', {
  skip,
}, async () => {
  const [first, second] = three.servers;
  const monitor = (...ports: number[]) => ports.map(port => `http://127.0.0.1:${port}`).join(',');
  const address = (monitors: string) => `nats://127.0.0.1:${first!.port}?monitor=${monitors}`;
  const partly = address(monitor(first!.monitorPort, second!.monitorPort));
  await assert.rejects(open(partly), { code: 'CONFIG', message: /has 3 servers, but 2 were asked/ });
  await assert.rejects(open(address(monitor(first!.monitorPort, 1, 2))), { code: 'UNAVAILABLE' });
  const warnings: string[] = [];
  const heard: Logger = { ...logger, warn: message => warnings.push(message) };
  const engine = await open(address(monitor(first!.monitorPort, second!.monitorPort, 1)), heard);
  await engine.close();
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /was not seen/);
});

test('a stream that could make gaps, lose entries or has too few copies is refused by name', { skip }, async () => {
  const connection = await connect({ servers: `127.0.0.1:${three.servers[0]!.port}` });
  const { streams } = await jetstreamManager(connection);
  const engine = await open(three.address('&app=gaps'));
  try {
    await engine.log.append('good', 0, [Buffer.from('x')], soon());
    const { config } = await streams.info('gaps_good');
    const refused = async (log: string, change: object, message: RegExp): Promise<void> => {
      await streams.add({ ...config, ...change, name: `gaps_${log}`, subjects: [`gaps.log.${log}`] } as never);
      const append = engine.log.append(log, 0, [Buffer.from('x')], soon());
      await assert.rejects(append, { code: 'CONFIG', outcome: 'not-done', message });
    };
    await refused('age', { max_age: 600_000_000_000 }, /gaps_age has max_age 600000000000, a log needs 0/);
    await refused('count', { max_msgs: 1000 }, /max_msgs 1000, a log needs -1/);
    await refused('ttl', { allow_msg_ttl: true }, /allow_msg_ttl true, a log needs false/);
    await refused('rollup', { allow_rollup_hdrs: true }, /allow_rollup_hdrs true/);
    await refused('memory', { storage: 'memory' }, /storage "memory", a log needs file/);
    await refused('copies', { num_replicas: 1 }, /1 replicas, 3 are promised/);
  } finally {
    await engine.close();
    await connection.close();
  }
  const alone = await startNats(path, 1);
  const single = await open(alone.address());
  const direct = await connect({ servers: `127.0.0.1:${alone.servers[0]!.port}` });
  try {
    const manager = await jetstreamManager(direct);
    await single.log.append('good', 0, [Buffer.from('x')], soon());
    const { config } = await manager.streams.info('tandem_good');
    const change = { name: 'tandem_fast', subjects: ['tandem.log.fast'], persist_mode: 'async', allow_atomic: false };
    await manager.streams.add({ ...config, ...change } as never);
    await assert.rejects(single.log.append('fast', 0, [Buffer.from('x')], soon()), { code: 'CONFIG' });
  } finally {
    await single.close();
    await direct.close();
    await alone.close();
  }
});

// The NATS driver against real servers: the contract of every engine on one and on three, and what happens when
// acknowledgements are lost, servers are killed, paused or come back empty, and streams are made anew.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { engineSuite, type Opened } from '../src/log/engine.contract-suite.ts';
import type { Engine } from '../src/log/engine.ts';
import { openNatsEngine } from '../src/log/nats-engine.ts';
import { faultProxy } from './fault-proxy.ts';
import { findNatsServer, type NatsCluster, startNats, until } from './nats-servers.ts';

const found = findNatsServer();
const skip = 'missing' in found ? found.missing : false;
const path = 'path' in found ? found.path : '';

const soon = (ms = 10_000): { deadline: number } => ({ deadline: clock.monotonic() + ms });
const open = (address: string): Promise<Engine> => openNatsEngine({ address, name: 'test', clock, random, logger });

let one: NatsCluster;
let three: NatsCluster;
let apps = 0;
before(async () => {
  if (skip) return;
  [one, three] = await Promise.all([startNats(path, 1), startNats(path, 3)]);
});
after(async () => {
  await Promise.all([one?.close(), three?.close()]);
});

/** Each test is an app of its own on the same servers. */
async function fresh(cluster: NatsCluster): Promise<Opened> {
  const address = cluster.address(`&app=t${++apps}`);
  const engines = [await open(address)];
  return {
    engine: engines[0]!,
    reopen: async () => {
      engines.push(await open(address));
      return engines.at(-1)!;
    },
    close: async () => {
      for (const engine of engines) await engine.close();
    },
  };
}

if (skip) test('the NATS engine', { skip }, () => {});
else {
  engineSuite('nats, one server', () => fresh(one));
  engineSuite('nats, three servers', () => fresh(three));

  test('an append whose acknowledgement was lost is in doubt, and its slot tells whether it landed', async () => {
    const proxy = await faultProxy(one.servers[0]!.port);
    const address = `nats://127.0.0.1:${proxy.port}?sync=unchecked&app=lost`;
    const engine = await open(address);
    const { log } = engine;
    const bodies: string[] = [];
    let landed = 0;
    let doubtful = 0;
    try {
      for (let n = 0; landed < 3 && n < 60; n++) {
        const body = `${n}`;
        if (n > 2) proxy.swallowAnswers();
        let result = await log.append('a', bodies.length, [Buffer.from(body)], soon(300)).catch(() => undefined);
        proxy.heal();
        if (result === undefined) continue;
        if (result.kind === 'unknown') {
          doubtful++;
          for (let tries = 0; result.kind === 'unknown' && tries < 20; tries++)
            result = await eventually(() => log.append('a', bodies.length, [Buffer.from(body)], soon(1000)));
          if (result.kind === 'conflict') {
            const [slot] = await eventually(() => log.read('a', bodies.length + 1, 1, soon(1000)));
            assert.equal(Buffer.from(slot!.body).toString(), body, 'nobody else writes here');
            landed++;
          }
        }
        bodies.push(body);
      }
      assert.ok(landed >= 3 && doubtful >= 3, `${landed} of ${doubtful} in doubt had landed: the proxy was too kind`);
      const entries = await log.read('a', 1, 1_000_000, soon());
      assert.deepEqual(
        entries.map(({ body }) => Buffer.from(body).toString()),
        bodies,
        'each is there once',
      );
    } finally {
      await engine.close();
      await proxy.close();
    }
  });

  test('servers that are killed and paused under racing writers lose nothing that was acknowledged', {
    timeout: 120_000,
  }, async () => {
    const address = three.address('&app=race');
    const engines = await Promise.all([open(address), open(address), open(address)]);
    const acknowledged = new Map<number, string>();
    let stopped = false;
    let unknown = 0;
    const writer = async (engine: Engine, name: string): Promise<void> => {
      let tail = 0;
      for (let n = 0; !stopped; n++) {
        const body = `${name}-${n}`;
        const result = await engine.log.append('a', tail, [Buffer.from(body)], soon(2000)).catch(() => undefined);
        if (result?.kind === 'appended') {
          assert.ok(!acknowledged.has(result.position), `position ${result.position} was given twice`);
          acknowledged.set(result.position, body);
          tail = result.position;
        } else {
          if (result?.kind === 'unknown') unknown++;
          tail = await engine.log.barrier('a', soon(3000)).catch(() => tail);
        }
      }
    };
    const seen: string[] = [];
    const stop = new AbortController();
    const following = (async () => {
      for await (const entries of engines[2]!.log.follow('a', 1, stop.signal)) {
        for (const { position, body } of entries) {
          assert.equal(position, seen.length + 1);
          seen.push(Buffer.from(body).toString());
        }
      }
    })();
    const writing = Promise.all([writer(engines[0]!, 'x'), writer(engines[1]!, 'y')]);
    const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));
    for (const server of three.servers) {
      await pause(700);
      server.kill('SIGKILL');
      await server.ended();
      await pause(700);
      server.start();
      await until(async () => (await fetch(`http://127.0.0.1:${server.monitorPort}/healthz`)).ok);
      const other = three.servers[(three.servers.indexOf(server) + 1) % 3]!;
      other.kill('SIGSTOP');
      await pause(1500);
      other.kill('SIGCONT');
    }
    stopped = true;
    await writing;
    const tail = await eventually(() => engines[0]!.log.barrier('a', soon(3000)));
    await until(async () => seen.length >= tail);
    stop.abort();
    await following;
    for (const [position, body] of acknowledged) assert.equal(seen[position - 1], body, `position ${position}`);
    assert.ok(acknowledged.size > 200, `only ${acknowledged.size} appends, ${unknown} in doubt`);
    for (const engine of engines) await engine.close();
  });

  test('a read sees what its process has seen, also where a replica lags behind', async () => {
    const ahead = await open(three.address('&app=lag'));
    const lagging = three.servers[2]!;
    const behind = await open(`nats://127.0.0.1:${lagging.port}?sync=unchecked&app=lag`);
    try {
      let tail = 0;
      for (let round = 0; round < 5; round++) {
        lagging.kill('SIGSTOP');
        for (let n = 0; n < 50; n++) {
          const result = await eventually(() => ahead.log.append('a', 'any', [Buffer.alloc(2000, n)], soon()));
          assert.equal(result.kind, 'appended');
        }
        lagging.kill('SIGCONT');
        tail = await eventually(() => behind.log.barrier('a', soon()));
        const [entry] = await behind.log.read('a', tail - 1, 1, soon());
        assert.equal(entry?.position, tail - 1);
      }
    } finally {
      await ahead.close();
      await behind.close();
    }
  });

  test('what waits for a slow follower is bounded, and none is lost by that', async () => {
    const engine = await open(one.address('&app=slow'));
    try {
      const count = 60;
      for (let n = 1; n <= count; n++) await engine.log.append('a', 'any', [Buffer.alloc(600_000, n)], soon());
      const stop = new AbortController();
      let next = 1;
      for await (const entries of engine.log.follow('a', 1, stop.signal)) {
        const bytes = entries.reduce((sum, { body }) => sum + body.length, 0);
        assert.ok(bytes < 10_000_000, `${bytes} bytes had gathered`);
        for (const { position, body } of entries) assert.deepEqual([position, body[0]], [next, next++]);
        if (next > count) break;
        await new Promise(done => setTimeout(done, 150));
      }
      stop.abort();
    } finally {
      await engine.close();
    }
  });

  test('a server that is full says so, for certain, and takes entries again after a trim', async () => {
    const small = await startNats(path, 1, { jetstream: 'max_mem: 16MB, max_file: 8MB, sync_interval: always' });
    const engine = await open(small.address());
    try {
      let tail = 0;
      const append = () => engine.log.append('a', tail, [Buffer.alloc(900_000, tail)], soon());
      const fill = async (): Promise<void> => {
        for (let n = 0; n < 20; n++) tail = ((await append()) as { position: number }).position;
      };
      await assert.rejects(fill, { code: 'UNAVAILABLE', outcome: 'not-done', message: /resources|storage/ });
      assert.ok(tail > 3, `${tail} entries`);
      assert.equal((await engine.log.info('a', soon())).tail, tail);
      await engine.log.trim('a', tail, soon());
      await until(async () => (await append()).kind === 'appended');
      assert.equal((await engine.log.info('a', soon())).tail, tail + 1);
    } finally {
      await engine.close();
      await small.close();
    }
  });

  test('a server that comes back empty has lost its logs, and none is begun again in their place', async () => {
    const alone = await startNats(path, 1);
    const [server] = alone.servers;
    const engine = await open(alone.address());
    let other: Engine | undefined;
    try {
      for (let i = 0; i < 3; i++) await engine.log.append('a', i, [Buffer.from(`${i}`)], soon());
      const follow = engine.log.follow('a', 1, AbortSignal.timeout(30_000))[Symbol.asyncIterator]();
      await follow.next();
      server!.kill('SIGKILL');
      await server!.ended();
      server!.erase();
      server!.start();
      await assert.rejects(
        async () => {
          while (!(await follow.next()).done);
        },
        { code: 'LOG_LOST' },
      );
      await assert.rejects(engine.log.append('a', 3, [Buffer.from('3')], soon(300)), { outcome: 'not-done' });
      other = await open(alone.address());
      assert.deepEqual(await other.log.append('a', 3, [Buffer.from('3')], soon()), { kind: 'conflict', tail: 0 });
      assert.equal(await other.log.barrier('a', soon()), 0);
      assert.deepEqual(await other.log.list('', soon()), []);
    } finally {
      await engine.close();
      await other?.close();
      await alone.close();
    }
  });

  test('a stream that was made anew is lost, not followed on', async () => {
    const engine = await open(one.address('&app=anew'));
    const { jetstreamManager } = await import('@nats-io/jetstream');
    const { connect } = await import('@nats-io/transport-node');
    const connection = await connect({ servers: `127.0.0.1:${one.servers[0]!.port}` });
    try {
      for (let i = 0; i < 3; i++) await engine.log.append('a', i, [Buffer.from(`${i}`)], soon());
      const follow = engine.log.follow('a', 1, AbortSignal.timeout(30_000))[Symbol.asyncIterator]();
      await follow.next();
      const { streams } = await jetstreamManager(connection);
      const { config } = await streams.info('anew_a');
      await streams.delete('anew_a');
      await streams.add(config);
      await assert.rejects(
        async () => {
          while (!(await follow.next()).done);
        },
        { code: 'LOG_LOST' },
      );
    } finally {
      await engine.close();
      await connection.close();
    }
  });
}

async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work();
    } catch (cause) {
      if (tries > 20) throw cause;
      await new Promise(done => setTimeout(done, 100));
    }
  }
}

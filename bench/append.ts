/**
 * Durable appends of 100 bytes, acknowledged, with so many under way at once, each server in a process of its own. Ours
 * answers after fdatasync; so does Redis with `appendfsync always`; JetStream R1 answers from the page cache (its default
 * syncs every two minutes), so the comparison is in its favour. Peers are started here, on ports of the system's choice, in
 * temporary directories; one that is not installed is left out.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linkDialer } from '../src/communication/link-dialer.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { connectEngine } from '../src/log/remote-engine.ts';
import type { Bench } from './run.ts';

const warmUpMs = 600;
const measuredMs = 1500;
const body = Buffer.alloc(100, 'x');

async function rate(load: number, append: (lane: number) => Promise<unknown>): Promise<number> {
  let count = 0;
  let measuring = false;
  let ended = false;
  const lanes = Array.from({ length: load }, async (_, lane) => {
    while (!ended) {
      await append(lane);
      if (measuring) count++;
    }
  });
  await pause(warmUpMs);
  measuring = true;
  const startedAt = performance.now();
  await pause(measuredMs);
  measuring = false;
  const seconds = (performance.now() - startedAt) / 1000;
  ended = true;
  await Promise.all(lanes);
  return count / seconds;
}

const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** Runs `work` beside a server; ends the server by its pid and removes its directory. */
async function beside<T>(
  command: string,
  args: (directory: string) => readonly string[],
  work: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  const child: ChildProcess = spawn(command, [...args(directory)], { stdio: 'ignore', cwd: directory });
  const ended = new Promise<void>(done => child.once('exit', () => done()));
  try {
    await new Promise<void>((done, failed) => {
      child.once('spawn', done);
      child.once('error', (error: NodeJS.ErrnoException) => {
        failed(
          error.code === 'ENOENT'
            ? Object.assign(new Error(`${command} is not installed`), { code: 'ERR_MODULE_NOT_FOUND' })
            : error,
        );
      });
    });
    return await work(directory);
  } finally {
    if (child.pid !== undefined && child.exitCode === null) {
      child.kill('SIGTERM');
      await ended;
    }
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Tries until the server takes connections. */
async function retried<T>(attempt: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (cause) {
      if (tries > 60 || (cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') throw cause;
      await pause(50);
    }
  }
}

async function tandem(load: number): Promise<number> {
  const address = `tcp://127.0.0.1:${await freePort()}`;
  const server = new URL('./append-engine.ts', import.meta.url).pathname;
  return beside(
    process.execPath,
    directory => [...process.execArgv, server, directory, address],
    async () => {
      const dialer = linkDialer({ transports: [tcpTransport()], clock, random, logger, meter });
      const engine = connectEngine({ dialer, address, clock, random, logger });
      const append = async (lane: number): Promise<void> => {
        const result = await engine.log.append(`log/${lane % 8}`, 'any', [body], {
          deadline: clock.monotonic() + 5000,
        });
        if (result.kind !== 'appended') throw new Error(`append: ${result.kind}`);
      };
      await retried(() => append(0));
      const result = await rate(load, append);
      await engine.close();
      await dialer.close();
      return result;
    },
  );
}

async function jetstream(load: number): Promise<number> {
  const [{ connect }, { jetstream: open, jetstreamManager }] = await Promise.all([
    import('@nats-io/transport-node'),
    import('@nats-io/jetstream'),
  ]);
  const port = await freePort();
  return beside(
    'nats-server',
    directory => ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', directory],
    async () => {
      const connection = await retried(() => connect({ servers: `127.0.0.1:${port}`, reconnect: false }));
      const manager = await retried(() => jetstreamManager(connection));
      await manager.streams.add({ name: 'bench', subjects: ['bench.*'] });
      const stream = open(connection);
      const result = await rate(load, lane => stream.publish(`bench.${lane % 8}`, body));
      await connection.close();
      return result;
    },
  );
}

async function redis(load: number): Promise<number> {
  const { Redis } = await import('ioredis');
  const port = await freePort();
  const args = (directory: string): string[] => [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    directory,
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
    '--save',
    '',
  ];
  return beside('redis-server', args, async () => {
    const client = new Redis(port, '127.0.0.1', {
      lazyConnect: true,
      enableAutoPipelining: true,
      retryStrategy: tries => (tries < 60 ? 50 : null),
    });
    client.on('error', () => {});
    await client.connect().catch(() => retried(() => client.ping()));
    const result = await rate(load, lane => client.xadd(`log:${lane % 8}`, '*', 'b', body));
    client.disconnect();
    return result;
  });
}

export const bench: Bench = {
  ours: 'tandem',
  rounds: 3,
  loads: [64],
  subjects: { tandem, 'jetstream-r1': jetstream, 'redis-always': redis },
};

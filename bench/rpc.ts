/**
 * One process calls another over loopback TCP: loops in flight, the same object of six fields there and back. `tandem` is a
 * method of a service as an app calls it: picked, with deadline, request id, trace, validation of input and output and the
 * handler's context; `link` is the protocol below it alone. grpc-js has a deadline and sends the object as JSON bytes, which
 * costs it less than protobuf objects would; Moleculer runs without validation, metrics and tracing. `echo` is
 * redis-benchmark, a C program: 100 bytes, pipelined.
 */
import { execFile, fork } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { typedCalls } from '../src/calling/typed-calls.ts';
import { linkDialer } from '../src/communication/link-dialer.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { withApp } from './app.ts';
import { beside, freePort, missing, pause, retried } from './beside.ts';
import type { Bench, Figures } from './run.ts';
import { echo as echoContract } from './services.ts';

const warmUpMs = 1000;
const measureMs = 1500;
const payload = {
  sku: 'chair-42',
  quantity: 3,
  price: 12.5,
  gift: false,
  note: 'leave it at the door',
  tags: ['a', 'b'],
};
const transports = [tcpTransport()];
const path = '/bench.Echo/echo';
const toBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const fromBytes = (bytes: Buffer): unknown => JSON.parse(bytes.toString());

const servers: Record<string, () => Promise<string>> = {
  link: async () => {
    const answer = async (incoming: { body: unknown }): Promise<{ body: unknown }> => ({ body: incoming.body });
    const address = 'tcp://127.0.0.1:0';
    return (await openLinkServer({ transports, address, answer, clock, random, logger, meter })).address;
  },
  'grpc-js': async () => {
    const grpc = await import('@grpc/grpc-js');
    const server = new grpc.Server();
    const method = {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: toBytes,
      requestDeserialize: fromBytes,
      responseSerialize: toBytes,
      responseDeserialize: fromBytes,
    };
    server.addService(
      { echo: method },
      {
        echo: (call: { request: unknown }, done: (error: null, value: unknown) => void) => done(null, call.request),
      },
    );
    return new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(`127.0.0.1:${port}`),
      );
    });
  },
  'moleculer-tcp': async () => {
    const broker = await moleculerServer(tcpTransporter([]));
    return `127.0.0.1:${broker.transit.tx.reader.server.address().port}/server`;
  },
  'moleculer-redis': async () => {
    await moleculerServer(process.argv[4]!);
    return '';
  },
};

const tcpTransporter = (urls: string[]): object => ({
  type: 'TCP',
  options: { udpDiscovery: false, port: null, urls, gossipPeriod: 1 },
});

// biome-ignore lint/suspicious/noExplicitAny: the broker's transport has no types for what is read here
async function moleculer(nodeID: string, transporter: object | string): Promise<any> {
  const { ServiceBroker } = await import('moleculer');
  return new ServiceBroker({ nodeID, logger: false, transporter } as never);
}

// biome-ignore lint/suspicious/noExplicitAny: as above
async function moleculerServer(transporter: object | string): Promise<any> {
  const broker = await moleculer('server', transporter);
  broker.createService({ name: 'bench', actions: { echo: (context: { params: unknown }) => context.params } });
  await broker.start();
  return broker;
}

if (process.argv[2] === '--serve') {
  process.send!(await servers[process.argv[3]!]!());
  process.on('disconnect', () => process.exit(0));
}

/** Starts the server of a subject in its own process. */
function serve(subject: string, ...args: string[]): Promise<{ address: string; pid: number }> {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', subject, ...args]);
  return new Promise((resolve, reject) => {
    child.once('message', address => resolve({ address: String(address), pid: child.pid! }));
    child.once('exit', code => reject(new Error(`the server of ${subject} ended with ${code}`)));
  });
}

/** CPU time of a process so far, of all its threads, in µs. */
function cpuUs(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`))
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ', 1)[0]);
  return ns / 1000;
}

/** `load` loops call; what they did, how long it took them, and what it cost this process and the others (a broker too). */
async function figures(load: number, call: () => Promise<unknown>, pids: readonly number[]): Promise<Figures> {
  const durationsMs = new Float64Array(4_000_000);
  let count = 0;
  let stopped = false;
  const loops = Array.from({ length: load }, async () => {
    while (!stopped) {
      const startedAt = performance.now();
      await call();
      durationsMs[count++ % durationsMs.length] = performance.now() - startedAt;
    }
  });
  const cpu = (): number => [process.pid, ...pids].reduce((sum, pid) => sum + cpuUs(pid), 0);
  await pause(warmUpMs);
  count = 0;
  const cpuBefore = cpu();
  const start = performance.now();
  await pause(measureMs);
  const seconds = (performance.now() - start) / 1000;
  const spentUs = cpu() - cpuBefore;
  const done = count;
  stopped = true;
  await Promise.all(loops);
  const sorted = durationsMs.subarray(0, Math.min(done, durationsMs.length)).sort();
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)]! * 1000;
  return { perSecond: done / seconds, p50Us: at(0.5), p99Us: at(0.99), cpuUs: spentUs / done };
}

/** Redis answers the same number of bytes; the client is C too. */
async function redisEcho(load: number): Promise<Figures> {
  const port = await freePort();
  const args = (directory: string): string[] => [
    '--port',
    `${port}`,
    '--bind',
    '127.0.0.1',
    '--dir',
    directory,
    '--save',
    '',
  ];
  return beside('redis-server', args, async () => {
    // A multiple of what is under way: else it waits at the end for calls that it never makes.
    const calls = Math.ceil((load === 1 ? 30_000 : 2_000_000) / load) * load;
    const argv = [
      '-h',
      '127.0.0.1',
      '-p',
      `${port}`,
      '-c',
      '1',
      '-P',
      `${load}`,
      '-n',
      `${calls}`,
      '--csv',
      'ECHO',
      'x'.repeat(100),
    ];
    const run = async (): Promise<string> =>
      (await promisify(execFile)('redis-benchmark', argv, { timeout: 60_000 })).stdout;
    const text = await retried(run, 20).catch((cause: NodeJS.ErrnoException) => {
      throw cause.code === 'ENOENT' ? missing('redis-benchmark') : cause;
    });
    // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    const fields = text
      .trim()
      .split('\n')
      .at(-1)!
      .split('","')
      .map(field => Number(field.replaceAll('"', '')));
    return { perSecond: fields[1]!, p50Us: fields[4]! * 1000, p99Us: fields[6]! * 1000 };
  });
}

export const bench: Bench = {
  ours: ['tandem', 'link'],
  rounds: 3,
  loads: [1, 64, 512],
  subjects: {
    tandem: load =>
      withApp(['echo'], ({ caller, pids }) => {
        const { echo } = typedCalls(caller).call(echoContract);
        return figures(load, () => echo(payload), pids.slice(1));
      }),
    link: async load => {
      const { address, pid } = await serve('link');
      const channel = linkDialer({ transports, clock, random, logger, meter }).dial(address);
      const meta = { requestId: '0123456789abcdef' };
      return figures(load, () => channel.call('bench.echo', payload, { deadline: clock.monotonic() + 5000, meta }), [
        pid,
      ]);
    },
    'grpc-js': async load => {
      const grpc = await import('@grpc/grpc-js');
      const { address, pid } = await serve('grpc-js');
      const client = new grpc.Client(address, grpc.credentials.createInsecure());
      const once = (): Promise<unknown> =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest(path, toBytes, fromBytes, payload, { deadline: Date.now() + 5000 }, (error, value) =>
            error ? reject(error) : resolve(value),
          );
        });
      return figures(load, once, [pid]);
    },
    'moleculer-tcp': async load => {
      await import('moleculer');
      const { address, pid } = await serve('moleculer-tcp');
      const broker = await moleculer('client', tcpTransporter([address]));
      return moleculerFigures(broker, load, [pid]);
    },
    'moleculer-redis': async load => {
      await import('moleculer');
      await import('ioredis');
      const port = await freePort();
      const args = (directory: string): string[] => [
        '--port',
        `${port}`,
        '--bind',
        '127.0.0.1',
        '--dir',
        directory,
        '--save',
        '',
      ];
      return beside('redis-server', args, async (_, redis) => {
        await retried(() => reachable(port));
        const { pid } = await serve('moleculer-redis', `redis://127.0.0.1:${port}`);
        const broker = await moleculer('client', `redis://127.0.0.1:${port}`);
        return moleculerFigures(broker, load, [pid, redis]);
      });
    },
    echo: redisEcho,
  },
};

// biome-ignore lint/suspicious/noExplicitAny: as above
async function moleculerFigures(broker: any, load: number, pids: readonly number[]): Promise<Figures> {
  await broker.start();
  await broker.waitForServices('bench', 10_000);
  return figures(load, () => broker.call('bench.echo', payload), pids);
}

function reachable(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}

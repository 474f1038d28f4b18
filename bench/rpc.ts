/**
 * One process calls another over loopback TCP: loops in flight, the same payload for all. Our side carries what real calls
 * carry: a deadline and a request id. grpc-js has a deadline too; it sends the payload as JSON bytes, which costs it less
 * than protobuf objects would. Moleculer runs without validation, metrics and tracing.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { linkDialer } from '../src/communication/link-dialer.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import type { Bench } from './run.ts';

const warmUpMs = 1000;
const measureMs = 1500;
const payload = { sku: 'chair-42', quantity: 3, note: 'leave it at the door', tags: ['a', 'b'], price: 12.5 };
const transports = [tcpTransport()];
const path = '/bench.Echo/echo';
const toBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const fromBytes = (bytes: Buffer): unknown => JSON.parse(bytes.toString());

const servers: Record<string, () => Promise<string>> = {
  tandem: async () => {
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
    const broker = await moleculer('server', []);
    broker.createService({ name: 'bench', actions: { echo: (context: { params: unknown }) => context.params } });
    await broker.start();
    return `127.0.0.1:${broker.transit.tx.reader.server.address().port}/server`;
  },
};

// biome-ignore lint/suspicious/noExplicitAny: the broker's transport has no types for what is read here
async function moleculer(nodeID: string, urls: string[]): Promise<any> {
  const { ServiceBroker } = await import('moleculer');
  return new ServiceBroker({
    nodeID,
    logger: false,
    transporter: { type: 'TCP', options: { udpDiscovery: false, port: null, urls, gossipPeriod: 1 } },
  } as never);
}

if (process.argv[2] === '--serve') {
  process.send!(await servers[process.argv[3]!]!());
  process.on('disconnect', () => process.exit(0));
}

/** Starts the server of a subject in its own process. */
function serve(subject: string): Promise<string> {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', subject]);
  return new Promise((resolve, reject) => {
    child.once('message', address => resolve(String(address)));
    child.once('exit', code => reject(new Error(`the server of ${subject} ended with ${code}`)));
  });
}

/** Calls per second with `load` loops in flight. */
async function rate(load: number, call: () => Promise<unknown>): Promise<number> {
  let count = 0;
  let stopped = false;
  const loops = Array.from({ length: load }, async () => {
    while (!stopped) {
      await call();
      count++;
    }
  });
  await new Promise(resolve => setTimeout(resolve, warmUpMs));
  const from = count;
  const start = performance.now();
  await new Promise(resolve => setTimeout(resolve, measureMs));
  const perSecond = ((count - from) * 1000) / (performance.now() - start);
  stopped = true;
  await Promise.all(loops);
  return perSecond;
}

export const bench: Bench = {
  ours: ['tandem'],
  rounds: 3,
  loads: [64],
  subjects: {
    tandem: async load => {
      const channel = linkDialer({ transports, clock, random, logger, meter }).dial(await serve('tandem'));
      return rate(load, () =>
        channel.call('bench.echo', payload, {
          deadline: clock.monotonic() + 5000,
          meta: { requestId: '0123456789abcdef' },
        }),
      );
    },
    'grpc-js': async load => {
      const grpc = await import('@grpc/grpc-js');
      const client = new grpc.Client(await serve('grpc-js'), grpc.credentials.createInsecure());
      return rate(
        load,
        () =>
          new Promise((resolve, reject) => {
            client.makeUnaryRequest(
              path,
              toBytes,
              fromBytes,
              payload,
              { deadline: Date.now() + 5000 },
              (error, value) => (error ? reject(error) : resolve(value)),
            );
          }),
      );
    },
    'moleculer-tcp': async load => {
      await import('moleculer');
      const broker = await moleculer('client', [await serve('moleculer-tcp')]);
      await broker.start();
      await broker.waitForServices('bench', 10_000);
      return rate(load, () => broker.call('bench.echo', payload));
    },
  },
};

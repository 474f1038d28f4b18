/** Not a test itself: a gateway on a real port before services that are only descriptors, and bytes straight into its socket. */
import { connect } from 'node:net';
import * as z from 'zod';
import type { Session } from '../calling/session.ts';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import type { Descriptor } from '../contract/descriptor.ts';
import { error, stream } from '../contract/method.ts';
import { systemClock } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { systemRandom } from '../core/random.ts';
import { silentTracer } from '../core/tracer.ts';
import type { Registry } from '../naming/registry.ts';
import { type Gateway, type GatewayOptions, openGateway } from './gateway.ts';
import type { GatewayCaller, OutgoingCall } from './outgoing.ts';

const Sku = z.object({ sku: z.string() });

export const stock = contract('stock', {
  get: { http: 'GET /stock/:sku', key: 'sku', consistency: 'eventual', input: Sku, output: z.any() },
  all: {
    http: 'GET /stock/all',
    input: z.object({ limit: z.int().optional(), deep: z.boolean().optional(), tags: z.array(z.int()).optional() }),
    output: z.any(),
  },
  reserve: {
    http: 'POST /stock/:sku/reserve',
    key: 'sku',
    input: Sku.extend({ qty: z.int() }),
    output: z.any(),
    errors: { outOfStock: error(409, z.object({ left: z.int() })) },
  },
  live: { http: 'GET /stock/:sku/live', key: 'sku', input: Sku, output: stream(z.int()) },
  hook: { http: 'POST /hook', raw: true },
  count: { public: true, input: z.object({ n: z.int() }), output: z.int() },
  extra: { public: true, priority: 'optional', output: z.int() },
  secret: { input: Sku, output: z.string() },
  clear: { http: 'DELETE /stock/:sku', input: Sku },
});
const nothing = (): never => {
  throw new Error('never called');
};
export const stockDescriptor: Descriptor = describeService(
  stock.implement({
    methods: {
      get: nothing,
      all: nothing,
      reserve: nothing,
      live: nothing,
      hook: nothing,
      count: nothing,
      extra: nothing,
      secret: nothing,
      clear: nothing,
    },
  }),
);

export type Handle = (service: string, method: string, input: unknown, options: OutgoingCall) => unknown;

export function fakeRegistry(descriptors: Descriptor[]): Registry & { join(descriptor: Descriptor): void } {
  let version = 1;
  return {
    get version() {
      return version;
    },
    join(descriptor) {
      descriptors.push(descriptor);
      version++;
    },
    members: () => [],
    instances: () => [],
    member: () => undefined,
    services: () => descriptors.map(({ service }) => service),
    descriptor: name => descriptors.find(({ service }) => service === name),
    descriptors: name => descriptors.filter(({ service }) => service === name),
    descriptorOf: () => undefined,
    learning: () => false,
    conflicts: () => [],
    onChange: () => () => {},
    until: async () => {},
    reportBroken() {},
    reportRefused() {},
  };
}

export function fakeCaller(handle: Handle): GatewayCaller {
  return {
    async call(service, method, input, options) {
      const value = await handle(service, method, input, options);
      const meta = {
        level: 'eventual' as const,
        degraded: false,
        staleness: { entries: 2, ms: 7 },
        instance: 'stock-1',
      };
      return { value, meta: { ...meta, requestId: options.requestId } };
    },
    async *stream(service, method, input, options) {
      const given = await handle(service, method, input, options);
      if (typeof given === 'object' && given !== null && Symbol.asyncIterator in given)
        yield* given as AsyncIterable<unknown>;
      else yield { ...(given as object), meta: { instance: 'stock-1' } };
    },
  };
}

export async function openTestGateway(handle: Handle, options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  return openGateway({
    registry: fakeRegistry([stockDescriptor]),
    caller: fakeCaller(handle),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: silentMeter,
    tracer: silentTracer,
    port: 0,
    secret: 'a secret of tests',
    learnMs: 0,
    ...options,
  });
}

/** Sends bytes as they are and gives all that comes back until the connection ends. */
export function bytesTo(port: number, text: string): Promise<string> {
  return new Promise(resolve => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.on('data', chunk => {
      answer += chunk.toString();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}

export function advance(options: OutgoingCall, log: string, position: number): void {
  (options.session as Session).advance(log, position);
}

/** Polls until it is so, for 10 s at most. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

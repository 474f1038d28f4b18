/** Not a test itself: a gRPC door on a real HTTP/2 port before services that are only descriptors, and a client of grpc-js. */
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import { error, stream } from '../contract/method.ts';
import { protoOf } from '../contract/proto-build.ts';
import type { ProtoFile } from '../contract/proto-file.ts';
import { systemClock } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { systemRandom } from '../core/random.ts';
import { silentTracer } from '../core/tracer.ts';
import type { Registry } from '../naming/registry.ts';
import { AccessRecorder } from './access-records.ts';
import { Admission } from './admission.ts';
import { fakeCaller, fakeRegistry, type Handle } from './fixture.test.ts';
import { GrpcDoor, type GrpcParts } from './grpc-door.ts';
import { decode, encode } from './proto-codec.ts';
import { sessionTokens } from './session-token.ts';

const Line = z.object({ sku: z.string(), qty: z.int() });

export const desk = contract('desk', {
  reserve: {
    public: true,
    key: 'sku',
    input: Line,
    output: z.object({ left: z.int(), note: z.string().optional() }),
    errors: { outOfStock: error(409, z.object({ left: z.int() })), gone: error(404) },
    timeout: '2s',
  },
  live: { public: true, input: z.object({ sku: z.string() }), output: stream(Line) },
  count: { public: true, input: stream(Line), output: z.int() },
  talk: { public: true, input: stream(Line), output: stream(Line) },
  ping: { public: true },
  secret: { input: Line },
});
const nothing = (): never => {
  throw new Error('never called');
};
export const deskDescriptor = describeService(
  desk.implement({
    methods: {
      reserve: nothing,
      live: nothing,
      count: nothing,
      talk: nothing,
      ping: nothing,
      secret: nothing,
    } as never,
  }),
);
export const deskFile: ProtoFile = protoOf(deskDescriptor).file;

export interface TestDoor {
  readonly port: number;
  readonly admission: Admission;
  readonly registry: ReturnType<typeof fakeRegistry>;
  readonly server: Http2Server;
  close(): Promise<void>;
}

export async function openTestDoor(handle: Handle, options: Partial<GrpcParts> = {}): Promise<TestDoor> {
  const admission = new Admission(100, 4_000_000);
  const registry = fakeRegistry([deskDescriptor]);
  const door = new GrpcDoor({
    registry: registry as Registry,
    caller: fakeCaller(handle),
    admission,
    tokens: sessionTokens('a secret of tests'),
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: silentMeter,
    tracer: silentTracer,
    clientOf: request => ({ address: request.socket.remoteAddress, scheme: 'http' }),
    access: new AccessRecorder('off', silentLogger, systemRandom),
    bodyBytesMax: 1_000_000,
    compression: false,
    compressionBytesMin: 0,
    requestTimeoutMs: 30_000,
    answerIdleTimeoutMs: 30_000,
    streamMsMax: 60_000,
    heartbeatMs: 1000,
    learning: () => false,
    learnMs: 0,
    ready: () => true,
    closing: () => false,
    ending: new AbortController().signal,
    ...options,
  });
  const server = createServer();
  server.on('request', (request, response) => {
    response.on('error', () => {});
    void door.handle(request as never, response as never);
  });
  server.on('sessionError', () => {});
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', session => {
    sessions.add(session);
    session.on('error', () => {});
    session.on('close', () => sessions.delete(session));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    admission,
    registry,
    server,
    close: () =>
      new Promise(resolve => {
        for (const session of sessions) session.destroy();
        server.close(() => resolve());
      }),
  };
}

type Method = (
  input?: unknown,
  metadata?: grpc.Metadata,
  options?: grpc.CallOptions,
) => grpc.Client & Record<string, never>;
// biome-ignore lint/suspicious/noExplicitAny: a client made at run time has methods that no type knows
export type AnyClient = Record<string, any> & { close(): void } & Record<never, Method>;

/** A client of grpc-js for the methods of a file. */
export function clientOf(file: ProtoFile, port: number, options: grpc.ClientOptions = {}): AnyClient {
  const methods = file.methods.map(({ name, input, output, inputStream, outputStream }) => [
    name,
    {
      path: `/${file.serviceName}/${name}`,
      requestStream: inputStream,
      responseStream: outputStream,
      requestSerialize: (value: unknown) => encode(input, value),
      requestDeserialize: (bytes: Buffer) => decode(input, bytes),
      responseSerialize: (value: unknown) => encode(output, value),
      responseDeserialize: (bytes: Buffer) => decode(output, bytes) ?? {},
    },
  ]);
  const Client = grpc.makeGenericClientConstructor(Object.fromEntries(methods), file.serviceName);
  return new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options) as unknown as AnyClient;
}

export interface UnaryResult {
  readonly value?: unknown;
  readonly error?: grpc.ServiceError;
  readonly trailers: Readonly<Record<string, unknown>>;
}

export function unary(
  client: AnyClient,
  method: string,
  input: unknown,
  metadata: Readonly<Record<string, string>> = {},
  options: grpc.CallOptions = {},
): Promise<UnaryResult> {
  return new Promise(resolve => {
    const given = new grpc.Metadata();
    for (const [name, value] of Object.entries(metadata)) given.set(name, value);
    let result: { value?: unknown; error?: grpc.ServiceError };
    const call = client[method](input, given, options, (failure: grpc.ServiceError | null, value: unknown) => {
      result = failure ? { error: failure } : { value };
    });
    call.on('status', (status: grpc.StatusObject) =>
      setImmediate(() => resolve({ ...result, trailers: status.metadata.getMap() })),
    );
  });
}

/**
 * Random mutations against the gateway's gRPC door: well-formed calls whose path, headers and messages are broken, cut, doubled and split at will, and whole
 * connections whose bytes are. Each call must end, with a status or a reset; nothing may be held afterwards, and a good client beside is always answered.
 * `node --conditions=tandem-source test/fuzz-grpc.ts --minutes 5 [--seed N]`.
 */
import assert from 'node:assert/strict';
import { type ClientHttp2Session, connect } from 'node:http2';
import { connect as connectSocket, createServer, type Server } from 'node:net';
import { parseArgs } from 'node:util';
import { systemClock as clock } from '../src/core/clock.ts';
import { type Random, seededRandom } from '../src/core/random.ts';
import { fakeRegistry, type Handle, openTestGateway } from '../src/gateway/fixture.test.ts';
import { clientOf, deskDescriptor, deskFile, unary } from '../src/gateway/grpc-fixture.test.ts';
import { healthFile } from '../src/gateway/grpc-health.ts';
import { reflectionFile } from '../src/gateway/grpc-reflection.ts';
import { encode } from '../src/gateway/proto-codec.ts';

interface GrpcFuzz {
  /** One mutated input; how it ended: `status 3`, `http 415`, `reset`, `connection`. */
  once(random: Random): Promise<string>;
  /** Nothing is held, and a good client is answered. @throws when not. */
  check(): Promise<void>;
  close(): Promise<void>;
}

interface Seed {
  readonly path: string;
  readonly body: Buffer;
}

const patienceMs = 5000;
const line = { sku: 'chair', qty: 3 };

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function seeds(): Seed[] {
  const input = (name: string): Buffer =>
    frame(encode(deskFile.methods.find(method => method.name === name)!.input, { ...line, note: undefined }));
  const [check] = healthFile.methods as [(typeof healthFile.methods)[0]];
  const reflection = reflectionFile('v1');
  const ask = (question: object): Buffer => frame(encode(reflection.methods[0]!.input, question));
  return [
    { path: '/desk.Desk/Reserve', body: input('Reserve') },
    { path: '/desk.Desk/Live', body: input('Live') },
    { path: '/desk.Desk/Count', body: Buffer.concat([input('Count'), input('Count'), input('Count')]) },
    { path: '/desk.Desk/Talk', body: Buffer.concat([input('Talk'), input('Talk')]) },
    { path: '/grpc.health.v1.Health/Check', body: frame(encode(check.input, { service: 'desk' })) },
    {
      path: '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      body: Buffer.concat([ask({ listServices: '' }), ask({ fileContainingSymbol: 'desk.Desk' })]),
    },
  ];
}

const oddHeaders: Readonly<Record<string, readonly string[]>> = {
  'content-type': [
    'application/grpc+proto',
    'application/grpc+json',
    'application/grpc-web',
    'application/grpc;x=1',
    'application/grpcx',
    'text/plain',
  ],
  'grpc-timeout': ['0n', '1S', '99999999H', '-1S', '1', 'S', '1e3S', '', '10m'],
  'grpc-encoding': ['gzip', 'deflate', 'identity', 'snappy', 'gzip,gzip', ''],
  'tandem-session': ['1.x', '1.a=b.c', 'x'.repeat(5000), '1..'],
  'idempotency-key': ['', ' ', '"', 'a'.repeat(300), 'k'],
  'tandem-timeout': ['1s', 'x', '-1'],
  'tandem-consistency': ['strong', 'weak'],
  traceparent: ['00-0-0-0', 'x'],
  'x-request-id': ['a b', 'ok', 'x'.repeat(200)],
  'grpc-accept-encoding': ['gzip'],
  'huge-bin': ['A'.repeat(9000)],
};

async function openGrpcFuzz(): Promise<GrpcFuzz> {
  const handle: Handle = (_service, method, input) => {
    if (method === 'count')
      return (async () => {
        let count = 0;
        for await (const _ of input as AsyncIterable<unknown>) count++;
        return count;
      })();
    if (method === 'talk')
      return (async function* () {
        for await (const item of input as AsyncIterable<unknown>) yield item;
      })();
    if (method === 'live')
      return (async function* () {
        for (let qty = 0; qty < 3; qty++) yield { ...line, qty };
      })();
    return { left: 1 };
  };
  const door = await openTestGateway(handle, { registry: fakeRegistry([deskDescriptor]) });
  const good = clientOf(deskFile, door.port);
  const recorded = await record(door.port);
  let session: ClientHttp2Session | undefined;
  const all = seeds();

  const http2Session = (): ClientHttp2Session => {
    if (session && !session.closed && !session.destroyed) return session;
    session = connect(`http://127.0.0.1:${door.port}`);
    session.on('error', () => {});
    return session;
  };

  const call = (random: Random): Promise<string> => {
    const seed = all[random.below(all.length)]!;
    const headers: Record<string, string> = {
      ':method': 'POST',
      ':path': seed.path,
      'content-type': 'application/grpc',
      te: 'trailers',
    };
    for (let odd = random.below(3); odd > 0; odd--) {
      const names = Object.keys(oddHeaders);
      const name = names[random.below(names.length)]!;
      const values = oddHeaders[name]!;
      headers[name] = values[random.below(values.length)]!;
    }
    if (random.below(20) === 0)
      headers[':path'] =
        mutated(Buffer.from(seed.path), random)
          .toString('latin1')
          .replaceAll(/[^\x21-\x7e]/g, '') || '/';
    const body = random.below(10) === 0 ? seed.body : mutated(seed.body, random);
    return new Promise((resolve, reject) => {
      let ended = '';
      const stream = http2Session().request(headers);
      const late = setTimeout(
        () => reject(new Error(`a call did not end: ${JSON.stringify(headers)} ${body.toString('hex')}`)),
        patienceMs,
      );
      const note = (given: Record<string, unknown>): void => {
        if (given['grpc-status'] !== undefined) ended = `status ${given['grpc-status']}`;
        else if (given[':status'] !== 200 && given[':status'] !== undefined) ended = `http ${given[':status']}`;
      };
      stream.on('response', note as never);
      stream.on('trailers', note as never);
      stream.on('error', () => {});
      stream.on('close', () => {
        clearTimeout(late);
        resolve(ended || (stream.rstCode === 0 ? 'web' : 'reset'));
      });
      stream.resume();
      for (let at = 0; at < body.length; ) {
        const size = 1 + random.below(body.length);
        stream.write(body.subarray(at, at + size));
        at += size;
      }
      if (random.below(12) === 0) stream.close(8);
      else stream.end();
    });
  };

  const connection = (random: Random): Promise<string> =>
    new Promise(resolve => {
      const bytes = mutated(recorded, random);
      const socket = connectSocket(door.port, '127.0.0.1', () => {
        const cut = random.below(bytes.length + 1);
        socket.write(bytes.subarray(0, cut));
        socket.write(bytes.subarray(cut));
        setTimeout(() => socket.destroy(), random.below(15));
      });
      socket.on('error', () => {});
      socket.on('close', () => resolve('connection'));
      socket.resume();
    });

  return {
    once: random => (random.below(5) === 0 ? connection(random) : call(random)),
    async check() {
      const { value } = await unary(good, 'Reserve', line, {}, { deadline: Date.now() + patienceMs });
      assert.deepEqual(value, { left: 1 });
      const end = performance.now() + patienceMs;
      while (door.inflight + door.bodyBytes > 0) {
        assert(performance.now() < end, `${door.inflight} calls and ${door.bodyBytes} bytes are still held`);
        await new Promise(resolve => setTimeout(resolve, 5));
      }
    },
    async close() {
      session?.destroy();
      good.close();
      await door.close(0);
    },
  };
}

const atOnce = 16;
const checkedEvery = 100;
/** Connections of good clients, and those that are just ending. */
const socketsMax = 200;

/** How many inputs ended how. @throws when one does not end, something is held afterwards, or a good client is not answered. */
export async function fuzzGrpc(minutes: number, seed: number): Promise<Record<string, number>> {
  const random = seededRandom(seed);
  const counts: Record<string, number> = {};
  const end = clock.monotonic() + minutes * 60_000;
  const fuzz = await openGrpcFuzz();
  try {
    for (let batch = 1; clock.monotonic() < end; batch++) {
      for (const ended of await Promise.all(Array.from({ length: atOnce }, () => fuzz.once(random))))
        counts[ended] = (counts[ended] ?? 0) + 1;
      if (batch % checkedEvery === 0) await fuzz.check();
    }
    await fuzz.check();
    const sockets = process.getActiveResourcesInfo().filter(kind => kind === 'TCPSocketWrap').length;
    assert(sockets < socketsMax, `${sockets} connections are still there`);
    return counts;
  } finally {
    await fuzz.close();
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } });
  const seed = Number(values.seed ?? clock.now() % 1_000_000);
  console.log(`seed ${seed}`);
  const counts = await fuzzGrpc(Number(values.minutes ?? 5), seed);
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const { heapUsed, rss } = process.memoryUsage();
  console.log(`${total} inputs`, counts, `heap ${Math.round(heapUsed / 1e6)} MB, resident ${Math.round(rss / 1e6)} MB`);
}

/** The bytes that a real client sends for a few calls. */
async function record(port: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const proxy: Server = createServer(socket => {
    const behind = connectSocket(port, '127.0.0.1');
    socket.on('data', chunk => {
      chunks.push(chunk);
      behind.write(chunk);
    });
    behind.on('data', chunk => socket.write(chunk));
    for (const [one, other] of [
      [socket, behind],
      [behind, socket],
    ] as const) {
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  });
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve));
  const client = clientOf(deskFile, (proxy.address() as { port: number }).port);
  for (let i = 0; i < 3; i++) await unary(client, 'Reserve', line);
  client.close();
  proxy.close();
  return Buffer.concat(chunks);
}

function mutated(bytes: Buffer, random: Random): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + random.below(4); edits > 0; edits--) {
    const at = random.below(result.length + 1);
    switch (random.below(7)) {
      case 0:
        if (at < result.length) result[at] = random.below(256);
        break;
      case 1:
        if (at < result.length) result[at] = result[at]! ^ (1 << random.below(8));
        break;
      case 2:
        result = Buffer.from(result.subarray(0, at));
        break;
      case 3:
        result = Buffer.concat([
          result.subarray(0, at),
          Buffer.from([random.below(256), random.below(256)]),
          result.subarray(at),
        ]);
        break;
      case 4:
        result = Buffer.concat([result, result.subarray(at)]);
        break;
      case 5:
        if (result.length >= 5)
          result.writeUInt32BE([0, 1, 0x7fff_ffff, 0xffff_ffff, 1_000_001, 1_000_000][random.below(6)]!, 1);
        break;
      default:
        if (result.length > 0) result[0] = random.below(3);
    }
  }
  return result;
}

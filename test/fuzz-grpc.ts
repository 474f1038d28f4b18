/**
 * gRPC for the fuzzer: calls as text (path and metadata by line, then the messages' bytes), sent by a real HTTP/2 client so that mutants get past the framing,
 * and whole connections as bytes, so that some do not.
 */
import assert from 'node:assert/strict';
import { connect } from 'node:http2';
import { fakeRegistry, type Handle, openTestGateway } from '../src/gateway/fixture.test.ts';
import { clientOf, deskDescriptor, deskFile, unary } from '../src/gateway/grpc-fixture.test.ts';
import { healthFile } from '../src/gateway/grpc-health.ts';
import { reflectionFile } from '../src/gateway/grpc-reflection.ts';
import { encode } from '../src/gateway/proto-codec.ts';
import { type Fate, type FuzzProtocol, overTcp, type Sample } from './fuzz-protocol.ts';

const patienceMs = 900;
const line = { sku: 'chair', qty: 3 };
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const plain = ['content-type: application/grpc', 'te: trailers'];

const handle: Handle = (_service, method, input) => {
  if (method === 'count') return countOf(input as AsyncIterable<unknown>);
  if (method === 'talk') return input;
  if (method === 'live') return threeLines();
  return { left: 1 };
};

async function countOf(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count++;
  return count;
}

async function* threeLines(): AsyncGenerator<unknown> {
  for (let qty = 0; qty < 3; qty++) yield { ...line, qty };
}

function framed(message: Buffer, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function input(name: string): Buffer {
  return framed(encode(deskFile.methods.find(method => method.name === name)!.input, line));
}

function sample(path: string, body: Buffer, ...metadata: string[]): Sample {
  const head = [path, ...plain, ...metadata].join('\n');
  return { name: `${path} ${metadata.join(' ')}`, bytes: Buffer.concat([Buffer.from(`${head}\n\n`), body]) };
}

/** The bytes of a connection with one call: SETTINGS, HEADERS without compression (RFC 7541, 6.2.2), DATA. */
function connection(path: string, body: Buffer): Sample {
  const http2 = (type: number, flags: number, stream: number, payload: Buffer): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  const literal = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), Buffer.from(text)]);
  const fields = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'a'],
    ...plain.map(text => text.split(': ')),
  ];
  const block = fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name!), literal(value!)]);
  const frames = [http2(4, 0, 0, Buffer.alloc(0)), http2(1, 4, 1, Buffer.concat(block)), http2(0, 1, 1, body)];
  return { name: `connection ${path}`, bytes: Buffer.concat([Buffer.from(preface), ...frames]) };
}

const reflection = reflectionFile('v1').methods[0]!.input;
const good = input('Reserve');
const samples: readonly Sample[] = [
  sample('/desk.Desk/Reserve', good),
  sample('/desk.Desk/Reserve', good, 'grpc-timeout: 1S', 'idempotency-key: k', 'tandem-session: 1.a=b.c'),
  sample('/desk.Desk/Reserve', framed(good.subarray(5), 1), 'grpc-encoding: gzip'),
  sample('/desk.Desk/Reserve', framed(good.subarray(5), 1)),
  sample('/desk.Desk/Reserve', Buffer.concat([good, good])),
  sample('/desk.Desk/Reserve', good.subarray(0, 8)),
  sample('/desk.Desk/Live', input('Live')),
  sample('/desk.Desk/Count', Buffer.concat([input('Count'), input('Count'), input('Count')])),
  sample('/desk.Desk/Talk', Buffer.concat([input('Talk'), input('Talk')])),
  sample('/desk.Desk/Nothing', good, 'x-huge: '.concat('x'.repeat(5000))),
  sample('/grpc.health.v1.Health/Check', framed(encode(healthFile.methods[0]!.input, { service: 'desk' }))),
  sample('/grpc.health.v1.Health/Watch', framed(encode(healthFile.methods[0]!.input, { service: '' }))),
  sample(
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    Buffer.concat([
      framed(encode(reflection, { listServices: '' })),
      framed(encode(reflection, { fileContainingSymbol: 'desk.Desk' })),
    ]),
  ),
  connection('/desk.Desk/Reserve', good),
  connection('/desk.Desk/Talk', Buffer.concat([input('Talk'), input('Talk')])),
];

/** Where the messages begin; 0 of a whole connection. */
function bodyAt(bytes: Buffer): number {
  return bytes.subarray(0, 3).equals(Buffer.from('PRI')) ? 0 : bytes.indexOf('\n\n') + 2;
}

/** Pseudo-headers and names that a client would not send at all are left out. */
function headersOf(head: string): Record<string, string> {
  const [path = '', ...lines] = head.split('\n');
  const headers: Record<string, string> = {
    ':method': 'POST',
    ':path': path.replaceAll(/[^\x21-\x7e]/g, '') || '/',
  };
  for (const text of lines) {
    const [, name, value] = /^([a-z][a-z0-9.-]*): ?([\x20-\x7e]*)$/.exec(text) ?? [];
    if (
      name !== undefined &&
      !/^(?:connection|upgrade|host|http2-settings|keep-alive|proxy-connection|transfer-encoding|te)$/.test(name)
    )
      headers[name] = value!.trim();
  }
  return { ...headers, te: 'trailers' };
}

export const protocol: FuzzProtocol = {
  samples,

  async serve() {
    const { port } = await openTestGateway(handle, { registry: fakeRegistry([deskDescriptor]) });
    return { port };
  },

  /** A first message that is as long as it says. */
  mend(bytes) {
    const mended = Buffer.from(bytes);
    const at = bodyAt(mended);
    if (at > 1 && mended.length >= at + 5) mended.writeUInt32BE(mended.length - at - 5, at + 1);
    return mended;
  },

  attack({ port }, given, random) {
    const bytes = Buffer.from(given);
    const at = bodyAt(bytes);
    if (at <= 1) return overTcp(Number(port), bytes, random);
    return new Promise<Fate>(resolve => {
      const session = connect(`http://127.0.0.1:${port}`);
      session.on('error', () => {});
      let fate: Fate = 'closed';
      const late = setTimeout(() => {
        if (fate === 'closed') fate = 'silent';
        session.destroy();
      }, patienceMs);
      session.on('close', () => {
        clearTimeout(late);
        resolve(fate);
      });
      const stream = session.request(headersOf(bytes.toString('latin1', 0, at - 2)));
      stream.on('error', () => {});
      stream.on('response', () => {
        fate = 'answered';
        // It would go on for as long as the client likes.
        if (bytes.includes('Watch')) session.destroy();
      });
      stream.on('close', () => session.destroy());
      stream.resume();
      for (let from = at; from < bytes.length; ) {
        const to = from + 1 + random.below(bytes.length);
        stream.write(bytes.subarray(from, to));
        from = to;
      }
      if (random.below(12) === 0) stream.close(8);
      else stream.end();
    });
  },

  async openClient({ port }) {
    const client = clientOf(deskFile, Number(port));
    return {
      async ask() {
        assert.deepEqual((await unary(client, 'Reserve', line)).value, { left: 1 });
      },
      close: () => client.close(),
    };
  },
};

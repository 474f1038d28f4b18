import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { request as requestHttps } from 'node:https';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { type Logger, silentLogger } from '../core/logger.ts';
import { first, second } from './certificates.fixture.test.ts';
import { advance, bytesTo, type Handle, openTestGateway, until } from './fixture.test.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';

interface Answered {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function send(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string | Buffer): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let answered: IncomingHttpHeaders = {};
    let text = '';
    stream.on('response', given => (answered = given)).on('data', chunk => (text += chunk));
    stream.on('error', reject).on('close', () => resolve({ headers: answered, body: text }));
    if (body !== undefined) stream.end(body);
  });
}

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const cancel = Buffer.from([0, 0, 0, 8]);
/** GET http /stock/a of host x, without Huffman. */
const getStock = Buffer.from('\x82\x86\x04\x08/stock/a\x01\x01x', 'latin1');

async function withGateway(
  handle: Handle,
  run: (session: ClientHttp2Session, gateway: Gateway) => Promise<void>,
  options: Partial<GatewayOptions> = {},
): Promise<void> {
  const gateway = await openTestGateway(handle, options);
  const session = connect(gateway.url, { rejectUnauthorized: false });
  session.on('error', () => {});
  try {
    await run(session, gateway);
  } finally {
    session.destroy();
    await gateway.close(0);
  }
}

test('one connection of HTTP/2 carries what HTTP/1.1 does: values, problems, bodies, HEAD, cookies', async () => {
  const handle: Handle = (_service, method, input, options) => {
    if (method === 'get') advance(options, 'state/stock/1', 7);
    if (method === 'hook') {
      const { body, ...form } = input as { body: Uint8Array | null };
      const headers = [
        ['set-cookie', 'a=1'],
        ['set-cookie', 'b=2'],
        ['connection', 'close'],
        ['keep-alive', 'timeout=5'],
      ];
      return { status: 201, headers, body: Buffer.from(JSON.stringify({ form, bytes: body?.length })) };
    }
    return input;
  };
  await withGateway(handle, async (session, gateway) => {
    const got = await send(session, { ':path': '/stock/chair?x=1' });
    assert.equal(got.headers[':status'], 200);
    assert.deepEqual(JSON.parse(got.body), { sku: 'chair', x: '1' });
    assert.ok(got.headers['x-request-id'] && got.headers['tandem-session']);
    assert.equal(got.headers.connection, undefined);
    const json = { ':method': 'POST', 'content-type': 'application/json' };
    const reserved = await send(session, { ...json, ':path': '/stock/a/reserve' }, '{"qty":2}');
    assert.deepEqual(JSON.parse(reserved.body), { qty: 2, sku: 'a' });
    const head = await send(session, { ':path': '/stock/chair', ':method': 'HEAD' });
    assert.equal(`${head.headers[':status']}${head.body}`, '200');
    const missing = await send(session, { ':path': '/nowhere' });
    assert.equal(missing.headers[':status'], 404);
    assert.equal(missing.headers['content-type'], 'application/problem+json');
    const hook = await send(session, { ':method': 'POST', ':path': '/hook?a=b', 'x-mine': '1' }, Buffer.alloc(50_000));
    assert.equal(hook.headers[':status'], 201);
    assert.deepEqual(hook.headers['set-cookie']?.slice(-2), ['a=1', 'b=2']);
    const seen = JSON.parse(hook.body) as { bytes: number; form: { url: string; headers: [string, string][] } };
    assert.equal(seen.bytes, 50_000);
    assert.equal(seen.form.url, `${gateway.url}/hook?a=b`);
    assert.deepEqual(seen.form.headers, [['x-mine', '1']]);
  });
});

test('a stream flows as events, and ends for the service when its client cancels it', async () => {
  let cancelled = false;
  const handle: Handle = async function* (_service, _method, _input, { signal }) {
    yield 1;
    await new Promise(resolve => signal.addEventListener('abort', resolve));
    cancelled = true;
  };
  await withGateway(handle, async (session, gateway) => {
    const stream = session.request({ ':path': '/stock/a/live' });
    const text = await new Promise(resolve => stream.once('data', resolve));
    assert.match(String(text), /data: 1/);
    stream.close(constants.NGHTTP2_CANCEL);
    await until('the service to hear of it', () => cancelled && gateway.inflight === 0);
  });
});

test('an unfinished stream of a client that is gone when the first item comes ends too', async () => {
  let yielded = false;
  const handle: Handle = async function* () {
    try {
      await until('the client to be gone', () => gone);
      for (;;) yield 'x'.repeat(100_000);
    } finally {
      yielded = true;
    }
  };
  let gone = false;
  await withGateway(handle, async (session, gateway) => {
    const stream = session.request({ ':path': '/stock/a/live' });
    stream.on('error', () => {});
    await until('it to be under way', () => gateway.inflight === 1);
    session.destroy();
    await new Promise(resolve => setTimeout(resolve, 20));
    gone = true;
    await until('the stream to end', () => yielded && gateway.inflight === 0);
  });
});

test('a body that is too large, slow or compressed is refused alone: other calls of the connection go on', async () => {
  await withGateway(
    () => 'ok',
    async (session, gateway) => {
      const json = { ':method': 'POST', ':path': '/call/stock/count', 'content-type': 'application/json' };
      const large = await send(session, json, Buffer.alloc(5000, ' '));
      assert.equal(large.headers[':status'], 413);
      const declared = await send(session, { ...json, 'content-length': 5000 }, Buffer.alloc(5000));
      assert.equal(declared.headers[':status'], 413);
      const slow = session.request(json);
      slow.write('{');
      const [status] = await new Promise<[unknown]>(resolve => slow.on('response', got => resolve([got[':status']])));
      assert.equal(status, 408);
      await new Promise(resolve => slow.resume().once('close', resolve));
      assert.equal((await send(session, json, '{"n":1}')).body, '"ok"');
      await until('nothing to be held', () => gateway.inflight + gateway.bodyBytes === 0);
    },
    { bodyBytesMax: 1000, requestTimeoutMs: 50 },
  );
});

test('two names of one host, and CONNECT, are refused', async () => {
  await withGateway(
    () => 'ok',
    async session => {
      const two = await send(session, { ':path': '/stock/a', ':authority': 'a', host: 'b' });
      assert.equal(two.headers[':status'], 400);
      const tunnel = session.request({ ':method': 'CONNECT', ':authority': 'a:1' });
      const got = await new Promise<IncomingHttpHeaders>(resolve => tunnel.on('response', resolve));
      assert.equal(got[':status'], 405);
    },
  );
});

test('a client that opens and cancels streams without end loses its connection, and only that', async () => {
  await withGateway(
    (_service, _method, _input, { signal }) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    async (session, gateway) => {
      const socket = connectSocket(gateway.port, '127.0.0.1');
      const bytes: Buffer[] = [];
      socket.on('error', () => {}).on('data', chunk => bytes.push(chunk));
      const over = new Promise(resolve => socket.once('close', resolve));
      const parts = [Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0)];
      for (let id = 1; id < 2000; id += 2) parts.push(frame(1, 5, id, getStock), frame(3, 0, id, cancel));
      socket.write(Buffer.concat(parts));
      await over;
      assert.ok(Buffer.concat(bytes).includes(frame(7, 0, 0).subarray(3)), 'a GOAWAY says so');
      assert.equal((await send(session, { ':path': '/nowhere' })).headers[':status'], 404);
      await until('what it began to be over', () => gateway.inflight === 0);
      assert.equal((await fetch(`${gateway.url}/-/health`)).status, 200);
    },
  );
});

test('an answer that nobody reads is not held for ever', async () => {
  const big = 'x'.repeat(3_000_000);
  await withGateway(
    () => big,
    async (session, gateway) => {
      const streams: ClientHttp2Stream[] = [];
      const closed: Promise<unknown>[] = [];
      for (let i = 0; i < 10; i++) {
        const stream = session.request({ ':path': '/stock/a' });
        stream.on('error', () => {});
        streams.push(stream);
        closed.push(new Promise(resolve => stream.once('close', resolve)));
      }
      await until('they are answered', () => gateway.bodyBytes > 3_000_000);
      await until('they are given up', () => gateway.bodyBytes === 0);
      for (const stream of streams) stream.resume();
      await Promise.all(closed);
    },
    { answerIdleTimeoutMs: 400 },
  );
});

test('a gateway that closes says so, answers what is under way, and refuses what comes as never begun', async () => {
  let finish = (_value: unknown): void => {};
  const gateway = await openTestGateway((_service, _method, input) => {
    const { sku } = input as { sku: string };
    return sku === 'slow' ? new Promise(resolve => (finish = resolve)) : sku;
  });
  const session = connect(gateway.url);
  const goodbyes: [number, number][] = [];
  session.on('goaway', (code, last) => goodbyes.push([code, last]));
  const slow = send(session, { ':path': '/stock/slow' });
  await until('it is under way', () => gateway.inflight === 1);
  const closed = gateway.close(5000);
  // In the same breath: the client cannot have heard of it. What it is told means "never begun": it may send it elsewhere.
  await assert.rejects(send(session, { ':path': '/stock/late' }), /NGHTTP2_REFUSED_STREAM/);
  await until('the client heard', () => goodbyes.length > 0);
  finish('done');
  assert.equal((await slow).body, '"done"');
  await closed;
  assert.deepEqual(goodbyes[0], [0, 1]);
});

const directory = mkdtempSync(join(tmpdir(), 'tandem-tls-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const files = { cert: join(directory, 'cert.pem'), key: join(directory, 'key.pem') };
const write = (pair: { cert: string; key: string }): void => {
  writeFileSync(files.cert, pair.cert);
  writeFileSync(files.key, pair.key);
};

test('with a certificate the port speaks HTTPS: HTTP/2 or HTTP/1.1 as the client wants, and tells others so', async () => {
  write(first);
  await withGateway(
    (_service, _method, _input, { caller }) => caller.address,
    async (session, gateway) => {
      assert.match(gateway.url, /^https:/);
      assert.equal((await send(session, { ':path': '/stock/a' })).body, '"127.0.0.1"');
      assert.equal((session.socket as { alpnProtocol?: string }).alpnProtocol, 'h2');
      const old = await new Promise<string>((resolve, reject) => {
        requestHttps(`${gateway.url}/stock/a`, { rejectUnauthorized: false, agent: false }, response => {
          response.on('data', data => resolve(`HTTP/${response.httpVersion} ${data}`));
        })
          .on('error', reject)
          .end();
      });
      assert.equal(old, 'HTTP/1.1 "127.0.0.1"');
      const plain = await bytesTo(gateway.port, 'GET /stock/a HTTP/1.1\r\nhost: x\r\n\r\n');
      assert.match(plain, /^HTTP\/1.1 400 [\s\S]*https:/);
      const garbage = await bytesTo(gateway.port, '\x16\x03\x01\x00\x05hello');
      assert.equal(garbage.includes('HTTP'), false);
    },
    { tls: files, headersTimeoutMs: 500 },
  );
});

test('a renewed certificate is taken without a restart; a pair that does not fit is told of, and the old one stays', async () => {
  write(first);
  const told: string[] = [];
  const logger: Logger = { ...silentLogger, error: message => told.push(message), info: message => told.push(message) };
  const nameAt = (port: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      }).on('error', reject);
    });
  await withGateway(
    () => 'ok',
    async (session, gateway) => {
      assert.equal(await nameAt(gateway.port), 'first');
      writeFileSync(files.cert, second.cert);
      await until('it is told', () => told.some(line => line.includes('cannot be used')));
      assert.equal(await nameAt(gateway.port), 'first');
      writeFileSync(files.key, second.key);
      await until('it is read', () => told.some(line => line.includes('read again')));
      assert.equal(await nameAt(gateway.port), 'second');
      assert.equal((await send(session, { ':path': '/stock/a' })).body, '"ok"', 'open connections go on');
    },
    { tls: files, tlsReloadMs: 5, logger },
  );
});

test('a certificate that is not there, or of another key, is a clear error', async () => {
  const open = (tls: typeof files): Promise<Gateway> => openTestGateway(() => 'ok', { tls });
  await assert.rejects(open({ ...files, key: join(directory, 'none') }), {
    code: 'CONFIG',
    message: /none cannot be read/,
  });
  write({ cert: first.cert, key: second.key });
  await assert.rejects(open(files), { code: 'CONFIG', message: /do not work together/ });
});

test('behind a proxy of TCP the client is whom the PROXY protocol names; what does not begin with it is ended', async () => {
  write(first);
  for (const tls of [undefined, files]) {
    const gateway = await openTestGateway((_service, _method, _input, { caller }) => caller.address, {
      tls,
      proxyProtocol: true,
      trustProxies: ['loopback'],
    });
    const header = 'PROXY TCP6 2001:DB8:0::7 ::1 1234 80\r\n';
    const socket = connectSocket(gateway.port, '127.0.0.1', () => socket.write(header));
    const through = tls ? connectTls({ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] }) : socket;
    const session = connect('http://x', { createConnection: () => through });
    session.on('error', () => {});
    assert.equal((await send(session, { ':path': '/stock/a' })).body, '"2001:db8::7"');
    session.destroy();
    assert.equal(await bytesTo(gateway.port, 'GET /stock/a HTTP/1.1\r\nhost: x\r\n\r\n'), '');
    await gateway.close(0);
  }
});

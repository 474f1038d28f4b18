import assert from 'node:assert/strict';
import { connect as connectSocket, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { bytesTo, fakeRegistry, type Handle, openTestGateway, until } from './fixture.test.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';
import { clientOf, deskDescriptor, deskFile, unary } from './grpc-fixture.test.ts';

const line = { sku: 'chair', qty: 3 };
const answer = (): unknown => ({ left: 1 });
const open = (handle: Handle, options: Partial<GatewayOptions> = {}): Promise<Gateway> =>
  openTestGateway(handle, { registry: fakeRegistry([deskDescriptor]), ...options });

test('a connection that says nothing, or too little, is ended', async () => {
  const gateway = await open(answer, { headersTimeoutMs: 30 });
  for (const bytes of ['', 'P', 'PR']) assert.equal(await bytesTo(gateway.port, bytes), '', bytes);
  await gateway.close(0);
});

test('what begins as HTTP/2 and is none ends its connection alone', async () => {
  const gateway = await open(answer);
  await bytesTo(gateway.port, 'PRI * HTTP/1.1\r\nhost: x\r\n\r\n');
  await bytesTo(gateway.port, `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\xff'.repeat(100)}`);
  const client = clientOf(deskFile, gateway.port);
  assert.deepEqual((await unary(client, 'Reserve', line)).value, { left: 1 });
  client.close();
  await gateway.close(0);
});

test('a client that says hello and goodbye in one breath is let go', async () => {
  const gateway = await open(answer);
  const hello = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from('000000040000000000', 'hex'),
  ]);
  const left = Array.from({ length: 20 }, () =>
    new Promise(resolve => {
      const socket = connectSocket(gateway.port, '127.0.0.1', () => socket.end(hello));
      socket
        .resume()
        .on('error', () => {})
        .on('close', resolve);
    }).then(() => true),
  );
  const late = new Promise(resolve => setTimeout(resolve, 5000, false).unref());
  assert.equal(await Promise.race([Promise.all(left).then(() => true), late]), true, 'all are ended');
  await gateway.close(0);
});

test('the preface may come in pieces, and HTTP/1.1 shares the port', async () => {
  const gateway = await open(answer);
  const settings = await new Promise<Buffer>(resolve => {
    const socket = connectSocket(gateway.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.once('data', chunk => {
      socket.destroy();
      resolve(chunk);
    });
    const preface = Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.from('000000040000000000', 'hex'),
    ]);
    const next = (at: number): void => {
      if (at === preface.length || socket.destroyed) return;
      socket.write(preface.subarray(at, at + 1), () => setImmediate(next, at + 1));
    };
    next(0);
  });
  assert.equal(settings[3], 4, 'the first frame is SETTINGS');
  assert.equal((await fetch(`${gateway.url}/-/health`)).status, 200);
  await gateway.close(0);
});

test('metadata over its limit is refused, and nobody else is harmed', async () => {
  const gateway = await open(answer);
  const client = clientOf(deskFile, gateway.port);
  const { error } = await unary(client, 'Reserve', line, { 'x-huge': 'x'.repeat(40_000) });
  assert(error, 'it is refused');
  const other = clientOf(deskFile, gateway.port, { 'grpc.use_local_subchannel_pool': 1 });
  assert.deepEqual((await unary(other, 'Reserve', line)).value, { left: 1 });
  assert.equal(gateway.inflight, 0);
  client.close();
  other.close();
  await gateway.close(0);
});

test('a quiet stream lives on, one whose client is gone without a word ends', async () => {
  const gateway = await open(
    async function* (_service, _method, _input, { signal }) {
      yield line;
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    },
    { keepAliveTimeoutMs: 30, headersTimeoutMs: 60 },
  );
  const pairs: Socket[] = [];
  const proxy = createServer(near => {
    const far = connectSocket(gateway.port, '127.0.0.1');
    near.pipe(far);
    far.pipe(near);
    for (const socket of [near, far]) socket.on('error', () => {});
    pairs.push(near, far);
  });
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve));
  const client = clientOf(deskFile, (proxy.address() as { port: number }).port);
  const call = client.Live({ sku: 'a' });
  call.on('error', () => {});
  await new Promise(resolve => call.once('data', resolve));
  await new Promise(resolve => setTimeout(resolve, 250));
  assert.equal(gateway.inflight, 1, 'quiet for longer than both times');
  for (const socket of pairs) socket.unpipe().pause();
  await until('its place is free', () => gateway.inflight === 0);
  client.close();
  for (const socket of pairs) socket.destroy();
  proxy.close();
  await gateway.close(0);
});

test('a gateway that closes lets a call end, and its connections with it', async () => {
  let finish = (_value: unknown): void => {};
  let begun = (): void => {};
  const isBegun = new Promise<void>(resolve => {
    begun = resolve;
  });
  const gateway = await open(() => {
    begun();
    return new Promise(resolve => {
      finish = resolve;
    });
  });
  const client = clientOf(deskFile, gateway.port);
  const called = unary(client, 'Reserve', line);
  await isBegun;
  const closed = gateway.close(5000);
  finish({ left: 7 });
  assert.deepEqual((await called).value, { left: 7 });
  await closed;
  client.close();
});

test('a gateway that closes ends streams with UNAVAILABLE', async () => {
  const gateway = await open(async function* (_service, _method, _input, { signal }) {
    yield line;
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  });
  const client = clientOf(deskFile, gateway.port);
  const call = client.Live({ sku: 'a' });
  const status = new Promise<{ code: number }>(resolve => call.once('status', resolve));
  call.on('error', () => {});
  await new Promise(resolve => call.once('data', resolve));
  await gateway.close(5000);
  assert.equal((await status).code, 14);
  client.close();
});

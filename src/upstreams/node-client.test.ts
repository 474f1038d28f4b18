/** Services and upstreams behind one gateway: node:http reads what comes in. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { upstreamForm } from '../contract/upstream.ts';
import { systemClock as clock } from '../core/clock.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { openTestGateway } from '../gateway/fixture.test.ts';
import type { Gateway } from '../gateway/gateway.ts';
import { badRequests } from './bad-requests.fixture.test.ts';
import { byteServer, exchangeBytes, ok, statuses, type TestServer, until } from './fixture.test.ts';
import { passOn } from './node-client.ts';
import { Upstreams } from './upstreams.ts';

let bytes: TestServer;
const server = createServer((request, response) => {
  let size = 0;
  request.on('data', data => {
    size += data.length;
  });
  request.on('end', () => {
    response.setHeader('x-asked', `${request.method} ${request.url}`);
    response.setHeader('x-for', String(request.headers['x-forwarded-for']));
    if (request.url === '/missing') response.statusCode = 404;
    if (request.url === '/pieces') response.write('so far ');
    response.end(`${size} bytes`);
  });
});
let upstreams: Upstreams;
let gateway: Gateway;
let calls = 0;

before(async () => {
  bytes = await byteServer(text => {
    if (text.includes('upgrade: websocket') && text.endsWith('\r\n\r\n'))
      return 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello';
    if (text.endsWith('ping')) return 'pong';
    return text.startsWith('GET /bytes/plain') ? ok : undefined;
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const groups = [
    upstreamForm({ targets: [`http://127.0.0.1:${port}`], health: false }),
    upstreamForm({ prefix: '/bytes', targets: [bytes.url], health: false }),
  ];
  upstreams = new Upstreams({ groups, clock, random: seededRandom(1), logger, meter });
  await upstreams.open();
  const passing = { trusts: () => false };
  gateway = await openTestGateway(
    (_service, _method, input) => {
      calls++;
      return input;
    },
    {
      fallback: {
        request: (request, response) => passOn(upstreams, request, response, undefined, passing),
        upgrade: (request, socket, first) => passOn(upstreams, request, socket, first, passing),
      },
    },
  );
});
after(async () => {
  await gateway.close(0);
  upstreams.close();
  server.close();
  server.closeAllConnections();
  await bytes.close();
});

/** node:http reads it as one space; what an upstream gets is clean. */
const passedOver = ['two spaces'];
for (const [name, text] of Object.entries(badRequests)) {
  if (passedOver.includes(name)) continue;
  test(`the door of services refuses too: ${name}`, async () => {
    const [callsBefore, before] = [calls, bytes.received.join('').length];
    const answer = await exchangeBytes(gateway.port, text.replaceAll(' /p', ' /bytes/p'), given =>
      given.includes('"outcome"'),
    );
    const [status, ...more] = statuses(answer);
    assert.ok(status === undefined || (status >= 400 && status < 600), answer.slice(0, 100));
    assert.deepEqual(more, [], 'one answer at most');
    assert.equal(calls, callsBefore);
    const came = bytes.received.join('').slice(before);
    assert.ok(!came.includes('smuggled') && !came.includes('0\r\n\r\n'), came);
  });
}

test('what a service has is its own; other paths are the upstreams', async () => {
  const own = await fetch(`${gateway.url}/stock/a`);
  assert.deepEqual(await own.json(), { sku: 'a' });
  const other = await fetch(`${gateway.url}/elsewhere?x=1`, { headers: { 'x-forwarded-for': '6.6.6.6' } });
  assert.equal(await other.text(), '0 bytes');
  assert.equal(other.headers.get('x-asked'), 'GET /elsewhere?x=1');
  assert.equal(other.headers.get('x-for'), '127.0.0.1');
  assert.equal((await fetch(`${gateway.url}/missing`)).status, 404);
});

test('bodies pass both ways, with a length and in pieces', async () => {
  const posted = await fetch(`${gateway.url}/up`, { method: 'POST', body: Buffer.alloc(3_000_000) });
  assert.equal(await posted.text(), '3000000 bytes');
  const body = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 10; i++) controller.enqueue(new Uint8Array(1000));
      controller.close();
    },
  });
  const init = { method: 'PUT', body, duplex: 'half' } as RequestInit;
  assert.equal(await (await fetch(`${gateway.url}/pieces`, init)).text(), 'so far 10000 bytes');
});

test('a WebSocket of an upstream passes', async () => {
  const client = connect(gateway.port, '127.0.0.1');
  let came = '';
  client.on('data', data => {
    came += String(data);
  });
  client.write('GET /bytes/ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n');
  await until('it is open', () => came.endsWith('hello'));
  client.write('ping');
  await until('the answer is there', () => came.endsWith('pong'));
  client.end();
  await until('it is over', () => upstreams.inflight === 0);
});

test('a client that leaves ends its request at the upstream', async () => {
  const client = connect(gateway.port, '127.0.0.1');
  client.write('GET /bytes/never HTTP/1.1\r\nhost: a\r\n\r\n');
  await until('it is asked', () => bytes.received.join('').includes('/bytes/never'));
  client.destroy();
  await until('nobody is asked any more', () => upstreams.inflight === 0);
});

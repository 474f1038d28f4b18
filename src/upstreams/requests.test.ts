/** What clients send, byte for byte: what is refused, and what exactly reaches the upstream of what is not. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { badForProxies, badRequests } from './bad-requests.fixture.test.ts';
import { exchangeBytes, okServer, statuses, type TestDoor, type TestServer, testDoor, until } from './fixture.test.ts';

let upstream: TestServer;
let door: TestDoor;

before(async () => {
  upstream = await okServer();
  door = await testDoor([{ targets: [upstream.url] }], { headersTimeoutMs: 150, bodyTimeoutMs: 150 });
});
after(async () => {
  await door[Symbol.asyncDispose]();
  await upstream.close();
});

for (const [name, bytes] of Object.entries({ ...badRequests, ...badForProxies })) {
  test(`refused: ${name}`, async () => {
    const before = upstream.received.join('');
    const answer = await exchangeBytes(door.port, bytes);
    const [status, ...more] = statuses(answer);
    assert.ok(status !== undefined && status >= 400 && status < 600, answer.slice(0, 100) || 'no answer');
    assert.deepEqual(more, [], 'one answer only');
    assert.match(answer, /connection: close\r\n/);
    // A body that turns out bad in its midst has begun to go out; it is cut, and never ends as if it were whole.
    const came = upstream.received.join('').slice(before.length);
    assert.ok(!came.includes('smuggled'), came);
    assert.ok(!came.includes('0\r\n\r\n') && !/content-length/i.test(came), came);
  });
}

const said =
  'x-forwarded-for: 127.0.0.1\r\nx-forwarded-host: a\r\nx-forwarded-proto: http\r\nforwarded: for=127.0.0.1;host=a;proto=http\r\nvia: 1.1 tandem\r\n';
const passed: Readonly<Record<string, readonly [sent: string, received: string]>> = {
  'a plain request': ['GET /p?q=1 HTTP/1.1\r\nHost: a\r\n\r\n', `GET /p?q=1 HTTP/1.1\r\nhost: a\r\n${said}\r\n`],
  'fields in order, as they were written': [
    'GET / HTTP/1.1\r\nX-B:  1 \r\nHost: a\r\nx-a: 2\r\nX-B: \r\n\r\n',
    `GET / HTTP/1.1\r\nhost: a\r\nX-B:  1 \r\nx-a: 2\r\nX-B: \r\n${said}\r\n`,
  ],
  'an absolute URI of the same host': [
    'GET http://A/p HTTP/1.1\r\nhost: a\r\n\r\n',
    `GET /p HTTP/1.1\r\nhost: a\r\n${said}\r\n`,
  ],
  'an empty line before it': ['\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n', `GET / HTTP/1.1\r\nhost: a\r\n${said}\r\n`],
  'a body with a length': [
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello',
    `POST / HTTP/1.1\r\nhost: a\r\n${said}content-length: 5\r\n\r\nhello`,
  ],
  'an empty body': [
    'POST / HTTP/1.1\r\nhost: a\r\nContent-Length: 0\r\n\r\n',
    `POST / HTTP/1.1\r\nhost: a\r\n${said}content-length: 0\r\n\r\n`,
  ],
  'chunks, framed anew, their extensions dropped, trailers kept': [
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n00005;x="y"\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n',
    `POST / HTTP/1.1\r\nhost: a\r\n${said}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\n`,
  ],
  'no field of this hop, nor what the client names as such': [
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, X-Mine\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\nproxy-authorization: x\r\nte: gzip\r\nupgrade: h2c\r\nhttp2-settings: x\r\nx-mine: 1\r\nx-kept: 1\r\n\r\n',
    `GET / HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\n${said}\r\n`,
  ],
  'not what the client names of those that it may not': [
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: authorization, host, x-forwarded-for\r\nauthorization: b\r\n\r\n',
    `GET / HTTP/1.1\r\nhost: a\r\nauthorization: b\r\n${said}\r\n`,
  ],
  'nothing that the client says of itself': [
    'GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nx-forwarded-port: 1\r\nx_forwarded_for: 1\r\nContent_Length: 7\r\n\r\n',
    `GET / HTTP/1.1\r\nhost: a\r\n${said}\r\n`,
  ],
  'trailers are welcome': [
    'GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n',
    `GET / HTTP/1.1\r\nhost: a\r\n${said}te: trailers\r\nconnection: te\r\n\r\n`,
  ],
};
for (const [name, [sent, received]] of Object.entries(passed)) {
  test(`passed on: ${name}`, async () => {
    const before = upstream.received.join('').length;
    const answer = await exchangeBytes(door.port, sent, text => text.endsWith('ok'));
    assert.deepEqual(statuses(answer).slice(0, 1), [200], answer);
    await until('all of it came', () => upstream.received.join('').length - before >= received.length);
    assert.equal(upstream.received.join('').slice(before), received);
  });
}

test('requests sent ahead are answered in order, one upstream request each', async () => {
  const before = upstream.received.join('').length;
  const sent = [1, 2, 3].map(n => `GET /${n} HTTP/1.1\r\nhost: a\r\n\r\n`).join('');
  const answer = await exchangeBytes(door.port, sent, text => statuses(text).length === 3 && text.endsWith('ok'));
  assert.deepEqual(statuses(answer), [200, 200, 200]);
  const came = upstream.received.join('').slice(before);
  assert.deepEqual(came.match(/GET \/\d/g), ['GET /1', 'GET /2', 'GET /3']);
});

test('a request of one byte at a time is one request', async () => {
  const before = upstream.received.join('').length;
  const answer = await new Promise<string>(resolve => {
    const socket = connect({ port: door.port, host: '127.0.0.1', noDelay: true });
    const bytes = [...'POST /slow HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n'];
    const next = (): void => {
      const byte = bytes.shift();
      if (byte !== undefined) socket.write(byte, () => setImmediate(next));
    };
    next();
    socket.once('data', data => {
      socket.destroy();
      resolve(String(data));
    });
    socket.on('error', () => {});
  });
  assert.deepEqual(statuses(answer), [200]);
  assert.ok(upstream.received.join('').slice(before).startsWith('POST /slow HTTP/1.1\r\n'));
});

test('a client too slow with its head, or with its body, is told 408', async () => {
  const [head, body] = await Promise.all([
    exchangeBytes(door.port, 'GET / HTTP/1.1\r\nhost: a\r\n'),
    exchangeBytes(door.port, 'POST /stay HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\nhe'),
  ]);
  assert.deepEqual(statuses(head), [408]);
  // The upstream of this test answers at once; what matters is that the connection ends.
  assert.equal(statuses(body).length, 1);
});

test('a slow drip of a head does not reset its deadline', async () => {
  const from = performance.now();
  await new Promise<void>(resolve => {
    const socket = connect(door.port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n');
    const drip = setInterval(() => socket.write('x: y\r\n'), 20);
    socket.on('error', () => {});
    socket.resume();
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      clearInterval(drip);
      resolve();
    });
  });
  assert.ok(performance.now() - from < 1500);
});

test('HTTP/1.0 gets an answer and the end of the connection', async () => {
  const answer = await exchangeBytes(door.port, 'GET / HTTP/1.0\r\nhost: a\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok$/);
});

test('a path that could be read as one of another group is refused, where there are several', async () => {
  await using several = await testDoor([
    { prefix: '/public', targets: [upstream.url] },
    { prefix: '/admin', targets: [upstream.url] },
  ]);
  for (const path of [
    '/public/../admin',
    '/public/%2e%2e/admin',
    '/public/..%2fadmin',
    '/public/.\\admin',
    '/public/..',
  ]) {
    const answer = await exchangeBytes(several.port, `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
    assert.deepEqual(statuses(answer), [400], path);
  }
  const other = await exchangeBytes(several.port, 'GET /publicity HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
  assert.deepEqual(statuses(other), [404]);
});

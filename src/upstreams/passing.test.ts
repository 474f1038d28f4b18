/** Requests through a gateway that stands alone, over real sockets: failures first. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { byteServer, exchangeBytes, ok, okServer, statuses, type TestServer, testDoor, until } from './fixture.test.ts';

const get = 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
const post = 'POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi';
const requestsAt = ({ received }: TestServer): number => received.join('').match(/HTTP\/1\.1\r\n/g)?.length ?? 0;

/** A port that nobody listens on. */
async function deadUrl(): Promise<string> {
  const server = await okServer();
  await server.close();
  return server.url;
}

/** Takes a request and ends the connection without a word. */
const closingServer = (): Promise<TestServer> =>
  byteServer((text, socket) => {
    if (text.includes('\r\n\r\n')) socket.end();
    return undefined;
  });

test('who refuses connections costs nobody an answer, bodies included', async () => {
  const server = await okServer();
  await using door = await testDoor([{ targets: [await deadUrl(), server.url], balance: 'round-robin' }]);
  for (const request of [get, post, get, post, get, post])
    assert.deepEqual(statuses(await exchangeBytes(door.port, request)), [200]);
  assert.equal(requestsAt(server), 6);
  await server.close();
});

test('a GET whose connection ends without a byte is asked elsewhere; a POST is not sent twice', async () => {
  const [closing, server] = [await closingServer(), await okServer()];
  await using door = await testDoor([{ targets: [closing.url, server.url], balance: 'round-robin' }]);
  const answers: string[] = [];
  for (let i = 0; i < 4; i++) answers.push(await exchangeBytes(door.port, get));
  assert.deepEqual(answers.flatMap(statuses), [200, 200, 200, 200]);
  assert.equal(requestsAt(server), 4);
  const before = requestsAt(closing) + requestsAt(server);
  const posted = await Promise.all([exchangeBytes(door.port, post), exchangeBytes(door.port, post)]);
  assert.deepEqual(posted.flatMap(statuses).sort(), [200, 502]);
  assert.match(posted.find(text => text.includes('502'))!, /"code":"INTERRUPTED","outcome":"unknown"/);
  assert.equal(requestsAt(closing) + requestsAt(server) - before, 2, 'each reached one upstream once');
  await Promise.all([closing.close(), server.close()]);
});

test('nothing is asked again once a byte of an answer came, nor after a timeout', async () => {
  const half = await byteServer((text, socket) => {
    if (text.includes('/half')) socket.end('HTTP/1.1 200 OK\r\nconte');
    return undefined;
  });
  const server = await okServer();
  const targets = [
    { url: half.url, weight: 100 },
    { url: server.url, weight: 0.01 },
  ];
  await using door = await testDoor([{ targets, balance: 'weighted-round-robin', answerTimeout: '100ms' }]);
  const cut = await exchangeBytes(door.port, get.replace(' / ', ' /half '));
  const late = await exchangeBytes(door.port, get.replace(' / ', ' /silent '));
  assert.deepEqual([...statuses(cut), ...statuses(late)], [502, 504]);
  assert.equal(requestsAt(server), 0);
  await Promise.all([half.close(), server.close()]);
});

test('a kept connection that was closed meanwhile costs nobody an answer', async () => {
  let open: Socket | undefined;
  const server = await byteServer((text, socket) => {
    // The second request on a connection meets its end.
    if (text.split('\r\n\r\n').length > 2) socket.resetAndDestroy();
    open = socket;
    return ok;
  });
  await using door = await testDoor([{ targets: [server.url] }]);
  for (let i = 0; i < 3; i++) assert.deepEqual(statuses(await exchangeBytes(door.port, get)), [200]);
  assert.ok(open);
  await server.close();
});

test('all upstreams down is 503 at once, and says when to come back', async () => {
  await using door = await testDoor([{ targets: [await deadUrl(), await deadUrl()] }]);
  const answers: string[] = [];
  for (let i = 0; i < 8; i++) answers.push(await exchangeBytes(door.port, get));
  assert.deepEqual([...new Set(answers.flatMap(statuses))], [502, 503]);
  assert.match(answers.at(-1)!, /retry-after: 1\r\n/);
  assert.match(answers.at(-1)!, /"outcome":"not-done"/);
});

test('a client that leaves ends its request at the upstream', async () => {
  const server = await byteServer(() => undefined);
  await using door = await testDoor([{ targets: [server.url] }]);
  const client = connect(door.port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await until('it is asked', () => server.open.size === 1 && requestsAt(server) === 1);
  client.destroy();
  await until('it hears that nobody waits', () => server.open.size === 0);
  assert.equal(door.upstreams.inflight, 0);
  await server.close();
});

test('no more connections than allowed; who waits gets a place, and the queue is bounded', async () => {
  const waiting: Socket[] = [];
  const server = await byteServer((_text, socket) => void waiting.push(socket));
  const balance = { strategy: 'round-robin', queueMax: 1 } as const;
  await using door = await testDoor([{ targets: [server.url], connectionsMax: 1, balance }]);
  const first = exchangeBytes(door.port, get);
  await until('the place is taken', () => waiting.length === 1);
  const second = exchangeBytes(door.port, get);
  await until('one waits', () => door.upstreams.view()[0]!.waiting === 1);
  assert.deepEqual(statuses(await exchangeBytes(door.port, get)), [503]);
  assert.equal(waiting.length, 1);
  waiting[0]!.write(ok);
  await until('the next one is sent', () => waiting.length === 2);
  waiting[1]!.write(ok);
  assert.deepEqual([await first, await second].flatMap(statuses), [200, 200]);
  assert.equal(server.received.length, 1, 'on the same connection');
  await server.close();
});

test('a client that does not read slows the upstream down, not memory up', async () => {
  const size = 64 * 1024 * 1024;
  const piece = Buffer.alloc(65_536);
  let written = 0;
  const server = await byteServer((_text, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`);
    const fill = (): void => {
      while (written < size) {
        written += piece.length;
        if (!socket.write(piece)) return void socket.once('drain', fill);
      }
    };
    fill();
    return undefined;
  });
  await using door = await testDoor([{ targets: [server.url] }]);
  const client = connect(door.port, '127.0.0.1');
  client.write(get);
  let last = -1;
  client.pause();
  while (written !== last) {
    last = written;
    await new Promise(resolve => setTimeout(resolve, 60));
  }
  assert.ok(written < size / 2, `${written} bytes were taken from the upstream`);
  let read = 0;
  await new Promise<void>(resolve => {
    client.on('data', data => {
      read += data.length;
    });
    client.on('close', () => resolve());
    client.resume();
  });
  assert.ok(read > size);
  await server.close();
});

test('an upstream that does not read slows the client down, not memory up', async () => {
  const server = await byteServer((_text, socket) => void socket.pause());
  await using door = await testDoor([{ targets: [server.url] }]);
  const client = connect(door.port, '127.0.0.1');
  const size = 64 * 1024 * 1024;
  client.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`);
  const piece = Buffer.alloc(65_536);
  let written = 0;
  const fill = (): void => {
    while (written < size) {
      written += piece.length;
      if (!client.write(piece)) return void client.once('drain', fill);
    }
  };
  fill();
  let last = -1;
  while (written !== last) {
    last = written;
    await new Promise(resolve => setTimeout(resolve, 60));
  }
  assert.ok(written < size / 2, `${written} bytes were taken from the client`);
  client.destroy();
  await server.close();
});

test('a WebSocket passes, both ways, with what is sent ahead; HTTP/2 by upgrade does not', async () => {
  const server = await byteServer((text, _socket) => {
    if (text.endsWith('ping')) return 'pong';
    if (!text.endsWith('\r\n\r\n')) return undefined;
    assert.match(text, /connection: upgrade\r\nupgrade: websocket\r\n/);
    return 'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\nhello';
  });
  await using door = await testDoor([{ targets: [server.url] }]);
  const client = connect(door.port, '127.0.0.1');
  let came = '';
  client.on('data', data => {
    came += String(data);
  });
  client.write(
    'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n',
  );
  await until('it is open', () => came.endsWith('hello'));
  assert.match(
    came,
    /^HTTP\/1\.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello$/,
  );
  assert.equal(door.upstreams.inflight, 1);
  client.write('ping');
  await until('the answer is there', () => came.endsWith('pong'));
  client.end();
  await until('the upstream hears of the end', () => server.open.size === 0);
  await until('its place is free', () => door.upstreams.inflight === 0);
  await server.close();
});

test('who closes lets what is under way finish, and takes nothing new', async () => {
  let asked: Socket | undefined;
  const server = await byteServer((_text, socket) => {
    asked = socket;
    return undefined;
  });
  await using door = await testDoor([{ targets: [server.url] }]);
  const idle = exchangeBytes(door.port, '');
  const busy = exchangeBytes(door.port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n');
  await until('it is under way', () => asked !== undefined);
  const closed = door.close(5000);
  assert.equal(await idle, '', 'an idle connection ends at once');
  await assert.rejects(
    new Promise((resolve, reject) => connect(door.port, '127.0.0.1').on('connect', resolve).on('error', reject)),
    /ECONNREFUSED/,
  );
  asked!.write(ok);
  assert.match(await busy, /^HTTP\/1\.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok$/);
  await closed;
  await server.close();
});

test('a target that answers 500 again and again is left out, and no other', async () => {
  const broken = await byteServer(() => 'HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n');
  const servers = [await okServer(), await okServer()];
  await using door = await testDoor([{ targets: [broken, ...servers].map(({ url }) => url), balance: 'round-robin' }]);
  for (let i = 0; i < 30; i++) await exchangeBytes(door.port, get);
  assert.equal(requestsAt(broken), 5);
  assert.deepEqual(
    door.upstreams.view()[0]!.targets.map(({ avoided }) => avoided),
    [true, false, false],
  );
  await Promise.all([broken, ...servers].map(server => server.close()));
});

test('checks take a target out before a request finds it dead, and bring it back', async () => {
  let well = true;
  const sick = await byteServer(text =>
    /^GET \/health /.test(text) && !well ? 'HTTP/1.1 503 Ill\r\ncontent-length: 0\r\n\r\n' : ok,
  );
  const server = await okServer();
  const health = { path: '/health', interval: '20ms', unhealthy: 2, healthy: 2 } as const;
  await using door = await testDoor([{ targets: [sick.url, server.url], health, balance: 'round-robin' }]);
  const healthOf = (): string => door.upstreams.view()[0]!.targets[0]!.health;
  assert.equal(healthOf(), 'well');
  well = false;
  await until('it is taken out', () => healthOf() === 'ill');
  const before = sick.received.filter(text => text.startsWith('GET / ')).length;
  for (let i = 0; i < 4; i++) assert.deepEqual(statuses(await exchangeBytes(door.port, get)), [200]);
  assert.equal(sick.received.filter(text => text.startsWith('GET / ')).length, before);
  well = true;
  await until('it is back', () => healthOf() === 'well');
  for (let i = 0; i < 2; i++) await exchangeBytes(door.port, get);
  assert.ok(sick.received.some(text => text.startsWith('GET / ')));
  await Promise.all([sick.close(), server.close()]);
});

test('a name is looked up again; addresses that are gone get nothing more, and a failing lookup changes nothing', async () => {
  const server = await okServer();
  let addresses: readonly string[] | undefined = ['127.0.0.1'];
  const lookup = async (name: string): Promise<readonly string[]> => {
    assert.equal(name, 'web.example');
    if (!addresses) throw new Error('no such name');
    return addresses;
  };
  const url = `http://web.example:${server.port}`;
  await using door = await testDoor([{ targets: [url], resolve: '20ms' }], { lookup });
  const ids = (): string[] => door.upstreams.view()[0]!.targets.map(({ id }) => id);
  assert.deepEqual(statuses(await exchangeBytes(door.port, get)), [200]);
  addresses = ['127.0.0.1', '127.0.0.2'];
  await until('the new one is there', () => ids().length === 2);
  addresses = ['127.0.0.2'];
  await until('the old one is gone', () => ids().length === 1);
  assert.deepEqual(ids(), [`127.0.0.2:${server.port}`]);
  addresses = undefined;
  await new Promise(resolve => setTimeout(resolve, 60));
  assert.deepEqual(ids(), [`127.0.0.2:${server.port}`]);
  await server.close();
});

test('a body over its limit is 413, declared or not, and the upstream never sees its end', async () => {
  const server = await byteServer(() => undefined);
  await using door = await testDoor([{ targets: [server.url], bodyBytesMax: 10 }]);
  const declared = await exchangeBytes(
    door.port,
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world',
  );
  const chunked = await exchangeBytes(
    door.port,
    'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n',
  );
  assert.deepEqual([...statuses(declared), ...statuses(chunked)], [413, 413]);
  assert.ok(!server.received.join('').includes('hello'));
  await server.close();
});

test('only a proxy that is trusted may say for whom a request is', async () => {
  const server = await okServer();
  const trusts = (address: string): boolean => address === '127.0.0.1';
  await using door = await testDoor([{ targets: [server.url] }], { trusts });
  await exchangeBytes(
    door.port,
    'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-for: 2.2.2.2, ::1\r\nx-forwarded-proto: https\r\nx-forwarded-host: shop.example\r\n\r\n',
  );
  assert.match(
    server.received[0]!,
    /x-forwarded-for: 2\.2\.2\.2, ::1, 127\.0\.0\.1\r\nx-forwarded-host: shop\.example\r\nx-forwarded-proto: https\r\nforwarded: for=2\.2\.2\.2, for="\[::1\]", for=127\.0\.0\.1;host=shop\.example;proto=https\r\n/,
  );
  await server.close();
});

test('a client that takes nothing for too long is cut, and its upstream is not to blame', async () => {
  const server = await byteServer((_text, socket) => {
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 64000000\r\n\r\n');
    socket.write(Buffer.alloc(64_000_000));
    return undefined;
  });
  await using door = await testDoor([{ targets: [server.url], idleTimeout: '100ms' }]);
  const client = connect(door.port, '127.0.0.1');
  client.on('error', () => {});
  client.write(get);
  client.pause();
  await until('it is under way', () => door.upstreams.inflight === 1);
  await until('it is over', () => door.upstreams.inflight === 0);
  assert.equal(door.upstreams.view()[0]!.targets[0]!.failures, 0);
  client.destroy();
  await server.close();
});

test('a client that sends its body slowly is not its upstream’s failure', async () => {
  const server = await byteServer(text => (text.endsWith('hello') ? ok : undefined));
  await using door = await testDoor([{ targets: [server.url], idleTimeout: '50ms' }]);
  const answer = await new Promise<string>(resolve => {
    const client = connect(door.port, '127.0.0.1');
    client.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhe');
    setTimeout(() => client.write('llo'), 400);
    client.on('data', data => resolve(String(data)));
    client.on('close', () => resolve(''));
  });
  assert.deepEqual(statuses(answer), [200]);
  await server.close();
});

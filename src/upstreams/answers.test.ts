/** What upstreams answer, byte for byte, honest ones and others: what is refused, and what exactly reaches the client. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { byteServer, exchangeBytes, statuses, type TestDoor, type TestServer, testDoor } from './fixture.test.ts';

let upstream: TestServer;
let door: TestDoor;
let reply = '';
/** The upstream ends the connection after its reply. */
let ends = true;

before(async () => {
  upstream = await byteServer((_text, socket) => {
    if (ends) socket.end(reply, 'latin1');
    else return reply;
    return undefined;
  });
  // Without ejection nor retries between the cases: what is wrong is to be seen, not mended.
  door = await testDoor([{ targets: [upstream.url], tries: 1, answerTimeout: '300ms' }]);
});
after(async () => {
  await door[Symbol.asyncDispose]();
  await upstream.close();
});

/** A target that fails again and again is left alone for a while: each case gets a fresh gateway. */
async function ask(answer: string, options: { ends?: boolean; request?: string } = {}): Promise<string> {
  reply = answer;
  ends = options.ends ?? true;
  await using fresh = await testDoor([{ targets: [upstream.url], tries: 1, answerTimeout: '300ms' }]);
  return await exchangeBytes(fresh.port, options.request ?? 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
}

const evil = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil';
const refused: Readonly<Record<string, string>> = {
  nothing: '',
  'no HTTP': 'hello\r\n\r\n',
  garbage: '\x00\xff\x16\x03\r\n\r\n',
  'HTTP/2': 'HTTP/2 200\r\n\r\n',
  'half a status line': 'HTTP/1.1 2',
  'half a head': 'HTTP/1.1 200 OK\r\ncontent-le',
  'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
  'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
  'a status that is no number': 'HTTP/1.1 abc OK\r\n\r\n',
  'a status beyond 599': 'HTTP/1.1 999 OK\r\n\r\n',
  'a control character in the reason': 'HTTP/1.1 200 O\x01K\r\ncontent-length: 0\r\n\r\n',
  'length and chunked': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'two lengths': 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!',
  'a list of lengths': 'HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok',
  'a length with a sign': 'HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok',
  'gzip as transfer encoding': 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'chunked in HTTP/1.0': 'HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'bare LFs': 'HTTP/1.1 200 OK\ncontent-length: 2\n\nok',
  'a bare CR in a field, which splits the answer': `HTTP/1.1 200 OK\r\nx: y\r\r${evil}\r\n\r\n`,
  'a bare LF in a field, which splits the answer': `HTTP/1.1 200 OK\r\nx: y\n\n${evil}\r\n\r\n`,
  'a NUL in a field': 'HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n',
  'a folded field': 'HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n',
  'a space before a colon': 'HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok',
  'too many fields': `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(5000)}\r\n`,
  'a head without end': `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(70_000)}`,
  'interim answers without end': 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(100),
  'an interim answer with a body': 'HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nhello',
  'a switch of protocol that nobody asked for':
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n',
  'a 204 with a body': 'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello',
};
for (const [name, bytes] of Object.entries(refused)) {
  test(`an upstream's answer is refused: ${name}`, async () => {
    const answer = await ask(bytes);
    const given = statuses(answer).filter(status => status !== 103);
    assert.deepEqual(given, [502], answer.slice(0, 200));
    assert.ok(!answer.includes('\r\n\r\nevil'));
  });
}

const cut: Readonly<Record<string, string>> = {
  'fewer bytes than it said': 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello',
  'chunks without end': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
  'a bad chunk in its midst': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n0\r\n\r\n',
  'trailers that frame':
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 1\r\n\r\n',
};
for (const [name, bytes] of Object.entries(cut)) {
  test(`a cut answer never looks whole: ${name}`, async () => {
    const answer = await ask(bytes);
    assert.deepEqual(statuses(answer), answer === '' ? [] : [200]);
    assert.ok(!answer.includes('0\r\n\r\n'), 'no end was made up');
    const promised = /content-length: 10/.test(answer) || /chunked/.test(answer) || answer === '';
    assert.ok(promised, answer);
  });
}

const passed: Readonly<Record<string, readonly [sent: string, received: string]>> = {
  'a plain one': [
    'HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nX-A: 1\r\ncontent-length: 2\r\n',
  ],
  'no reason': ['HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok', 'HTTP/1.1 200 \r\ncontent-length: 2\r\n'],
  'several cookies': [
    'HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n',
  ],
  'hop-by-hop fields stay here': [
    'HTTP/1.1 200 OK\r\nconnection: close, x-mine\r\nkeep-alive: timeout=3\r\nupgrade: h2\r\nx-mine: 1\r\ncontent-length: 2\r\n\r\nok',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n',
  ],
};
for (const [name, [sent, received]] of Object.entries(passed)) {
  test(`an upstream's answer is passed on: ${name}`, async () => {
    assert.equal(await ask(sent), `${received}connection: close\r\n\r\nok`);
  });
}

test('chunks and trailers are passed on, framed anew', async () => {
  const answer = await ask(
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n',
  );
  assert.equal(
    answer,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n',
  );
});

test('an answer that ends with its connection becomes chunks', async () => {
  const answer = await ask('HTTP/1.0 200 OK\r\n\r\nhello');
  assert.equal(
    answer,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  );
});

test('bytes behind an answer are dropped with their connection, and nobody gets them', async () => {
  reply = `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok${evil}`;
  ends = false;
  const before = upstream.received.length;
  const sent = 'GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n';
  const answer = await exchangeBytes(door.port, sent);
  assert.deepEqual(statuses(answer), [200, 200]);
  assert.ok(!answer.includes('evil'));
  assert.equal(upstream.received.length - before, 2, 'each had its own connection');
});

test('HEAD, 204 and 304 have no body, whatever their length says', async () => {
  const head = await ask('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n', {
    request: 'HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
    ends: false,
  });
  assert.equal(head, 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n');
  const unchanged = await ask('HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: "x"\r\n\r\n', { ends: false });
  assert.equal(unchanged, 'HTTP/1.1 304 Not Modified\r\netag: "x"\r\ncontent-length: 5\r\nconnection: close\r\n\r\n');
  assert.equal(
    await ask('HTTP/1.1 204 No Content\r\n\r\n', { ends: false }),
    'HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n',
  );
});

test('early hints arrive before the answer; 100 only when it was asked for', async () => {
  const answer = await ask(
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok',
  );
  assert.deepEqual(statuses(answer), [103, 200]);
  assert.match(answer, /103 Early Hints\r\nlink: <\/a\.css>\r\n\r\n/);
  const continued = await ask('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok', {
    request: 'POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi',
  });
  assert.deepEqual(statuses(continued), [100, 200]);
});

test('an upstream that says nothing is 504', async () => {
  assert.deepEqual(statuses(await ask('', { ends: false })), [504]);
});

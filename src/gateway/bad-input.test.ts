/** Everything that a client can send wrong, over real sockets. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { TandemError } from '../core/errors.ts';
import { bytesTo, openTestGateway } from './fixture.test.ts';
import type { Gateway } from './gateway.ts';

let gateway: Gateway;
let calls = 0;

before(async () => {
  gateway = await openTestGateway(
    (_service, method, input) => {
      calls++;
      if (method === 'count' && typeof (input as { n: unknown }).n !== 'number')
        throw new TandemError('INVALID', 'input is not valid: n: expected int', {
          details: { issues: [{ path: 'n', message: 'expected int' }] },
        });
      return input;
    },
    { bodyBytesMax: 1000, headersTimeoutMs: 200, requestTimeoutMs: 300, checkIntervalMs: 50 },
  );
});
after(() => gateway.close(0));

const json = { 'content-type': 'application/json' };
// biome-ignore lint/suspicious/noExplicitAny: answers of tests
async function ask(path: string, init: RequestInit = {}): Promise<{ response: Response; problem: any }> {
  const response = await fetch(gateway.url + path, init);
  const text = await response.text();
  assert.equal(response.headers.get('content-type'), 'application/problem+json', text);
  const problem = JSON.parse(text);
  assert.equal(problem.status, response.status);
  assert.ok(problem.code && problem.outcome && problem.title && problem.detail && problem.type);
  assert.ok(problem.requestId.length > 0);
  return { response, problem };
}

test('an unknown route is 404 and names the near one', async () => {
  const { response, problem } = await ask('/stok/all');
  assert.equal(response.status, 404);
  assert.equal(problem.code, 'NOT_FOUND');
  assert.equal(problem.didYouMean[0], 'GET /stock/all');
});

test('an unknown method is 404 and names the near one', async () => {
  const { response, problem } = await ask('/call/stock/cuont', { method: 'POST', headers: json, body: '{}' });
  assert.equal(response.status, 404);
  assert.deepEqual(problem.didYouMean, ['/call/stock/count']);
});

test('an internal method is as unknown as one that does not exist', async () => {
  const { response, problem } = await ask('/call/stock/secret', { method: 'POST', headers: json, body: '{}' });
  assert.equal(response.status, 404);
  assert.ok(!JSON.stringify(problem.didYouMean ?? []).includes('secret'));
});

test('a wrong verb is 405 and Allow names the right ones', async () => {
  const { response } = await ask('/stock/a/reserve', { method: 'PUT' });
  assert.equal(response.status, 405);
  assert.equal(response.headers.get('allow'), 'POST, OPTIONS');
  const call = await ask('/call/stock/count');
  assert.equal(call.response.status, 405);
  assert.equal(call.response.headers.get('allow'), 'POST, OPTIONS');
});

test('wrong types come back with the path of the field', async () => {
  const { response, problem } = await ask('/call/stock/count', { method: 'POST', headers: json, body: '{"n":"x"}' });
  assert.equal(response.status, 400);
  assert.deepEqual(problem.issues, [{ path: 'n', message: 'expected int' }]);
  assert.equal(problem.outcome, 'not-done');
});

test('a body that is not JSON, not UTF-8 or nested too deep is 400', async () => {
  for (const body of ['{"n":', Buffer.from([0x22, 0xff, 0x22]), '['.repeat(200) + ']'.repeat(200)]) {
    const { response, problem } = await ask('/call/stock/count', { method: 'POST', headers: json, body });
    assert.equal(response.status, 400);
    assert.equal(problem.code, 'INVALID');
  }
});

test('a body that cannot join path fields is 400', async () => {
  const { response } = await ask('/stock/a/reserve', { method: 'POST', headers: json, body: '[1]' });
  assert.equal(response.status, 400);
});

test('a badly encoded path is 400', async () => {
  assert.equal((await ask('/stock/%E0%A4%A')).response.status, 400);
});

test('another content type or a compressed body is 415', async () => {
  const form = await ask('/call/stock/count', { method: 'POST', body: new URLSearchParams({ n: '1' }) });
  assert.equal(form.response.status, 415);
  const headers = { ...json, 'content-encoding': 'gzip' };
  const packed = await ask('/call/stock/count', { method: 'POST', headers, body: '{}' });
  assert.equal(packed.response.status, 415);
});

test('a body that declares too much is 413 and names the limit', async () => {
  const { response, problem } = await ask('/call/stock/count', {
    method: 'POST',
    headers: json,
    body: 'x'.repeat(5000),
  });
  assert.equal(response.status, 413);
  assert.equal(problem.details.bytesMax, 1000);
});

test('a chunked body that grows too large is 413', async () => {
  const body = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 5; i++) controller.enqueue(new TextEncoder().encode('x'.repeat(400)));
      controller.close();
    },
  });
  const init = { method: 'POST', headers: json, body, duplex: 'half' } as RequestInit;
  assert.equal((await ask('/call/stock/count', init)).response.status, 413);
});

test('a too large body behind Expect: 100-continue is refused before it is sent', async () => {
  const answer = bytesTo(
    gateway.port,
    'POST /call/stock/count HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n',
  );
  assert.match(await answer, /^HTTP\/1.1 413 /);
});

test('bad consistency, timeout and idempotency key are 400', async () => {
  for (const headers of [
    { 'tandem-consistency': 'weak' },
    { 'tandem-timeout': 'soon' },
    { 'idempotency-key': 'with space' },
    { 'idempotency-key': 'x'.repeat(201) },
  ] as Record<string, string>[]) {
    const { response } = await ask('/stock/a', { headers });
    assert.equal(response.status, 400, JSON.stringify(headers));
  }
});

test('a flood of headers is 431', async () => {
  const flood = 'x-flood: '.padEnd(1000, 'x');
  const answer = await bytesTo(gateway.port, `GET /stock/a HTTP/1.1\r\nhost: x\r\n${`${flood}\r\n`.repeat(20)}\r\n`);
  assert.match(answer, /^HTTP\/1.1 431 /);
  assert.match(answer, /application\/problem\+json/);
});

test('a client too slow with its headers is 408', async () => {
  const answer = await bytesTo(gateway.port, 'GET /stock/a HTTP/1.1\r\nhost: x\r\n');
  assert.match(answer, /^HTTP\/1.1 408 /);
});

test('a client too slow with its body is 408', async () => {
  const answer = await bytesTo(
    gateway.port,
    'POST /call/stock/count HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{"n"',
  );
  assert.match(answer, /^HTTP\/1.1 408 /);
});

const head = 'POST /call/stock/count HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
const smuggled = 'GET /stock/smuggled HTTP/1.1\r\nhost: x\r\n\r\n';
const attacks: Record<string, string> = {
  'length and chunked together': `${head}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  'chunked and length together': `${head}transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n${smuggled}`,
  'two lengths': `${head}content-length: 0\r\ncontent-length: 44\r\n\r\n${smuggled}`,
  'a list of lengths': `${head}content-length: 0, 44\r\n\r\n${smuggled}`,
  'a signed length': `${head}content-length: +6\r\n\r\n${smuggled}`,
  'bare line feeds': `POST /call/stock/count HTTP/1.1\nhost: x\ncontent-length: 0\n\n${smuggled}`,
  'chunked that is not last': `${head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
  'a disguised chunked': `${head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
  'a space before the colon': `${head}content-length : 6\r\n\r\n${smuggled}`,
  'a folded header': `${head}x-a: b\r\n content-length: 6\r\n\r\n${smuggled}`,
  'a bad chunk size': `${head}transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n${smuggled}`,
  'no host': 'GET /stock/a HTTP/1.1\r\n\r\n',
  'two hosts': 'GET /stock/a HTTP/1.1\r\nhost: a\r\nHost: b\r\nconnection: close\r\n\r\n',
};
for (const [name, attack] of Object.entries(attacks)) {
  test(`request smuggling is refused: ${name}`, async () => {
    const callsBefore = calls;
    const answer = await bytesTo(gateway.port, attack);
    assert.match(answer, /^HTTP\/1.1 400 /, answer.slice(0, 80));
    assert.equal(answer.match(/HTTP\/1.1 \d/g)?.length, 1, 'one answer only');
    assert.equal(calls, callsBefore, 'nothing was called');
  });
}

test('bytes that are no HTTP at all are refused', async () => {
  assert.match(await bytesTo(gateway.port, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'), /^HTTP\/1.1 400 /);
});

test('a client that resets its connection harms nobody', async () => {
  await new Promise<void>(resolve => {
    const socket = connect(gateway.port, '127.0.0.1', () => {
      socket.write(
        'POST /call/stock/count HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\ncontent-type: application/json\r\n\r\n{',
      );
      socket.resetAndDestroy();
    });
    socket.on('close', () => resolve());
  });
  assert.equal((await fetch(`${gateway.url}/-/health`)).status, 200);
});

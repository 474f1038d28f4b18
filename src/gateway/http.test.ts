/** What users of HTTP expect of any door: compression, CORS, tags, records of access, who the client is. */
import assert from 'node:assert/strict';
import { get as getHttp, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { contract } from '../contract/contract.ts';
import type { MethodForm } from '../contract/descriptor.ts';
import { gatewayForm } from '../contract/gateway-config.ts';
import { TandemError } from '../core/errors.ts';
import { type Logger, silentLogger } from '../core/logger.ts';
import { type Coding, codingFor } from './compression.ts';
import { bytesTo, type Handle, openTestGateway, stockDescriptor, until } from './fixture.test.ts';
import type { GatewayOptions } from './gateway.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import { Routes } from './router.ts';

interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}
type Ask = (path: string, headers?: Record<string, string>, method?: string) => Promise<Got>;

async function withGateway(handle: Handle, options: Partial<GatewayOptions>, run: (ask: Ask) => Promise<void>) {
  const gateway = await openTestGateway(handle, options);
  const ask: Ask = (path, headers = {}, method = 'GET') =>
    new Promise((resolve, reject) => {
      getHttp(`${gateway.url}${path}`, { headers, method, agent: false }, response => {
        const chunks: Buffer[] = [];
        response.on('data', chunk => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }),
        );
      }).on('error', reject);
    });
  try {
    await run(ask);
  } finally {
    await gateway.close(0);
  }
}

const unpack: Record<Coding, (bytes: Buffer) => Buffer> = {
  zstd: bytes => zstdDecompressSync(bytes),
  br: bytes => brotliDecompressSync(bytes),
  gzip: bytes => gunzipSync(bytes),
};

test('the coding is the one that the client likes best, and none that it refuses', () => {
  for (const [accept, coding] of [
    [undefined, undefined],
    ['', undefined],
    ['gzip', 'gzip'],
    ['gzip, deflate, br, zstd', 'zstd'],
    ['gzip;q=1, br;q=0.5', 'gzip'],
    ['br;q=0', undefined],
    ['*', 'zstd'],
    ['*;q=0, gzip', 'gzip'],
    ['zstd;q=0, *', 'br'],
    ['identity, gzip;q=0.5', undefined],
    ['GZIP;Q=1.0', 'gzip'],
    ['x-gzip', 'gzip'],
    ['gzip;q=oops', undefined],
    ['deflate, compress', undefined],
  ] as const)
    assert.equal(codingFor(accept), coding, accept);
});

test('a large answer is compressed as asked for, a small one, one to cookies or for HEAD is not; caches are told', async () => {
  const text = 'tandem '.repeat(20_000);
  const sizes: Record<string, string> = { small: 'x', middle: text.slice(0, 5000), large: text };
  await withGateway(
    (_service, _method, input) => sizes[(input as { sku: string }).sku],
    {},
    async ask => {
      for (const coding of ['zstd', 'br', 'gzip'] as const)
        for (const size of ['middle', 'large']) {
          const { headers, body } = await ask(`/stock/${size}`, { 'accept-encoding': coding });
          assert.equal(headers['content-encoding'], coding);
          assert.equal(headers['content-length'], String(body.length));
          assert.match(String(headers.vary), /accept-encoding/);
          assert.equal(unpack[coding](body).toString(), JSON.stringify(sizes[size]));
          assert.ok(body.length < 1000);
        }
      const plain = await ask('/stock/large');
      assert.equal(plain.headers['content-encoding'], undefined);
      assert.match(String(plain.headers.vary), /accept-encoding/);
      assert.equal(plain.body.toString(), JSON.stringify(text));
      const gzip = { 'accept-encoding': 'gzip' };
      assert.equal((await ask('/stock/small', gzip)).headers['content-encoding'], undefined);
      const withCookie = await ask('/stock/large', { ...gzip, cookie: 'login=secret' });
      assert.equal(withCookie.headers['content-encoding'], undefined);
      const ownCookie = await ask('/stock/large', { ...gzip, cookie: 'tandem-session=1.x.y' });
      assert.equal(ownCookie.headers['content-encoding'], 'gzip');
      const head = await ask('/stock/large', gzip, 'HEAD');
      assert.equal(`${head.status}${head.body.length}${head.headers['content-encoding']}`, '2000undefined');
      assert.equal(head.headers['content-length'], String(text.length + 2));
    },
  );
});

test('HEAD of a stream is its head, and opens none', async () => {
  let opened = 0;
  await withGateway(
    () => opened++,
    {},
    async ask => {
      const { status, headers, body } = await ask('/stock/a/live', {}, 'HEAD');
      assert.equal(`${status} ${headers['content-type']} ${body}`, '200 text/event-stream ');
      assert.equal(opened, 0);
    },
  );
});

test('a raw answer that is compressed already, partial or of another kind stays as it is', async () => {
  const body = Buffer.from('a'.repeat(5000));
  const answers: Record<string, [string, string][]> = {
    packed: [
      ['content-type', 'text/html'],
      ['content-encoding', 'br'],
    ],
    image: [['content-type', 'image/png']],
    kept: [
      ['content-type', 'text/plain'],
      ['cache-control', 'public, no-transform'],
    ],
    unnamed: [],
    page: [
      ['content-type', 'text/html; charset=utf-8'],
      ['etag', '"v1"'],
    ],
  };
  await withGateway(
    (_service, _method, input) => {
      const name = new URL((input as { url: string }).url).search.slice(1);
      return { status: name === 'part' ? 206 : 200, headers: answers[name] ?? answers.page, body };
    },
    {},
    async ask => {
      for (const name of ['packed', 'image', 'kept', 'unnamed', 'part'])
        assert.equal((await ask(`/hook?${name}`, { 'accept-encoding': 'gzip' }, 'POST')).body.length, 5000, name);
      const page = await ask('/hook?page', { 'accept-encoding': 'gzip' }, 'POST');
      assert.equal(gunzipSync(page.body).length, 5000);
      assert.equal(page.headers.etag, 'W/"v1"', 'the bytes are others now');
    },
  );
});

test('pages of allowed origins may call and read, others may not; credentials only for those that are named', async () => {
  const { cors } = gatewayForm({
    cors: { origins: ['https://shop.example', 'https://*.shop.example'], credentials: true, headers: ['x-mine'] },
  });
  await withGateway(
    () => 'ok',
    { cors },
    async ask => {
      const asked = { 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-mine' };
      for (const origin of ['https://shop.example', 'https://a.b.shop.example']) {
        const before = await ask('/stock/a', { origin, ...asked }, 'OPTIONS');
        assert.equal(before.status, 204);
        assert.equal(before.headers['access-control-allow-origin'], origin);
        assert.equal(before.headers['access-control-allow-credentials'], 'true');
        assert.match(before.headers['access-control-allow-methods']!, /PUT/);
        assert.match(before.headers['access-control-allow-headers']!, /authorization.*x-mine/);
        assert.equal(before.headers['access-control-max-age'], '600');
        const answer = await ask('/stock/a', { origin });
        assert.equal(answer.headers['access-control-allow-origin'], origin);
        assert.match(answer.headers['access-control-expose-headers']!, /tandem-session/);
        assert.match(String(answer.headers.vary), /origin/);
        assert.equal(
          (await ask('/nowhere', { origin })).headers['access-control-allow-origin'],
          origin,
          'problems too',
        );
      }
      for (const origin of [
        'https://evil.example',
        'https://shop.example.evil',
        'http://shop.example',
        'https://xshop.example',
        'null',
      ]) {
        const before = await ask('/stock/a', { origin, ...asked }, 'OPTIONS');
        assert.equal(before.status, 403, origin);
        assert.match(before.body.toString(), /gateway\.cors\.origins/);
        const answer = await ask('/stock/a', { origin });
        assert.equal(answer.headers['access-control-allow-origin'], undefined);
        assert.match(String(answer.headers.vary), /origin/);
      }
      assert.equal((await ask('/stock/a', {}, 'OPTIONS')).headers.allow, 'DELETE, GET, HEAD, OPTIONS', 'no page asks');
    },
  );
  const everybody = gatewayForm({ cors: { origins: '*' } }).cors;
  await withGateway(
    () => 'ok',
    { cors: everybody },
    async ask => {
      const { headers } = await ask('/stock/a', { origin: 'https://any.example' });
      assert.equal(headers['access-control-allow-origin'], '*');
      assert.equal(headers['access-control-allow-credentials'], undefined);
    },
  );
});

test('settings that would be wrong or dangerous are refused, and say what to write', () => {
  for (const [config, says] of [
    [{ cors: { origins: '*', credentials: true } }, /every page of the web/],
    [{ cors: { origins: ['https://a.example/'] } }, /scheme and host alone/],
    [{ cors: { origins: [] } }, /is a list/],
    [{ cors: { origins: ['https://a.example', '*'] } }, /alone/],
    [{ cors: { origins: ['https://a.example'], header: [] } }, /did you mean 'headers'/],
    [{ compresion: false }, /did you mean 'compression'/],
    [{ accessRecords: 2 }, /share from 0 to 1/],
    [{ tls: { cert: 'a', key: '' } }, /both files/],
  ] as const)
    assert.throws(() => gatewayForm(config as never), { code: 'CONFIG', message: says });
});

test('an eventual read has a tag; who has it already is answered 304, and loads it anew when it changed', async () => {
  let value = { left: 1 };
  await withGateway(
    () => value,
    {},
    async ask => {
      const first = await ask('/stock/a');
      const { etag } = first.headers;
      assert.match(etag!, /^W\/"[\w-]{22}"$/);
      assert.equal(first.headers['cache-control'], 'private, no-cache');
      for (const given of [etag!, '*', `"x", ${etag}`, etag!.slice(2)]) {
        const again = await ask('/stock/a', { 'if-none-match': given });
        assert.equal(`${again.status}${again.body}`, '304', given);
        assert.equal(again.headers.etag, etag);
        assert.equal(again.headers['content-length'], undefined);
      }
      value = { left: 2 };
      const changed = await ask('/stock/a', { 'if-none-match': etag! });
      assert.equal(`${changed.status}${changed.body}`, '200{"left":2}');
      assert.notEqual(changed.headers.etag, etag);
      assert.equal((await ask('/stock/a', {}, 'DELETE')).headers.etag, undefined, 'of reads only');
    },
  );
});

const recorded = (): { logger: Logger; lines: Record<string, unknown>[] } => {
  const lines: Record<string, unknown>[] = [];
  const logger = { ...silentLogger, info: (message: string, fields = {}) => lines.push({ message, ...fields }) };
  return { logger, lines };
};

test('a record of access says who asked for what, and what became of it', async () => {
  const { logger, lines } = recorded();
  await withGateway(
    () => 'four',
    { logger, accessRecords: 'all', trustProxies: ['loopback'] },
    async ask => {
      await ask('/stock/a?secret=1', { 'x-forwarded-for': '9.9.9.9', 'user-agent': 'curl/8', 'x-request-id': 'r1' });
      await until('it is written', () => lines.length === 1);
      const [{ ms, requestId, ...line }] = lines as [Record<string, unknown>];
      assert.ok(Number(ms) > 0 && String(requestId).startsWith('r1.'));
      assert.deepEqual(line, {
        message: 'request',
        verb: 'GET',
        route: '/stock/:sku',
        path: '/stock/a',
        status: 200,
        code: 'ok',
        bytesIn: 0,
        bytesOut: 6,
        client: '9.9.9.9',
        http: '1.1',
        agent: 'curl/8',
      });
    },
  );
});

test('records may be errors only, a share, or none', async () => {
  const fail: Handle = (_service, _method, input) => {
    if ((input as { sku: string }).sku === 'broken') throw new TandemError('UNAVAILABLE', 'nobody is there');
    return 'ok';
  };
  for (const [accessRecords, least, most] of [
    ['errors', 1, 1],
    ['off', 0, 0],
    [0.5, 6, 46],
  ] as const) {
    const { logger, lines } = recorded();
    await withGateway(fail, { logger, accessRecords }, async ask => {
      for (let i = 0; i < 50; i++) await ask('/stock/a');
      await ask('/stock/broken');
    });
    assert.ok(lines.length >= least && lines.length <= most, `${accessRecords}: ${lines.length}`);
    if (accessRecords !== 'off') assert.equal(lines.at(-1)?.status, 503);
  }
});

test('the client is whom trusted proxies name, read from the right; what others say counts for nothing', async () => {
  const address: Handle = (_service, _method, _input, { caller }) => caller.address;
  const cases: [Partial<GatewayOptions>, Record<string, string>, string][] = [
    [{}, { 'x-forwarded-for': '9.9.9.9' }, '127.0.0.1'],
    [{ trustProxies: ['10.0.0.0/8'] }, { 'x-forwarded-for': '9.9.9.9' }, '127.0.0.1'],
    [{ trustProxies: ['loopback'] }, { 'x-forwarded-for': '9.9.9.9' }, '9.9.9.9'],
    [{ trustProxies: ['loopback'] }, { 'x-forwarded-for': '6.6.6.6, 9.9.9.9' }, '9.9.9.9'],
    [{ trustProxies: ['loopback', '10.0.0.0/8'] }, { 'x-forwarded-for': '6.6.6.6, 9.9.9.9, 10.1.2.3' }, '9.9.9.9'],
    [{ trustProxies: ['loopback', 'private'] }, { 'x-forwarded-for': '10.0.0.7, 10.1.2.3' }, '10.0.0.7'],
    [{ trustProxies: ['loopback'] }, { 'x-forwarded-for': '6.6.6.6, garbage' }, '127.0.0.1'],
    [{ trustProxies: ['loopback'] }, { 'x-forwarded-for': '[2001:db8::1]:1234' }, '2001:db8::1'],
    [{ trustProxies: ['loopback'] }, { 'x-forwarded-for': '9.9.9.9:1234' }, '9.9.9.9'],
    [{ trustProxies: ['loopback'] }, { forwarded: 'for=6.6.6.6' }, '127.0.0.1'],
    [
      { trustProxies: ['loopback'], forwardedField: 'forwarded' },
      { forwarded: 'for=6.6.6.6, for="[2001:db8::2]:80";proto=https', 'x-forwarded-for': '6.6.6.6' },
      '2001:db8::2',
    ],
  ];
  for (const [options, headers, expected] of cases)
    await withGateway(address, options, async ask => {
      assert.equal((await ask('/stock/a', headers)).body.toString(), JSON.stringify(expected), JSON.stringify(headers));
    });
  await assert.rejects(openTestGateway(address, { trustProxies: ['10.0.0.0/40'] }), { code: 'CONFIG' });
});

test('what is no line of the PROXY protocol is refused, and a part of one waits', () => {
  const two = Buffer.from('0d0a0d0a000d0a515549540a21110010c0000201c0000202303900500102030405', 'hex');
  assert.deepEqual(readProxyHeader(two.subarray(0, 32)), { length: 32, address: '192.0.2.1' });
  for (let length = 1; length < 32; length++) assert.equal(readProxyHeader(two.subarray(0, length)), 'more');
  const wrongVersion = Buffer.from(two);
  wrongVersion[12] = 0x11;
  assert.equal(readProxyHeader(wrongVersion), 'bad');
  const long = Buffer.from(two);
  long.writeUInt16BE(60_000, 14);
  assert.equal(readProxyHeader(long), 'bad');
  for (const line of ['PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET', 'PROXY UNKNOWN\r\n', 'PROXY UNKNOWN whatever\r\n'])
    assert.equal(typeof readProxyHeader(Buffer.from(line)), 'object', line);
  for (const line of ['PROXY TCP4 1.2.3.4 5.6.7.8 1', 'PRO', ''])
    assert.equal(readProxyHeader(Buffer.from(line)), 'more', line);
  for (const line of [
    'GET / HTTP/1.1\r\n',
    'PROXY TCP4 ::1 ::1 1 2\r\n',
    'PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n',
    `PROXY ${'x'.repeat(200)}`,
  ])
    assert.equal(readProxyHeader(Buffer.from(line)), 'bad', line);
});

test('a body that stalls on its way to an upstream ends its request', async () => {
  let ended = false;
  const fallback = {
    request: (request: IncomingMessage) => {
      request.resume().on('close', () => (ended = true));
      return true;
    },
    upgrade: () => false,
  };
  const gateway = await openTestGateway(() => 'ok', { fallback, requestTimeoutMs: 30 });
  const answer = await bytesTo(gateway.port, 'PUT /else HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf');
  assert.equal(answer, '');
  assert.ok(ended);
  await gateway.close(0);
});

test('a rest takes what nobody else has, below its path and at it; exact routes and verbs win', () => {
  const method = (name: string, http: string): MethodForm => ({
    ...stockDescriptor.methods.find(({ raw }) => raw)!,
    name,
    http,
  });
  const methods = [
    method('app', 'ANY /app/*rest'),
    method('one', 'GET /app/one'),
    method('user', 'GET /app/users/:id'),
    method('tree', 'GET /tree/*path'),
    method('all', 'GET /*all'),
  ];
  const routes = new Routes([{ ...stockDescriptor, methods }]);
  const found = (verb: string, path: string): string => {
    const match = routes.match(verb, path);
    return match ? `${match.target.method.name} ${match.values.join('|')}` : 'none';
  };
  for (const [verb, path, expected] of [
    ['GET', '/app/one', 'one '],
    ['POST', '/app/one', 'app one'],
    ['GET', '/app/users/7', 'user 7'],
    ['GET', '/app/users/7/x', 'app users/7/x'],
    ['DELETE', '/app/users/', 'app users/'],
    ['GET', '/app', 'app '],
    ['GET', '/app/', 'app '],
    ['GET', '/tree/a//b', 'tree a//b'],
    ['GET', '/apple', 'all apple'],
    ['GET', '/', 'all '],
    ['POST', '/tree/a', 'none'],
  ] as const)
    assert.equal(found(verb, path), expected, `${verb} ${path}`);
  assert.deepEqual(routes.allowed('/tree/a'), ['GET']);
});

test('rests and limits of bodies are for raw methods, and written one way', () => {
  const bad = [
    [{ http: 'ANY /a/*rest' }, /for raw methods/],
    [{ http: 'GET /a/*rest' }, /for raw methods/],
    [{ http: 'ANY /a/*', raw: true }, /stands at the end and has a name/],
    [{ http: 'ANY /a/*rest/b', raw: true }, /stands at the end/],
    [{ http: 'ANY /a*rest', raw: true }, /stands at the end/],
    [{ http: 'GET /a', bodyBytesMax: 5 }, /of a raw method/],
    [{ http: 'GET /a', raw: true, bodyBytesMax: -1 }, /whole number of bytes/],
  ] as const;
  for (const [spec, says] of bad) assert.throws(() => contract('x', { m: spec as never }), { message: says });
});

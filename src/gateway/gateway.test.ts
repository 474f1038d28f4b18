import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import type { RawRequestForm } from '../contract/raw.ts';
import { systemClock } from '../core/clock.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import {
  advance,
  bytesTo,
  fakeRegistry,
  type Handle,
  openTestGateway,
  stockDescriptor,
  until,
} from './fixture.test.ts';
import type { Gateway, GatewayOptions } from './gateway.ts';
import type { OutgoingCall } from './outgoing.ts';

async function within(
  handle: Handle,
  run: (gateway: Gateway, url: string) => Promise<void>,
  options: Partial<GatewayOptions> = {},
): Promise<void> {
  const gateway = await openTestGateway(handle, options);
  try {
    await run(gateway, gateway.url);
  } finally {
    await gateway.close(0);
  }
}
const echo: Handle = (_service, _method, input) => input;
const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

test('path, query and body become one input, with text turned into what the schema wants', () =>
  within(echo, async (_gateway, url) => {
    const all = await fetch(`${url}/stock/all?limit=5&deep=true&tags=1&tags=2&more=x`);
    assert.deepEqual(await all.json(), { limit: 5, deep: true, tags: [1, 2], more: 'x' });
    const one = await fetch(`${url}/stock/a%2Fb%20c`);
    assert.deepEqual(await one.json(), { sku: 'a/b c' });
    const reserve = await fetch(`${url}/stock/s1/reserve?qty=9`, post({ qty: 2, sku: 'forged' }));
    assert.deepEqual(await reserve.json(), { qty: 2, sku: 's1' }, 'path over body over query');
    const odd = await fetch(`${url}/stock/all?limit=many&__proto__=x`);
    assert.deepEqual(await odd.json(), { limit: 'many' }, 'what is no number stays text for the instance to refuse');
  }));

test('an answer says level, staleness, instance and request id', () =>
  within(echo, async (_gateway, url) => {
    const { headers, status } = await fetch(`${url}/stock/a`);
    assert.equal(status, 200);
    assert.equal(headers.get('tandem-level'), 'eventual');
    assert.equal(headers.get('tandem-staleness'), 'entries=2, ms=7');
    assert.equal(headers.get('tandem-instance'), 'stock-1');
    assert.match(headers.get('x-request-id') ?? '', /^\w{25}$/);
  }));

test('a declared error keeps its code, status and data', () =>
  within(
    () => {
      throw new DeclaredError('outOfStock', 409, { left: 3 });
    },
    async (_gateway, url) => {
      const response = await fetch(`${url}/stock/a/reserve`, post({ qty: 5 }));
      assert.equal(response.status, 409);
      const problem = (await response.json()) as Record<string, unknown>;
      assert.equal(problem.code, 'outOfStock');
      assert.deepEqual(problem.data, { left: 3 });
      assert.equal(problem.outcome, 'not-done');
    },
  ));

test('what failed inside is not told outside', () =>
  within(
    () => {
      throw new Error('password=hunter2');
    },
    async (_gateway, url) => {
      const response = await fetch(`${url}/stock/a`);
      assert.equal(response.status, 500);
      const text = await response.text();
      assert.ok(!text.includes('hunter2'));
      assert.ok(text.includes(response.headers.get('x-request-id')!));
    },
  ));

test('unavailable and overloaded answers say when to come back', () =>
  within(
    (_service, method) => {
      if (method === 'get') throw new TandemError('UNAVAILABLE', 'nobody there');
      throw new TandemError('OVERLOADED', 'full', { details: { retryAfterMs: 2500 } });
    },
    async (_gateway, url) => {
      const away = await fetch(`${url}/stock/a`);
      assert.deepEqual([away.status, away.headers.get('retry-after')], [503, '1']);
      const full = await fetch(`${url}/stock/all`);
      assert.deepEqual([full.status, full.headers.get('retry-after')], [429, '3']);
    },
  ));

test('an idempotency key is the request id; an X-Request-Id is echoed but alone makes no two requests one', async () => {
  const seen: OutgoingCall[] = [];
  await within(
    (_service, _method, _input, options) => {
      seen.push(options);
      return null;
    },
    async (_gateway, url) => {
      await fetch(`${url}/stock/a/reserve`, post({ qty: 1 }, { 'idempotency-key': '"order-7"' }));
      assert.equal(seen[0]!.requestId, 'order-7');
      assert.equal(seen[0]!.born, undefined);
      const headers = { 'x-request-id': 'page-1' };
      const first = await fetch(`${url}/stock/a`, { headers });
      await fetch(`${url}/stock/a`, { headers });
      assert.equal(first.headers.get('x-request-id'), 'page-1');
      assert.match(seen[1]!.requestId, /^page-1\.\w+$/);
      assert.notEqual(seen[1]!.requestId, seen[2]!.requestId);
      assert.equal(typeof seen[1]!.born, 'number');
    },
  );
});

test('consistency, a shorter timeout, trace and visible headers travel; others do not', async () => {
  let seen: OutgoingCall | undefined;
  await within(
    (_service, _method, _input, options) => {
      seen = options;
      return null;
    },
    async (_gateway, url) => {
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const headers = {
        'tandem-consistency': 'strong',
        'tandem-timeout': '200ms',
        traceparent,
        authorization: 'Bearer x',
      };
      const response = await fetch(`${url}/stock/a`, { headers: { ...headers, 'x-forwarded-for': '6.6.6.6' } });
      assert.equal(response.headers.get('traceparent'), traceparent);
      assert.equal(seen!.consistency, 'strong');
      assert.equal(seen!.traceparent, traceparent);
      assert.ok(seen!.deadline - systemClock.monotonic() <= 200);
      assert.equal(seen!.caller.headers?.authorization, 'Bearer x');
      assert.equal(seen!.caller.headers?.['x-forwarded-for'], undefined);
      assert.equal(seen!.caller.address, '127.0.0.1');
      await fetch(`${url}/stock/a`, { headers: { 'tandem-timeout': '1h' } });
      assert.ok(seen!.deadline - systemClock.monotonic() <= 5000, 'a client cannot ask for more than the method gives');
    },
  );
});

test('a session comes back as header and cookie, and is merged from both', async () => {
  let position = 0;
  const seen: [string, number][][] = [];
  await within(
    (_service, _method, _input, options) => {
      seen.push([...(options.session.toForm()?.positions ?? [])].map(([log, at]) => [log, at]));
      advance(options, 'state/stock/1', ++position);
      return null;
    },
    async (_gateway, url) => {
      const first = await fetch(`${url}/stock/a`);
      const token = first.headers.get('tandem-session')!;
      assert.match(first.headers.get('set-cookie') ?? '', /^tandem-session=.*; HttpOnly; SameSite=Lax$/);
      const second = await fetch(`${url}/stock/a`, { headers: { 'tandem-session': token } });
      assert.deepEqual(seen[1], [['state/stock/1', 1]]);
      assert.equal(second.headers.get('set-cookie'), null, 'who sends the header gets the header');
      await fetch(`${url}/stock/a`, { headers: { cookie: `a=b; tandem-session=${token}; c=d` } });
      assert.deepEqual(seen[2], [['state/stock/1', 1]]);
    },
  );
});

test('a session of which something is gone ends with the error that says so, for header and cookie', async () => {
  await within(
    () => {
      throw new TandemError('LOG_LOST', 'gone', { details: { session: 'over' } });
    },
    async (_gateway, url) => {
      const cookie = await fetch(`${url}/stock/a`, { headers: { cookie: 'tandem-session=1.x.y' } });
      assert.equal(cookie.status, 503);
      assert.equal(cookie.headers.get('tandem-session'), '');
      assert.match(cookie.headers.get('set-cookie') ?? '', /^tandem-session=; .*Max-Age=0$/);
      const header = await fetch(`${url}/stock/a`, { headers: { 'tandem-session': '1.x.y' } });
      assert.equal(header.headers.get('tandem-session'), '');
      assert.equal(header.headers.get('set-cookie'), null);
    },
  );
  await within(
    () => {
      throw new TandemError('LOG_LOST', 'a log is gone');
    },
    async (_gateway, url) => {
      const answer = await fetch(`${url}/stock/a`, { headers: { cookie: 'tandem-session=1.x.y' } });
      assert.equal(answer.headers.get('set-cookie'), null, 'a log that is lost is no end of a session');
    },
  );
});

test('a session that someone changed counts as one that has forgotten everything', async () => {
  let overflowed: boolean | undefined;
  await within(
    (_service, _method, _input, options) => {
      overflowed = options.session.overflowed;
      return null;
    },
    async (_gateway, url) => {
      await fetch(`${url}/stock/a`, { headers: { 'tandem-session': '1.state/stock/1=zz.AAAAAAAAAAAAAAAAAAAAAA' } });
      assert.equal(overflowed, true);
    },
  );
});

test('a client that goes away cancels its call', async () => {
  const { promise: started, resolve: start } = Promise.withResolvers<AbortSignal>();
  const { promise: canceled, resolve: cancel } = Promise.withResolvers<void>();
  await within(
    (_service, _method, _input, { signal }) => {
      signal.addEventListener('abort', () => cancel());
      start(signal);
      return canceled;
    },
    async gateway => {
      const socket = connect(gateway.port, '127.0.0.1', () => socket.write('GET /stock/a HTTP/1.1\r\nhost: x\r\n\r\n'));
      await started;
      socket.destroy();
      await canceled;
    },
  );
});

test('a stream is Server-Sent Events, ended by an end event, with an error event when it fails', () =>
  within(
    async function* (_service, _method, input) {
      yield 1;
      yield 2;
      if ((input as { sku: string }).sku === 'bad') throw new DeclaredError('gone', 410, undefined);
    } as Handle,
    async (_gateway, url) => {
      const good = await fetch(`${url}/stock/a/live`);
      assert.equal(good.headers.get('content-type'), 'text/event-stream');
      assert.equal(await good.text(), 'data: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n');
      const bad = await (await fetch(`${url}/stock/bad/live`)).text();
      assert.match(bad, /^data: 1\n\ndata: 2\n\nevent: error\ndata: \{.*"code":"gone"/);
      const lines = await fetch(`${url}/stock/a/live`, { headers: { accept: 'application/x-ndjson' } });
      assert.equal(await lines.text(), '1\n2\n');
    },
  ));

test('a stream that fails before its first item is an HTTP status', () =>
  within(
    // biome-ignore lint/correctness/useYield: it fails before it yields
    async function* () {
      throw new TandemError('UNAVAILABLE', 'nobody there');
    } as Handle,
    async (_gateway, url) => assert.equal((await fetch(`${url}/stock/a/live`)).status, 503),
  ));

test('a silent stream sends heartbeats and ends when the client leaves', async () => {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  await within(
    async function* (_service: string, _method: string, _input: unknown, { signal }: OutgoingCall) {
      try {
        await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()));
        yield 1;
      } finally {
        end();
      }
    } as Handle,
    async (_gateway, url) => {
      const leave = new AbortController();
      const response = await fetch(`${url}/stock/a/live`, { signal: leave.signal });
      const { value } = await response.body!.getReader().read();
      assert.equal(new TextDecoder().decode(value), ':\n\n');
      leave.abort();
      await ended;
    },
    { heartbeatMs: 20 },
  );
});

test('a slow reader holds the stream back', async () => {
  let made = 0;
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  await within(
    async function* () {
      try {
        for (; made < 100_000; made++) yield 'x'.repeat(10_000);
      } finally {
        end();
      }
    } as Handle,
    async gateway => {
      const socket = connect(gateway.port, '127.0.0.1', () =>
        socket.write('GET /stock/a/live HTTP/1.1\r\nhost: x\r\n\r\n'),
      );
      await new Promise(resolve => socket.once('readable', resolve));
      let before = -1;
      while (before !== made && made < 5000) {
        before = made;
        await new Promise(resolve => setTimeout(resolve, 50));
      }
      assert.ok(made < 5000, `${made} items were made for a reader that does not read`);
      socket.destroy();
      await ended;
    },
  );
});

test('a raw method gets the request and answers as it likes, without hop-by-hop or inner headers', async () => {
  let form: RawRequestForm | undefined;
  await within(
    (_service, _method, input) => {
      form = input as RawRequestForm;
      const headers = [
        ['location', '/there'],
        ['connection', 'x'],
        ['tandem-instance', 'forged'],
        ['content-type', 'text/x'],
      ];
      return { status: 303, headers, body: Buffer.from('see there') };
    },
    async (_gateway, url) => {
      const response = await fetch(`${url}/hook?a=1`, {
        method: 'POST',
        body: Buffer.from([0, 1, 255]),
        redirect: 'manual',
        headers: { 'x-signature': 's', 'x-forwarded-for': '6.6.6.6', cookie: 'a=b; tandem-session=t', x_y: 'z' },
      });
      assert.equal(response.status, 303);
      assert.equal(response.headers.get('location'), '/there');
      assert.equal(response.headers.get('tandem-instance'), 'stock-1');
      assert.equal(response.headers.get('content-type'), 'text/x');
      assert.equal(await response.text(), 'see there');
      assert.equal(form!.url, `${url}/hook?a=1`);
      assert.deepEqual([...form!.body!], [0, 1, 255]);
      const names = new Map(form!.headers);
      assert.equal(names.get('x-signature') ?? names.get('X-Signature'), 's');
      assert.equal(names.get('cookie'), 'a=b');
      for (const name of ['x-forwarded-for', 'x_y', 'connection', 'tandem-session']) assert.ok(!names.has(name), name);
    },
  );
});

test('a repeat of unknown fate is passed on only to an idempotent method', () =>
  within(echo, async (_gateway, url) => {
    const repeat = { 'tandem-repeat': '1' };
    assert.equal((await fetch(`${url}/call/stock/reserve`, post({ sku: 'a' }, repeat))).status, 200);
    const refused = await fetch(`${url}/call/stock/count`, post({ n: 1 }, repeat));
    assert.equal(refused.status, 503);
    assert.equal(((await refused.json()) as { outcome: string }).outcome, 'unknown');
  }));

test('when full, optional work is refused first and health still answers', async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await within(
    () => released,
    async (gateway, url) => {
      const waiting = Array.from({ length: 7 }, () => fetch(`${url}/stock/a`));
      await until('seven calls are open', () => gateway.inflight === 7);
      const optional = await fetch(`${url}/call/stock/extra`, { method: 'POST' });
      assert.equal(optional.status, 429);
      assert.ok(optional.headers.get('retry-after'));
      const usual = fetch(`${url}/stock/a`);
      assert.equal((await fetch(`${url}/-/health`)).status, 200);
      release();
      for (const response of await Promise.all([...waiting, usual])) assert.equal(response.status, 204);
    },
    { inflightMax: 10 },
  );
});

test('bodies are bounded together: who is over is told to come back, and the room is given back', async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await within(
    () => released,
    async (gateway, url) => {
      const body = (bytes: number): RequestInit => post({ n: 1, text: 'x'.repeat(bytes) });
      const declared = await fetch(`${url}/call/stock/count`, body(1000));
      assert.equal(declared.status, 429, 'alone it is over 90 % of all');
      assert.equal(gateway.bodyBytes, 0);
      const held = fetch(`${url}/call/stock/count`, body(600));
      await until('the body is held', () => gateway.bodyBytes >= 600);
      const refused = await fetch(`${url}/call/stock/count`, body(400));
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [429, '1']);
      const problem = (await refused.json()) as Record<string, unknown>;
      assert.deepEqual([problem.code, problem.outcome], ['OVERLOADED', 'not-done']);
      assert.match(String(problem.detail), /bytes of bodies/);
      // Of a chunked body nobody knows the size before it has come.
      const chunked = new ReadableStream({
        start(controller) {
          for (let i = 0; i < 4; i++) controller.enqueue(new TextEncoder().encode('x'.repeat(100)));
          controller.close();
        },
      });
      const init = { ...post({}), body: chunked, duplex: 'half' } as RequestInit;
      assert.equal((await fetch(`${url}/call/stock/count`, init)).status, 429);
      const small = fetch(`${url}/call/stock/count`, body(100));
      const bare = fetch(`${url}/stock/a`);
      release();
      for (const response of await Promise.all([held, small, bare])) assert.equal(response.status, 204);
      assert.equal(gateway.bodyBytes, 0);
      assert.equal((await fetch(`${url}/call/stock/count`, body(700))).status, 204);
    },
    { bodiesBytesMax: 1000 },
  );
});

test('a client that goes away in the middle of its body gives its room back', () =>
  within(
    () => null,
    async gateway => {
      const head = 'POST /call/stock/count HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
      const socket = connect(gateway.port, '127.0.0.1', () =>
        socket.write(`${head}content-length: 900\r\n\r\n${'x'.repeat(500)}`),
      );
      const holds = (bytes: number): Promise<void> =>
        until(`${bytes} bytes are held`, () => gateway.bodyBytes === bytes);
      await holds(500);
      socket.destroy();
      await holds(0);
      assert.equal(gateway.inflight, 0);
    },
    { bodiesBytesMax: 1000 },
  ));

test('HEAD answers as GET without a body; OPTIONS names the verbs; a method without output is 204', () =>
  within(
    (_service, method, input) => (method === 'clear' ? undefined : input),
    async (_gateway, url) => {
      const head = await fetch(`${url}/stock/a`, { method: 'HEAD' });
      assert.deepEqual([head.status, await head.text()], [200, '']);
      const options = await fetch(`${url}/stock/a`, { method: 'OPTIONS' });
      assert.deepEqual([options.status, options.headers.get('allow')], [204, 'DELETE, GET, HEAD, OPTIONS']);
      assert.equal((await fetch(`${url}/stock/a`, { method: 'DELETE' })).status, 204);
    },
  ));

test('a service that joins is reachable at once', async () => {
  const registry = fakeRegistry([]);
  await within(
    () => 'hi',
    async (_gateway, url) => {
      assert.equal((await fetch(`${url}/-/ready`)).status, 503);
      assert.equal((await fetch(`${url}/late`)).status, 404);
      const late = contract('late', { hi: { http: 'GET /late' } });
      registry.join(describeService(late.implement({ methods: { hi: () => undefined } })));
      assert.equal(await (await fetch(`${url}/late`)).json(), 'hi');
      assert.equal((await fetch(`${url}/-/ready`)).status, 200);
    },
    { registry },
  );
});

test('a port in use is a clear error', () =>
  within(echo, async gateway => {
    await assert.rejects(openTestGateway(echo, { port: gateway.port }), {
      code: 'CONFLICT',
      message: /port \d+ is in use/,
    });
  }));

test('several gateways share one port when asked to', { skip: process.platform !== 'linux' }, async () => {
  const first = await openTestGateway(echo, { reusePort: true });
  const second = await openTestGateway(echo, { reusePort: true, port: first.port });
  await second.close(0);
  assert.equal((await fetch(`${first.url}/stock/a`)).status, 200);
  await first.close(0);
});

test('closing finishes what is under way, then takes nothing new', async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<string>();
  const gateway = await openTestGateway(() => released, { registry: fakeRegistry([stockDescriptor]) });
  const under = fetch(`${gateway.url}/stock/a`);
  await until('the call is open', () => gateway.inflight === 1);
  const closed = gateway.close(5000);
  await assert.rejects(fetch(`${gateway.url}/stock/a`));
  release('done');
  const response = await under;
  assert.equal(response.headers.get('connection'), 'close');
  assert.equal(await response.json(), 'done');
  await closed;
});

test('closing ends what does not finish in time', async () => {
  const gateway = await openTestGateway(() => new Promise(() => {}));
  const under = bytesTo(gateway.port, 'GET /stock/a HTTP/1.1\r\nhost: x\r\n\r\n');
  await until('the call is open', () => gateway.inflight === 1);
  await gateway.close(30);
  assert.equal(await under, '');
});

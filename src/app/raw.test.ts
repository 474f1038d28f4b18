/** Raw methods through a real gateway, a real link over TCP and a real instance; only the processes are one. */
import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as z from 'zod';
import { limits } from '../core/limits.ts';
import { contract } from '../index.ts';
import { openRealApp, type RealApp } from './fixture.test.ts';

const secret = 'whsec_5f3a';
const door = contract('door', {
  hook: { http: 'POST /hooks/pay', raw: true },
  go: { http: 'GET /go', raw: true },
  upload: { http: 'PUT /files', raw: true },
  slow: { http: 'POST /slow', raw: true },
  lie: { http: 'GET /lie', raw: true },
  ping: { http: 'GET /ping', output: z.string() },
});
let uploads = 0;
let slowBegan: (() => void) | undefined;
let slowAborted: ((reason: unknown) => void) | undefined;
const service = door.implement({
  methods: {
    hook: async request => {
      const bytes = Buffer.from(await request.arrayBuffer());
      const given = Buffer.from(request.headers.get('x-hub-signature-256')?.slice('sha256='.length) ?? '', 'hex');
      const right = createHmac('sha256', secret).update(bytes).digest();
      if (given.length !== right.length || !timingSafeEqual(given, right)) return new Response('bad', { status: 401 });
      return Response.json({ headers: [...request.headers], url: request.url, hex: bytes.toString('hex') });
    },
    go: request => {
      const headers = new Headers({ location: `/files?from=${new URL(request.url).searchParams.get('id')}` });
      headers.append('set-cookie', 'a=1; Path=/');
      headers.append('set-cookie', 'b=2; Path=/');
      return new Response(null, { status: 303, headers });
    },
    upload: async request => {
      uploads++;
      const reader = request.body!.getReader();
      let bytes = 0;
      for (let part = await reader.read(); !part.done; part = await reader.read()) bytes += part.value.length;
      return new Response(`${bytes}`, { status: 201, headers: { 'content-type': 'text/plain', etag: '"v1"' } });
    },
    slow: (_request, ctx) =>
      new Promise<Response>((_, reject) => {
        ctx.signal.addEventListener('abort', () => {
          slowAborted?.(ctx.signal.reason);
          reject(ctx.signal.reason);
        });
        slowBegan?.();
      }),
    lie: () => 'no response' as unknown as Response,
    ping: () => 'pong',
  },
});

let app: RealApp;
let url = '';
let port = 0;

before(async () => {
  app = await openRealApp({ services: [service] });
  url = app.urls[0]!;
  port = Number(new URL(url).port);
});
after(() => app?.[Symbol.asyncDispose]());

const signatureOf = (bytes: Uint8Array): string => `sha256=${createHmac('sha256', secret).update(bytes).digest('hex')}`;
const inflight = (): number => {
  const point = app.hosts
    .get('gateway-1')!
    .meter.snapshot()
    .find(({ name }) => name === 'tandem.http.inflight');
  return point && 'value' in point ? point.value : Number.NaN;
};
async function until(holds: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 5000;
  while (!holds()) {
    assert.ok(performance.now() < end, `waited 5 s for ${what}`);
    await new Promise(resolve => setImmediate(resolve));
  }
}

test('a signed webhook: every byte and every header of it reaches the handler, one changed byte is refused', async () => {
  // Not UTF-8, odd spaces, a zero: anything that parses and prints again would break the signature.
  const bytes = Buffer.concat([Buffer.from('{ "amount":1.0e2,\r\n\t"note":"'), Buffer.from([0xff, 0xfe, 0x00, 0xc3])]);
  const send = (body: Uint8Array<ArrayBuffer>) =>
    fetch(`${url}/hooks/pay?try=2&x=%2F`, {
      method: 'POST',
      headers: [
        ['content-type', 'application/json; charset=latin1'],
        ['x-hub-signature-256', signatureOf(bytes)],
        ['stripe-signature', 't=1,v1=abc, v1=DEF'],
        ['user-agent', 'Pay/1.0 (+https://pay.example)'],
        ['authorization', 'Basic eDp5'],
        ['x-forwarded-for', '6.6.6.6'],
        ['tandem-instance', 'posing'],
      ],
      body,
    });
  const answer = await send(bytes);
  assert.equal(answer.status, 200);
  const seen = (await answer.json()) as { headers: [string, string][]; url: string; hex: string };
  assert.equal(seen.hex, bytes.toString('hex'));
  assert.equal(seen.url, `${url}/hooks/pay?try=2&x=%2F`);
  const headers = new Map(seen.headers);
  assert.equal(headers.get('content-type'), 'application/json; charset=latin1');
  assert.equal(headers.get('stripe-signature'), 't=1,v1=abc, v1=DEF');
  assert.equal(headers.get('user-agent'), 'Pay/1.0 (+https://pay.example)');
  assert.equal(headers.get('authorization'), 'Basic eDp5');
  for (const name of ['x-forwarded-for', 'tandem-instance', 'connection'])
    assert.equal(headers.has(name), false, `${name} is not the client's to say`);
  const changed = Buffer.from(bytes);
  changed[9]! ^= 1;
  const refused = await send(changed);
  assert.equal(`${refused.status} ${await refused.text()}`, '401 bad');
});

test('a compressed webhook comes as it was sent: what is signed is the compressed bytes', async () => {
  const bytes = Buffer.from('1f8b08000000000000034b04004399d61f01000000', 'hex');
  const headers = { 'content-encoding': 'gzip', 'x-hub-signature-256': signatureOf(bytes) };
  const answer = await fetch(`${url}/hooks/pay`, { method: 'POST', headers, body: bytes });
  assert.equal(((await answer.json()) as { hex: string }).hex, bytes.toString('hex'));
});

test('a redirect keeps its status, its place and each of its cookies', async () => {
  const answer = await fetch(`${url}/go?id=7`, { redirect: 'manual' });
  assert.equal(answer.status, 303);
  assert.equal(answer.headers.get('location'), '/files?from=7');
  assert.deepEqual(answer.headers.getSetCookie(), ['a=1; Path=/', 'b=2; Path=/']);
  assert.equal(await answer.text(), '');
});

test('an upload in chunks of unknown length arrives whole, up to the limit of a body', async () => {
  const part = new Uint8Array(64 * 1024).fill(7);
  let left = limits.bodyBytesMax / part.length;
  const body = new ReadableStream<Uint8Array>({
    pull: controller => (left-- > 0 ? controller.enqueue(part) : controller.close()),
  });
  const answer = await fetch(`${url}/files`, { method: 'PUT', body, duplex: 'half' } as RequestInit);
  assert.equal(`${answer.status} ${await answer.text()}`, `201 ${limits.bodyBytesMax}`);
  assert.equal(answer.headers.get('etag'), '"v1"');
});

test('an upload without end is refused at the limit; however much more comes, the gateway holds none of it', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const held = (): number => {
    collect();
    return process.memoryUsage().arrayBuffers / 1024 / 1024;
  };
  const before = uploads;
  const heldAtStart = held();
  const mib = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1024 * 1024), Buffer.from('\r\n')]);
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  let wake = (): void => {};
  socket.on('data', bytes => (answer += bytes.toString('latin1')));
  socket.on('error', () => {}).on('close', () => wake());
  socket.on('drain', () => wake());
  socket.write('PUT /files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
  let sentMiB = 0;
  let mostMiB = 0;
  for (; sentMiB < 64 && !socket.destroyed; sentMiB++) {
    const room = new Promise<void>(resolve => (wake = resolve));
    if (!socket.write(mib)) await room;
    mostMiB = Math.max(mostMiB, held() - heldAtStart);
  }
  socket.destroy();
  assert.match(answer, /^HTTP\/1\.1 413 /);
  assert.match(answer, /TOO_LARGE/);
  assert.ok(sentMiB > 2, `only ${sentMiB} MiB were sent, which shows nothing`);
  assert.ok(mostMiB < 6, `${mostMiB.toFixed(1)} MiB were held while ${sentMiB} were sent`);
  assert.equal(uploads, before, 'the handler never heard of it');
  await until(() => inflight() === 0, 'the gateway to be done with it');
});

test('a client that goes away in the middle of its upload: the handler is not called, nothing is left behind', async () => {
  const before = uploads;
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('PUT /files HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n');
  socket.write(Buffer.alloc(100_000));
  await until(() => inflight() === 1, 'the gateway to have begun');
  socket.destroy();
  await until(() => inflight() === 0, 'the gateway to notice');
  assert.equal(uploads, before);
  assert.equal(await (await fetch(`${url}/ping`)).json(), 'pong');
});

test('a client that goes away while the handler works: its signal aborts', async () => {
  const began = new Promise<void>(resolve => (slowBegan = resolve));
  const aborted = new Promise(resolve => (slowAborted = resolve));
  const leaving = new AbortController();
  const asked = fetch(`${url}/slow`, { method: 'POST', body: 'x', signal: leaving.signal });
  await began;
  leaving.abort();
  await assert.rejects(asked, { name: 'AbortError' });
  await aborted;
  await until(() => inflight() === 0, 'the gateway to notice');
});

test('a raw handler that answers no Response: INTERNAL outside, the reason in the record', async () => {
  const answer = await fetch(`${url}/lie`);
  const problem = (await answer.json()) as { status: number; code: string };
  assert.deepEqual([answer.status, problem.code], [500, 'INTERNAL']);
  const [record] = app.hosts.get('door-1')!.records.after(0).slice(-1);
  assert.match(JSON.stringify(record), /door\.lie.*a raw method must answer with a Response/);
});

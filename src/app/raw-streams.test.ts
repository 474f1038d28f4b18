/** Large bodies, mounted apps and streams of raw methods: a real gateway, a real link over TCP, a real instance. */
import assert from 'node:assert/strict';
import { request as requestHttp } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fastify from 'fastify';
import { contract } from '../index.ts';
import { openRealApp, type RealApp } from './fixture.test.ts';

const mib = 1_048_576;
const largeBytes = 100 * mib;
const door = contract('files', {
  upload: { http: 'PUT /files/:name', raw: true, bodyBytesMax: 2 * largeBytes },
  early: { http: 'POST /early', raw: true, bodyBytesMax: largeBytes },
  slow: { http: 'POST /slow', raw: true, bodyBytesMax: largeBytes, timeout: '300ms' },
  download: { http: 'GET /files/*path', raw: true },
  ticks: { http: 'GET /ticks', raw: true },
  broken: { http: 'GET /broken', raw: true },
  lie: { http: 'GET /lie', raw: true },
  app: { http: 'ANY /app/*rest', raw: true },
  fetch: { http: 'ANY /hono/*rest', raw: true },
});

/** What `app.inject` of Fastify takes and gives, as a raw method. */
const mounted = fastify();
mounted.get('/app/users/:id', async request => ({ user: (request.params as { id: string }).id, query: request.query }));
mounted.post('/app/users', async (request, reply) => reply.code(201).header('x-made', 'yes').send(request.body));
const inject = async (request: Request): Promise<Response> => {
  const { pathname, search } = new URL(request.url);
  const answer = await mounted.inject({
    method: request.method as 'GET',
    url: pathname + search,
    headers: Object.fromEntries(request.headers),
    payload: Buffer.from(await request.arrayBuffer()),
  });
  const headers = Object.entries(answer.headers).flatMap(([name, value]) =>
    [value].flat().map((one): [string, string] => [name, String(one)]),
  );
  return new Response(answer.rawPayload.length > 0 ? answer.rawPayload : null, { status: answer.statusCode, headers });
};

let cancelled = '';
let handled = 0;
const piece = Buffer.alloc(65_536, 'x');
const endless = (name: string, mostBytes = Number.POSITIVE_INFINITY): ReadableStream<Uint8Array> => {
  let sent = 0;
  return new ReadableStream(
    {
      pull: controller => {
        if (sent >= mostBytes) controller.close();
        else controller.enqueue(piece);
        sent += piece.length;
      },
      cancel: () => {
        cancelled = name;
      },
    },
    { highWaterMark: 0 },
  );
};
const service = door.implement({
  methods: {
    upload: async request => {
      handled++;
      let bytes = 0;
      for await (const chunk of request.body!) bytes += chunk.length;
      return new Response(String(bytes), { status: 201 });
    },
    early: () => new Response('no', { status: 401 }),
    slow: async request => {
      for await (const _ of request.body!);
      const { signal } = request;
      if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve));
      cancelled = 'slow';
      return new Response('late');
    },
    download: request => {
      const { searchParams } = new URL(request.url);
      const bytes = Number(searchParams.get('bytes'));
      const headers: Record<string, string> = searchParams.has('length') ? { 'content-length': String(bytes) } : {};
      return new Response(endless('download', bytes), { headers });
    },
    ticks: () =>
      new Response(
        new ReadableStream({
          start: controller => controller.enqueue(new TextEncoder().encode('data: 1\n\n')),
          cancel: () => {
            cancelled = 'ticks';
          },
        }),
        { headers: { 'content-type': 'text/event-stream' } },
      ),
    broken: () => {
      let pulls = 0;
      const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
        if (pulls++ < 3) controller.enqueue(piece);
        else controller.error(new Error('the disk is gone'));
      };
      return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }));
    },
    lie: () => new Response(endless('lie', 2 * mib), { headers: { 'content-length': '3000000' } }),
    app: inject,
    fetch: request => Response.json({ method: request.method, path: new URL(request.url).pathname }),
  },
});

let app: RealApp;
let url = '';

before(async () => {
  await mounted.ready();
  app = await openRealApp({ services: [service] });
  url = app.urls[0]!;
});
after(async () => {
  await app?.[Symbol.asyncDispose]();
  await mounted.close();
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!holds()) {
    assert.ok(performance.now() < end, `waited 10 s for ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** The least of a few looks: what a collection frees of buffers is counted only when its sweeper, another thread, is through. */
const heldMib = async (): Promise<number> => {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < 5; look++) {
    collect();
    await new Promise(setImmediate);
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    least = Math.min(least, (heapUsed + arrayBuffers) / mib);
  }
  return least;
};

test('100 MB go up and come down, and at no time more than a few of them are held', async () => {
  const start = await heldMib();
  let most = 0;
  let sent = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull: async controller => {
        if (sent % (10 * mib) === 0) most = Math.max(most, (await heldMib()) - start);
        if (sent >= largeBytes) controller.close();
        else controller.enqueue(piece);
        sent += piece.length;
      },
    },
    { highWaterMark: 0 },
  );
  const up = await fetch(`${url}/files/a`, { method: 'PUT', body, duplex: 'half' } as RequestInit);
  assert.equal(`${up.status} ${await up.text()}`, `201 ${largeBytes}`);
  const down = await fetch(`${url}/files/a/b.bin?length&bytes=${largeBytes}`);
  assert.equal(down.headers.get('content-length'), String(largeBytes));
  let got = 0;
  for await (const chunk of down.body!) {
    if (Math.floor(got / (10 * mib)) !== Math.floor((got + chunk.length) / (10 * mib)))
      most = Math.max(most, (await heldMib()) - start);
    got += chunk.length;
  }
  assert.equal(got, largeBytes);
  assert.ok(most < 32, `${most.toFixed(1)} MiB were held`);
});

test('so they do over HTTP/2', async () => {
  const session = connectHttp2(url);
  const up = session.request({ ':method': 'PUT', ':path': '/files/a' });
  const answer = new Promise<string>(resolve => up.once('data', data => resolve(String(data))));
  for (let i = 0; i < 160; i++) if (!up.write(piece)) await new Promise(resolve => up.once('drain', resolve));
  up.end();
  assert.equal(await answer, String(10 * mib));
  const down = session.request({ ':path': `/files/x?bytes=${10 * mib}` });
  let got = 0;
  for await (const chunk of down) got += (chunk as Buffer).length;
  assert.equal(got, 10 * mib);
  session.destroy();
});

test('a reader that stops holds its service back; one that leaves lets it go', async () => {
  cancelled = '';
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write('GET /files/x?bytes=1e12 HTTP/1.1\r\nhost: x\r\n\r\n');
  await new Promise(resolve => socket.once('data', resolve));
  socket.pause();
  const start = await heldMib();
  await new Promise(resolve => setTimeout(resolve, 100));
  assert.ok((await heldMib()) - start < 10);
  socket.destroy();
  await until('the service to hear of it', () => cancelled === 'download');
  const ticks = await fetch(`${url}/ticks`);
  const reader = ticks.body!.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), 'data: 1\n\n', 'at once, though more may come');
  await reader.cancel();
  await until('a quiet stream to hear of it too', () => cancelled === 'ticks');
});

test('an answer that breaks, or is not as long as it said, does not pass for a whole one', async () => {
  for (const path of ['/broken', '/lie']) await assert.rejects((await fetch(url + path)).arrayBuffer(), path);
  const session = connectHttp2(url);
  const stream = session.request({ ':path': '/broken' }).resume();
  await assert.rejects(new Promise((resolve, reject) => stream.on('error', reject).on('end', () => resolve(0))));
  session.destroy();
});

test('an upload over the limit of its method is refused: declared, before a byte; else when it is over', async () => {
  handled = 0;
  const declared = await new Promise<number>((resolve, reject) => {
    const asked = requestHttp(`${url}/files/a`, {
      method: 'PUT',
      headers: { expect: '100-continue', 'content-length': 2 * largeBytes + 1 },
    });
    asked.on('continue', () => reject(new Error('it was asked to go on')));
    asked.on('response', response => resolve(response.statusCode!)).on('error', reject);
    asked.flushHeaders();
  });
  assert.equal(declared, 413);
  assert.equal(handled, 0);
});

test('who answers before all has come is heard, and the rest is dropped', async () => {
  const answer = await fetch(`${url}/early`, { method: 'POST', body: Buffer.alloc(5 * mib) });
  assert.equal(`${answer.status} ${await answer.text()}`, '401 no');
});

test('an upload that its client gives up ends for the service; its time to answer begins when all has come', async () => {
  const point = () =>
    app.hosts
      .get('gateway-1')!
      .meter.snapshot()
      .find(({ name }) => name === 'tandem.http.inflight') as { value: number };
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.write(`PUT /files/a HTTP/1.1\r\nhost: x\r\ncontent-length: ${10 * mib}\r\n\r\n`);
  socket.write(Buffer.alloc(mib));
  await until('it to be under way', () => point().value === 1);
  socket.destroy();
  await until('nothing to be left', () => point().value === 0);
  cancelled = '';
  const late = await fetch(`${url}/slow`, { method: 'POST', body: Buffer.alloc(2 * mib) });
  assert.equal(late.status, 504);
  await until('the handler to be told', () => cancelled === 'slow');
});

test('a Fastify app, or any fetch(request), is mounted under a path, with every verb', async () => {
  const one = await fetch(`${url}/app/users/7?a=b`);
  assert.deepEqual(await one.json(), { user: '7', query: { a: 'b' } });
  const headers = { 'content-type': 'application/json' };
  const made = await fetch(`${url}/app/users`, { method: 'POST', headers, body: '{"name":"Ada"}' });
  assert.equal(`${made.status} ${made.headers.get('x-made')} ${await made.text()}`, '201 yes {"name":"Ada"}');
  assert.equal((await fetch(`${url}/app`)).status, 404, 'its own 404');
  for (const [method, path] of [
    ['GET', '/hono'],
    ['PATCH', '/hono/'],
    ['OPTIONS', '/hono/a/b'],
    ['DELETE', '/hono/a//b'],
  ])
    assert.deepEqual(await (await fetch(url + path, { method: method! })).json(), { method, path });
  assert.equal((await fetch(`${url}/honolulu`)).status, 404);
});

// Two gateways on one port, as real processes: kill -9 of one under load, over HTTP/1.1 and HTTP/2.
import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';
import { join } from 'node:path';
import { test } from 'node:test';
import { hello } from './cli-app.ts';
import { folderWith, stateOf, tandem, until } from './running-app.ts';

/** One request, once. Rejects where a client could not know what became of it. */
type Send = (path: string) => Promise<string>;

function http1(url: string): Send {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  return path =>
    new Promise((resolve, reject) => {
      request(url + path, { agent }, response => {
        let text = '';
        response.on('data', data => (text += data)).on('error', reject);
        response.on('end', () => resolve(`${response.statusCode} ${text}`));
      })
        .on('error', reject)
        .end();
    });
}

function http2(url: string): Send & { close(): void } {
  let session: ClientHttp2Session | undefined;
  const send = (path: string): Promise<string> => {
    if (!session || session.closed || session.destroyed) session = connect(url).on('error', () => {});
    const used = session;
    return new Promise((resolve, reject) => {
      const stream = used.request({ ':path': path });
      let status: unknown;
      let text = '';
      stream.on('response', headers => (status = headers[':status'])).on('data', data => (text += data));
      stream.on('error', reject).on('close', () => {
        if (status === undefined || stream.rstCode !== 0) reject(new Error(`reset ${stream.rstCode}`));
        else resolve(`${status} ${text}`);
      });
    });
  };
  return Object.assign(send, { close: () => session?.destroy() });
}

test('kill -9 of one of two gateways: what is sent again is answered, at once, by the other', {
  timeout: 60_000,
}, async t => {
  const folder = folderWith({ 'hello.ts': hello });
  const data = join(folder, 'data');
  const app = tandem(['up', join(folder, 'hello.ts'), '--data', data, '--port', '0', '--gateways', '2'], {
    environment: { NOTES: join(folder, 'notes') },
  });
  const gateways = () => stateOf(data)?.processes.filter(({ role, ready }) => role === 'gateway' && ready) ?? [];
  await until('the app to be up', () => stateOf(data)?.facts.gatewayUrl !== undefined && gateways().length === 2).catch(
    cause => {
      throw new Error(`${cause.message}\n${app.printed()}`);
    },
  );
  const url = stateOf(data)!.facts.gatewayUrl!;

  let over = false;
  t.after(() => {
    over = true;
  });
  let answered = 0;
  let repeated = 0;
  let slowestMs = 0;
  const wrong: string[] = [];
  /** A GET may be sent again: once, on a new connection, must be enough. */
  const load = async (send: Send, lane: string): Promise<void> => {
    for (let count = 0; !over; count++) {
      const path = `/hello/${lane}-${count}`;
      const expected = `200 "Hello, ${lane}-${count}!"`;
      const began = performance.now();
      let tries = 0;
      let got = '';
      for (; tries < 3 && got === ''; tries++) {
        try {
          got = await send(path);
        } catch {
          repeated++;
        }
      }
      if (got === expected) answered++;
      else wrong.push(`${path}: '${got}' after ${tries} tries`);
      slowestMs = Math.max(slowestMs, performance.now() - began);
    }
  };
  const clients = Array.from({ length: 8 }, () => http2(url));
  const lanes = [
    ...Array.from({ length: 8 }, (_, index) => load(http1(url), `one-${index}`)),
    ...clients.map((send, index) => load(send, `two-${index}`)),
  ];
  await until('requests to flow', () => answered > 300);
  for (const { pid } of gateways().slice(0, 1)) process.kill(pid, 'SIGKILL');
  const killedAt = answered;
  await until('requests to go on', () => answered > killedAt + 300);
  await until('the killed one to be replaced', () => gateways().length === 2 && answered > killedAt + 600);
  over = true;
  await Promise.all(lanes);
  for (const { close } of clients) close();
  assert.deepEqual(wrong, []);
  assert.ok(repeated > 0, 'none of 16 clients was at the gateway that was killed');
  assert.ok(slowestMs < 2000, `a request took ${slowestMs.toFixed(0)} ms`);
  t.diagnostic(`${answered} answered, ${repeated} sent again, slowest ${slowestMs.toFixed(0)} ms`);
  app.child.kill('SIGTERM');
  assert.equal(await app.ended, 0);
});

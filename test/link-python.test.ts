/** The protocol page is enough to write a client from: test/link_client.py was, in another language, and calls a service here. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { contract, error, stream } from 'tandem';
import * as z from 'zod';
import { systemHost } from '../src/app/host.ts';
import { openInstance } from '../src/app/instance.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { memoryTransport } from '../src/communication/memory.ts';
import { openEmbeddedEngine } from '../src/log/embedded-engine.ts';
import { nodeDisk } from '../src/log/node-disk.ts';
import { memoryStores } from '../src/replication/memory-store.ts';

// Debian's own: what pyenv or a virtual environment has in its place does not see python3-msgpack.
const python = '/usr/bin/python3';
const isThere = spawnSync(python, ['-c', 'import msgpack']).status === 0;
const skip = isThere ? false : 'msgpack for Python is not installed: apt-get install python3-msgpack';

const demo = contract('demo', {
  greet: { input: z.object({ name: z.string() }), output: z.string() },
  refuse: {
    input: z.object({ left: z.int() }),
    errors: { outOfStock: error(409, z.object({ left: z.int() })) },
  },
  count: {
    input: z.object({ to: z.int(), bytes: z.int() }),
    output: stream(z.object({ n: z.int(), pad: z.string() })),
  },
  made: { output: z.int() },
  double: { input: stream(z.number()), output: stream(z.number()) },
  wait: {},
  ended: { output: z.array(z.string()) },
});

test('a client in Python, written from the protocol page, calls, streams, cancels and is told errors', {
  skip,
}, async t => {
  let made = 0;
  const ended: string[] = [];
  const service = demo.implement({
    methods: {
      greet: ({ name }) => `Hello, ${name}!`,
      refuse: ({ left }, ctx) => {
        throw ctx.fail.outOfStock({ left });
      },
      count: async function* ({ to, bytes }) {
        for (made = 1; made <= to; made++) yield { n: made, pad: 'x'.repeat(bytes) };
      },
      made: () => made,
      double: async function* (numbers) {
        for await (const number of numbers) yield number * 2;
      },
      wait: (_, ctx) =>
        new Promise((_resolve, reject) => {
          ctx.signal.addEventListener('abort', () => {
            ended.push((ctx.signal.reason as { code: string }).code);
            reject(ctx.signal.reason);
          });
        }),
      ended: () => ended,
    },
  });
  const host = systemHost({ id: 'demo-1', write: () => {}, level: 'error' });
  const directory = mkdtempSync(join(tmpdir(), 'tandem-python-'));
  const engine = await openEmbeddedEngine({ directory, disk: nodeDisk, durability: 'os', ...host });
  const stores = memoryStores();
  const instance = await openInstance({
    ...{ id: 'demo-1-test', service, host, engine, listen: 'tcp://127.0.0.1:0', config: {} },
    stores: { open: partition => stores.open(partition), close: () => Promise.resolve() },
  });
  t.after(async () => {
    await instance.close(500);
    await engine.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const client = join(import.meta.dirname, 'link_client.py');
  const { stdout } = await promisify(execFile)(python, [client, instance.address, 'demo'], { timeout: 30_000 });
  const told = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line));
  const failed = (
    check: string,
    code: string,
    outcome: string,
    status: number | null = null,
    data: unknown = null,
  ) => ({
    ...{ check, code, outcome, status, data },
  });
  assert.deepEqual(told, [
    { check: 'call', body: 'Hello, Zoë!', instance: 'demo-1-test' },
    { check: 'call again', body: 'xxxx!' },
    failed('declared error', 'outOfStock', 'not-done', 409, { left: 3 }),
    failed('invalid', 'INVALID', 'not-done'),
    failed('unknown method', 'NOT_FOUND', 'not-done'),
    { check: 'stream', items: 300, last: 300 },
    { check: 'stream held back', withinWindow: true },
    { check: 'items both ways', doubled: [0, 2, 4], ended: true },
    { check: 'cancel', ended: ['CANCELED'] },
    failed('deadline', 'DEADLINE_EXCEEDED', 'unknown'),
    { check: 'deadline took', inTime: true },
    { check: 'ping', id: 4711 },
  ]);
});

test('the example of the protocol page is what the link says, byte for byte', async () => {
  const page = readFileSync(join(import.meta.dirname, '../docs/reference/link-protocol.md'), 'utf8');
  const example = /## An example[\s\S]*?```\n([\s\S]*?)```/.exec(page)![1]!;
  const spoken: { there: boolean; bytes: Buffer }[] = [];
  for (const line of example.split('\n')) {
    const [, arrow, hex] = /^([→← ]) *((?:[0-9a-f]+ )*[0-9a-f]+)(?: {2}|$)/.exec(line) ?? [];
    if (hex === undefined) continue;
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    if (arrow === ' ') spoken.at(-1)!.bytes = Buffer.concat([spoken.at(-1)!.bytes, bytes]);
    else spoken.push({ there: arrow === '→', bytes });
  }
  assert.equal(spoken.length, 4);
  const transport = memoryTransport();
  const { clock, random, logger, meter } = systemHost({ id: 'page', write: () => {}, level: 'silent' });
  const server = await openLinkServer({
    ...{ transports: [transport], address: 'memory://page', clock, random, logger, meter },
    answer: ({ method, body, deadline }) => {
      assert.equal(method, 'demo.greet');
      assert.ok(deadline - clock.monotonic() > 4500 && deadline - clock.monotonic() <= 5000);
      return { body: `Hello, ${(body as { name: string }).name}!` };
    },
  });
  const caller = transport.connect('memory://page');
  let heard = Buffer.alloc(0);
  caller.onData = bytes => {
    heard = Buffer.concat([heard, bytes]);
  };
  for (const { bytes } of spoken.filter(({ there }) => there)) caller.write(bytes);
  await new Promise(resolve => setImmediate(resolve));
  const expected = Buffer.concat(spoken.filter(({ there }) => !there).map(({ bytes }) => bytes));
  assert.equal(heard.toString('hex'), expected.toString('hex'));
  caller.destroy();
  await server.close();
});

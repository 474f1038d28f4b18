/** The parts of `up` and `dev` that can be tried without processes. */
import assert from 'node:assert/strict';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { controlAddress } from './control.ts';
import { emptyDataDirectory, openDataDirectory } from './data-directory.ts';
import { firstFiles } from './init.ts';
import { inOrder, isOf, pretty } from './logs.ts';
import { choosePort, isFree } from './ports.ts';
import { openProgress } from './progress.ts';
import { age } from './ps.ts';
import { statusBlock } from './status-block.ts';
import type { Terminal } from './terminal.ts';
import { watchSources } from './watch-files.ts';

const directoryOf = (t: TestContext): string => {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
};
const terminal = (interactive: boolean): Terminal & { said: string[] } => {
  const said: string[] = [];
  return { said, out() {}, say: text => said.push(text), interactive, color: false, columns: 80 };
};
const event = (kind: 'ready' | 'exited' | 'adopted', name: string) => ({
  time: '',
  kind,
  name,
  message: 'was killed by SIGKILL',
});

test('a named port that is taken is an error; a default one moves on and says so', async () => {
  const taken = async (_host: string, port: number): Promise<boolean> => port > 3001;
  await assert.rejects(choosePort('127.0.0.1', 3000, true, taken), { code: 'CONFIG', message: /port 3000 .* in use/ });
  assert.deepEqual(await choosePort('127.0.0.1', 3000, false, taken), {
    port: 3002,
    note: 'port 3000 is in use, so it is 3002',
  });
  await assert.rejects(
    choosePort('127.0.0.1', 3000, false, async () => false),
    { message: /no free port from 3000 to 3100/ },
  );
});

test('a port that another process listens on is not free, even when that one would share it', async t => {
  const server = createServer().listen({ host: '127.0.0.1', port: 0, reusePort: true });
  t.after(() => server.close());
  await new Promise(resolve => server.once('listening', resolve));
  assert.equal(await isFree('127.0.0.1', (server.address() as { port: number }).port), false);
});

test('a port that was chosen is no other choice of port, although nothing listens on it yet', async () => {
  const { port } = await choosePort('127.0.0.1', 0, false);
  assert(await isFree('127.0.0.1', port));
  if (process.platform !== 'linux') return;
  await assert.rejects(choosePort('127.0.0.1', port, true), { code: 'CONFIG' });
});

test('a host that is not of this machine is a clear error', async () => {
  await assert.rejects(isFree('192.0.2.1', 0), { code: 'CONFIG', message: /cannot listen on 192\.0\.2\.1/ });
});

test('a directory with foreign files is neither used nor removed', t => {
  const directory = directoryOf(t);
  writeFileSync(join(directory, 'thesis.txt'), 'ten years of work');
  assert.throws(() => openDataDirectory(directory), { code: 'CONFIG', message: /not a Tandem data directory/ });
  assert.throws(() => emptyDataDirectory(directory), { code: 'CONFIG' });
  assert(existsSync(join(directory, 'thesis.txt')));
});

test('data of a newer format is refused', t => {
  const directory = directoryOf(t);
  writeFileSync(join(directory, 'tandem.json'), '{"format":9}');
  assert.throws(() => openDataDirectory(directory), { code: 'UNSUPPORTED', message: /format 9/ });
});

test('half a mark, as a crash leaves it, stands in no way; a damaged one is named', t => {
  const directory = directoryOf(t);
  writeFileSync(join(directory, 'tandem.json.new'), '{"for');
  const { secret } = openDataDirectory(directory);
  assert.equal(openDataDirectory(directory).secret, secret);
  writeFileSync(join(directory, 'tandem.json'), '');
  assert.throws(() => openDataDirectory(directory), {
    code: 'CORRUPT',
    message: /tandem\.json is damaged; restore it/,
  });
});

test('the secret of a data directory survives, and emptying removes all of it, the secret too', t => {
  const directory = join(directoryOf(t), 'deep', 'data');
  const { secret } = openDataDirectory(directory);
  assert.equal(openDataDirectory(directory).secret, secret);
  writeFileSync(join(directory, 'rows'), 'data');
  emptyDataDirectory(directory);
  assert.deepEqual(readdirSync(directory), []);
  assert.notEqual(openDataDirectory(directory).secret, secret);
  emptyDataDirectory(join(directory, 'never-made'));
});

test('progress in a pipe is one line a role, when all of it is ready', () => {
  const plain = terminal(false);
  const progress = openProgress(plain, [
    { name: 'engine', instances: 1 },
    { name: 'stock', instances: 2 },
  ]);
  progress.onEvent(event('ready', 'engine'));
  progress.onEvent(event('ready', 'stock-1'));
  progress.onEvent(event('exited', 'stock-1'));
  progress.onEvent(event('ready', 'stock-1'));
  progress.onEvent(event('ready', 'stock-2'));
  assert.deepEqual(plain.said, ['  ✓ engine', '  ! stock  0/2  stock-1: was killed by SIGKILL', '  ✓ stock  2/2']);
});

test('progress on a terminal is redrawn in place', () => {
  let drawn = '';
  const progress = openProgress(terminal(true), [{ name: 'engine', instances: 1 }], text => {
    drawn += text;
  });
  progress.onEvent(event('ready', 'engine'));
  assert.equal(drawn, '\r\u001b[2K  · engine\n\u001b[1A\r\u001b[2K  ✓ engine\n');
});

test('the status block names what is where and what to try', () => {
  const block = statusBlock(terminal(false), {
    tookMs: 812,
    gatewayUrl: 'http://127.0.0.1:3000',
    gateways: 2,
    dashboardUrl: 'http://127.0.0.1:3001/?token=x',
    dns: '127.0.0.1:5300',
    data: '/app/.tandem',
    services: [{ name: 'hello', instances: 10, routes: ['GET /hello/:name'] }],
    notes: ['port 3000 is in use, so it is 3002'],
    hint: 'Ctrl-C stops.',
  });
  for (const part of [
    'hello is up, in 0.81 s',
    'http://127.0.0.1:3001/?token=x',
    'dig @127.0.0.1 -p 5300 hello.tandem.internal',
    'hello ×10',
    'curl http://127.0.0.1:3000/hello/world',
    'port 3000 is in use',
  ]) {
    assert(block.includes(part), part);
  }
});

test('records of several processes are merged by time, and a stack stays below its record', () => {
  const line = (process: string, time: string) => ({ process, time, line: `${process}${time}` });
  const merged = inOrder([line('a', '1'), line('a', ''), line('a', '3'), line('b', '2')]);
  assert.deepEqual(
    merged.map(one => one.line),
    ['a1', 'a', 'b2', 'a3'],
  );
  assert.equal(pretty('plain text', false), 'plain text');
  assert.match(
    pretty('{"time":"2026-01-01T10:00:00.000Z","level":"info","message":"hi","n":1}', false),
    /^10:00:00\.000 info {2}hi n=1$/,
  );
});

test('a name means all instances of a service, or one of them, and no other service', () => {
  assert(isOf('stock-3-abc123.ndjson', 'stock') && isOf('stock-3-abc123.ndjson', 'stock-3'));
  assert(!isOf('stock-audit-1-abc123.ndjson', 'stock') && !isOf('stock-31-abc123.ndjson', 'stock-3'));
});

test('ages are short', () =>
  assert.deepEqual([5000, 90_000, 7_200_000, 200_000_000].map(age), ['5s', '1m', '2h', '2d']));

test('the control socket of a very deep directory is kept within what a socket path may be', () => {
  assert.equal(controlAddress('/app/.tandem'), 'unix:///app/.tandem/control.sock');
  assert(controlAddress(`/${'deep/'.repeat(40)}`).length < 110);
});

test('a first project has what it needs, with a name that npm takes', () => {
  const files = firstFiles('My App!', '0.1.0');
  assert.deepEqual(Object.keys(files), ['hello.ts', 'hello.test.ts', 'package.json', 'tsconfig.json', '.gitignore']);
  const project = JSON.parse(files['package.json']!) as { name: string; dependencies: Record<string, string> };
  assert.equal(project.name, 'my-app');
  assert.equal(project.dependencies.tandem, '^0.1.0');
});

test('a change of a source file is told once, in new directories too, and never of data or dependencies', async t => {
  const directory = directoryOf(t);
  mkdirSync(join(directory, 'node_modules'));
  const told: string[] = [];
  let heard = (): void => {};
  const watching = watchSources([directory], systemClock, file => {
    told.push(file);
    heard();
  });
  t.after(() => watching.close());
  const next = (): Promise<void> => new Promise(resolve => (heard = resolve));
  writeFileSync(join(directory, 'node_modules', 'x.ts'), '');
  writeFileSync(join(directory, 'notes.txt'), '');
  const first = next();
  for (const part of ['a', 'b', 'c']) appendFileSync(join(directory, 'a.ts'), part);
  await first;
  assert.deepEqual(told, [join(directory, 'a.ts')]);
});

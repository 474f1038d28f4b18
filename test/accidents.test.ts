// What goes wrong at the start or under way: each time a message that says what to do, a non-zero exit code where a
// command ends by it, and no process left behind.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { lengthOfRow, putRow, rowsService } from './rows-service.ts';
import { folderWith, leftOf, lives, prints, ran, root, stateOf, tandem, until } from './running-app.ts';

const hello = readFileSync(join(root, 'examples/01-hello/hello.ts'), 'utf8');
const config = `
import { contract } from 'tandem';
import * as z from 'zod';
export default contract('shipping', { cost: { output: z.number() } }).implement({
  config: z.object({ carrierUrl: z.string(), retriesMax: z.number() }),
  methods: { cost: () => 1 },
});
`;
const dates = `
import { contract } from 'tandem';
import * as z from 'zod';
export default contract('reports', { of: { input: z.object({ since: z.date() }), output: z.number() } }).implement({
  methods: { of: () => 1 },
});
`;
const sleepy = `
import { writeFileSync } from 'node:fs';
writeFileSync('sleepy.pid', String(process.pid));
setInterval(() => {}, 1000);
await new Promise(() => {});
`;

const folder = folderWith({
  'hello.ts': hello,
  'again.ts': hello,
  'rows.ts': rowsService,
  'config.ts': config,
  'dates.ts': dates,
  'sleepy.ts': sleepy,
});
const noPort = { PORT: '', TANDEM_PORT: '' };

interface Failing {
  readonly data?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly json?: boolean;
}

/** `tandem up` that must fail, with this said at the end, and leave nothing running. */
async function fails(words: readonly string[], says: RegExp, { data, environment, json }: Failing = {}): Promise<void> {
  const path = data ?? join(folder, `data-${words.join('-').replace(/[^a-z0-9-]/g, '')}`);
  const port = words.includes('--port') || environment?.['PORT'] ? [] : ['--port', '0'];
  const args = ['up', ...words, ...port, '--data', path, ...(json ? ['--json'] : [])];
  const { code, out, said, printed } = await ran(args, { cwd: folder, environment: { ...noPort, ...environment } });
  assert.equal(code, 1, printed);
  const message = json
    ? (JSON.parse(out) as { error: { message: string } }).error.message
    : said.split('tandem: ').at(-1)!;
  assert.match(message, says);
  assert.doesNotMatch(printed, /^ +at .*\(/m, 'no stack for what a person can mend');
  assert.deepEqual(leftOf(path), []);
}

/** A small file system of its own; undefined (and the test is skipped) where none can be mounted. */
function mounted(t: TestContext, options: string): string | undefined {
  const directory = join(folder, `mount-${options.replace(/\W/g, '-')}`);
  mkdirSync(directory);
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tandem-test', directory], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    t.skip(`needs the right to mount a file system: ${stderr?.trim().split('\n')[0] || 'no mount here'}`);
    return undefined;
  }
  // Registered before the folder is removed, and after what runs in it was ended.
  after(() => void spawnSync('umount', ['-l', directory]));
  return directory;
}

test('a port that was named and is in use: refused', async t => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise(done => server.once('listening', done));
  const { port } = server.address() as { port: number };
  await fails(['hello.ts', '--port', String(port)], new RegExp(`port ${port} on 127.0.0.1 is in use .*--port`));
  await fails(['hello.ts'], /port \d+ .* is in use/, { environment: { PORT: String(port) }, json: true });
});

test('the default port in use: the next free one is taken, and that is said', async t => {
  const server = createServer();
  t.after(() => server.close());
  // Where somebody else has the port already, that is as good.
  await new Promise<void>(done => server.once('error', () => done()).listen(3000, '127.0.0.1', done));
  const app = tandem(['dev', 'hello.ts', '--data', 'default-port'], { cwd: folder, environment: noPort });
  const [, url, port] = await prints(app, /Gateway +(http:\/\/127\.0\.0\.1:(\d+))/);
  await prints(app, new RegExp(`Note +port 3000 is in use, so it is ${port}`));
  assert.equal(await (await fetch(`${url}/hello/Ada`)).json(), 'Hello, Ada!');
  app.child.kill('SIGINT');
  assert.equal(await app.ended, 0, app.printed());
});

test('a file where the data directory should be: refused', async () => {
  await fails(['hello.ts'], /hello\.ts\/data cannot be used: .*a file, not a directory.*--data/, {
    data: join(folder, 'hello.ts/data'),
  });
  await fails(['hello.ts'], /hello\.ts cannot be used: it is a file.*--data/, { data: join(folder, 'hello.ts') });
});

test('a data directory that cannot be written: refused', async t => {
  // Rights do not bind root, a file system that is read-only does.
  const directory = process.getuid?.() === 0 ? mounted(t, 'ro,size=64k') : join(folder, 'not-ours');
  if (directory === undefined) return;
  if (!existsSync(directory)) mkdirSync(directory, { mode: 0o555 });
  await fails(['hello.ts'], /cannot be used: it cannot be written.*--data/, { data: directory });
  await fails(['hello.ts'], /cannot be used: it cannot be (made there|written).*--data/, {
    data: join(directory, 'new'),
  });
});

test('data of a newer format, of the directory or of the engine: refused', async () => {
  const written = (name: string, files: Readonly<Record<string, unknown>>): string => {
    mkdirSync(join(folder, name, 'engine'), { recursive: true });
    for (const [file, content] of Object.entries(files)) {
      writeFileSync(join(folder, name, file), JSON.stringify(content));
    }
    return join(folder, name);
  };
  await fails(['hello.ts'], /has format 9, this Tandem knows 1; use the newer version/, {
    data: written('newer', { 'tandem.json': { format: 9, secret: 's' } }),
  });
  await fails(['hello.ts'], /engine has data of format 9, .* use the version that wrote it/, {
    data: written('newer-engine', {
      'tandem.json': { format: 1, secret: 's' },
      'engine/engine.json': { format: 9, incarnation: 'i' },
    }),
  });
});

test('config that is missing or of the wrong type: each key, and the variable that sets it', async () => {
  await fails(
    ['config.ts'],
    /carrierUrl: .*set TANDEM_SHIPPING_CARRIER_URL.*retriesMax: .*expected number.*set TANDEM_SHIPPING_RETRIES_MAX/,
    { environment: { TANDEM_SHIPPING_RETRIES_MAX: 'many' } },
  );
});

test('a schema that JSON cannot carry: the field, and what to use instead', async () => {
  await fails(['dates.ts'], /reports\.of input\.since: JSON cannot carry .*use z\.iso\.datetime\(\)/);
});

test('two services of one name: both files', async () => {
  await fails(
    ['hello.ts', 'again.ts'],
    /two services are named 'hello': in .*hello\.ts and in .*again\.ts; rename one/,
  );
});

test('a directory instead of a service file', async () => {
  await fails(['.'], /is a directory; give the files in it that export services/);
});

test('another partition count in the code than the data has changes nothing, and is said', async () => {
  const data = join(folder, 'partitioned');
  const dev = async (partitions: string, look: (url: string) => Promise<void>): Promise<string> => {
    const environment = { ...noPort, PARTITIONS: partitions };
    const app = tandem(['dev', 'rows.ts', '--data', data, '--port', '0'], { cwd: folder, environment });
    const [, url] = await prints(app, /Gateway +(http\S+)/);
    await look(url!);
    app.child.kill('SIGTERM');
    assert.equal(await app.ended, 0, app.printed());
    return app.printed();
  };
  const said = /the data has another count of partitions than the code says, and keeps it/;
  assert.doesNotMatch(await dev('2', async url => assert.equal((await putRow(url, 'a', 3)).status, 200)), said);
  const printed = await dev('4', async url => {
    assert.equal(await (await fetch(`${url}/rows/a`)).json(), 3);
    assert.equal((await putRow(url, 'b', 4)).status, 200);
  });
  assert.match(printed, said);
  await dev('2', async url => {
    assert.equal(await (await fetch(`${url}/rows/a`)).json(), 3);
    assert.equal(await (await fetch(`${url}/rows/b`)).json(), 4);
  });
});

test('a service file that never finishes loading goes with the command that waits for it', async () => {
  const app = tandem(['up', 'sleepy.ts', '--data', 'sleepy', '--port', '0'], { cwd: folder, environment: noPort });
  const file = join(folder, 'sleepy.pid');
  const pid = await until('the file to be loading', () => existsSync(file) && Number(readFileSync(file, 'utf8')));
  app.child.kill('SIGKILL');
  await app.ended;
  await until('what loaded it to be gone', () => !lives(pid));
});

test('a disk that is full at the start: refused, and fit for use once there is room', async t => {
  const directory = mounted(t, 'size=64k');
  if (directory === undefined) return;
  const data = join(directory, 'data');
  fill(directory);
  await fails(['hello.ts'], /cannot be used: its disk is full; mend that, or name another with --data/, { data });
  spawnSync('mount', ['-o', 'remount,size=64m', directory]);
  const app = tandem(['dev', 'hello.ts', '--data', data, '--port', '0'], { cwd: folder, environment: noPort });
  await prints(app, /hello is up/);
  app.child.kill('SIGTERM');
  assert.equal(await app.ended, 0, app.printed());
});

test('a disk that fills up: no process dies of it, and with room again nothing acknowledged is lost', {
  timeout: 90_000,
}, async t => {
  // Room for the engine's first segment of 8 MB and a few rows.
  const directory = mounted(t, 'size=12m');
  if (directory === undefined) return;
  const data = join(directory, 'data');
  const app = tandem(['up', 'rows.ts', '--data', data, '--port', '0'], { cwd: folder, environment: noPort });
  const [, url] = await prints(app, /Gateway +(http\S+)/);
  const before = stateOf(data)!.processes;

  const acknowledged: string[] = [];
  for (let i = 0; i < 10; i++) {
    const answer = await putRow(url!, `row-${i}`, 900_000);
    if (answer.status !== 200) break;
    acknowledged.push(`row-${i}`);
  }
  assert(acknowledged.length > 0 && acknowledged.length < 10, `${acknowledged.length} rows had room`);
  const served = await fetch(`${url}/rows/${acknowledged[0]}`, { headers: { 'tandem-timeout': '500ms' } });
  assert([503, 504].includes(served.status), `${served.status}: a copy that falls behind serves nothing`);
  fill(directory);
  const servesYet = await fetch(`${url}/rows/none/such`);
  assert.equal(servesYet.status, 404, 'a gateway needs no disk');

  spawnSync('mount', ['-o', 'remount,size=64m', directory]);
  for (const key of acknowledged) assert.equal(await lengthOfRow(url!, key), 900_000, key);
  assert.equal((await putRow(url!, 'afterwards', 900_000)).status, 200);
  for (const { name, pid } of before) assert(lives(pid), `${name} was hurt:\n${app.printed()}`);
  assert.equal((await ran(['stop', '--data', data])).code, 0);
  assert.equal(await app.ended, 0, app.printed());
});

/** Writes until there is no room for one byte more. */
function fill(directory: string): void {
  try {
    for (let i = 0; ; i++) writeFileSync(join(directory, `fill-${i}`), Buffer.alloc(i < 200 ? 65_536 : 4096));
  } catch (cause) {
    assert.equal((cause as NodeJS.ErrnoException).code, 'ENOSPC');
  }
}

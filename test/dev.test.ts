// `tandem dev` as a person at a keyboard has it: save, look, break it, mend it, stop, come back.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderWith, lives, prints, type Run, ran, tandem, until } from './running-app.ts';

const service = (greeting: string): string => `
import { contract, table, topic } from 'tandem';
import * as z from 'zod';
const Name = z.object({ name: z.string() });
export const arrived = topic('visits.arrived', Name, { key: 'name', partitions: 2 });
export const visits = contract('visits', {
  greet: { http: 'GET /greet/:name', input: Name, output: z.string() },
  pid: { http: 'GET /pid', output: z.number() },
  visit: { key: 'name', http: 'POST /visits/:name', input: Name, output: z.number() },
  count: { key: 'name', http: 'GET /visits/:name', consistency: 'strong', input: Name, output: z.number() },
});
export default visits.implement({
  tables: { people: table(z.object({ times: z.number() })) },
  partitions: 2,
  methods: {
    greet: ({ name }) => \`${greeting}, \${name}!\`,
    pid: () => process.pid,
    visit: ({ name }, ctx) => ctx.transact(tx => {
      const times = (tx.people.get(name)?.times ?? 0) + 1;
      tx.people.put(name, { times });
      return times;
    }),
    count: async ({ name }, ctx) => (await ctx.tables.people.get(name))?.times ?? 0,
  },
  subscriptions: {
    welcome: { topic: arrived, handler: ({ name }, ctx) => ctx.transact(tx => tx.people.put(name, { times: 100 })) },
  },
});
`;

const folder = folderWith({ 'visits.ts': service('Hello') });
const file = join(folder, 'visits.ts');
const here = { cwd: folder };
// Within the watched folder on purpose: what the app writes there is no change of a source.
const dev = (...flags: string[]): Run => tandem(['dev', 'visits.ts', '--data', 'data', '--port', '0', ...flags], here);

/** At once, as careful editors do: never half of it is there. */
function save(text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
async function urlOf(app: Run): Promise<string> {
  return (await prints(app, /Gateway +(http\S+)|"gatewayUrl":"([^"]+)"/)).slice(1).find(Boolean)!;
}
async function get(url: string): Promise<unknown> {
  const response = await fetch(url).catch(() => undefined);
  return response?.ok ? response.json() : undefined;
}

test('dev serves, restarts on save, says where a syntax error is, and lets a debugger in', {
  timeout: 60_000,
}, async () => {
  const app = dev('--inspect=0');
  const url = await urlOf(app);
  assert.equal(await get(`${url}/greet/Ada`), 'Hello, Ada!');
  assert.equal(await (await fetch(`${url}/visits/Ada`, { method: 'POST' })).json(), 1);

  const [, inspector] = await prints(app, /Debugger listening on ws:\/\/(\S+)/);
  const targets = (await get(`http://${inspector!.split('/')[0]}/json`)) as { webSocketDebuggerUrl: string }[];
  assert.deepEqual(
    targets.map(target => target.webSocketDebuggerUrl),
    [`ws://${inspector}`],
  );

  const first = (await get(`${url}/pid`)) as number;
  save(service('Welcome'));
  await until('the new greeting', async () => (await get(`${url}/greet/Ada`)) === 'Welcome, Ada!');
  assert.notEqual(await get(`${url}/pid`), first, 'a fresh process');
  assert(!lives(first));
  assert.equal(await get(`${url}/visits/Ada`), 1, 'the data is still there');
  assert.equal(app.printed().match(/ changed, restarting/g)!.length, 1, 'one save is one restart');

  const broken = service('Welcome').replace('times: z.number() })', 'times: z.number( })');
  const line = broken.split('\n').findIndex(text => text.includes('z.number( })')) + 1;
  save(broken);
  await prints(app, new RegExp(`✗ .*visits\\.ts could not be loaded: .*visits\\.ts, line ${line}\\)`));
  await prints(app, /Waiting for a change/);
  save(service('Back again'));
  await until('the mended service', async () => (await get(`${url}/greet/Ada`)) === 'Back again, Ada!');

  const twin = await ran(['dev', 'visits.ts', '--data', 'data', '--port', '0', '--fresh'], here);
  assert.equal(twin.code, 1);
  assert.match(
    twin.printed,
    new RegExp(
      `another tandem dev \\(pid ${app.pid}; .*ends with tandem stop\\) runs with the data in .*data; end it, or`,
    ),
  );
  assert.equal(await get(`${url}/visits/Ada`), 1, 'a refused --fresh takes nothing away');

  const last = (await get(`${url}/pid`)) as number;
  app.child.kill('SIGINT');
  assert.equal(await app.ended, 0, app.printed());
  assert.match(app.printed(), /Stopped\.\n$/);
  assert(!lives(last));
});

test('data outlives dev until --fresh, and --json writes nothing but JSON', { timeout: 60_000 }, async () => {
  for (const [flags, visits] of [
    [[], 1],
    [['--fresh'], 0],
  ] as const) {
    const app = dev('--json', ...flags);
    const url = await urlOf(app);
    assert.equal(await get(`${url}/visits/Ada`), visits, `${flags}`);
    app.child.kill('SIGINT');
    assert.equal(await app.ended, 0, app.printed());
    const kinds = app
      .out()
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as { kind?: string }).kind);
    assert.deepEqual(kinds.filter(Boolean), ['up', 'stopped']);
  }
});

test('a file that is missing ends dev at once: there is nothing to wait for', async () => {
  const { code, said } = await ran(['dev', 'vists.ts', '--data', 'other'], here);
  assert.equal(code, 1);
  assert.match(said, /vists\.ts does not exist/);
});

test('commands from another terminal reach an app of dev, also after a restart; what makes no sense there says so', {
  timeout: 60_000,
}, async () => {
  save(service('Hello'));
  const run = (...words: string[]) => ran([...words, '--data', 'data'], here);
  const says = async (code: number, pattern: RegExp, ...words: string[]): Promise<void> => {
    const result = await run(...words);
    assert.equal(result.code, code, result.printed);
    assert.match(result.printed, pattern);
  };
  const greets = (greeting: string) => says(0, new RegExp(greeting), 'call', 'visits.greet', '{"name":"Eve"}');
  const app = dev('--fresh');
  const url = await urlOf(app);
  // At once: what the app has not heard of yet is not unknown.
  await says(0, /Published to visits\.arrived/, 'topic', 'publish', 'visits.arrived', '{"name":"Eve"}');
  await greets('Hello, Eve!');
  await says(1, /no method 'gret'; did you mean visits\.greet/, 'call', 'visits.gret', '{}');
  await until('the event to take effect', async () => (await get(`${url}/visits/Eve`)) === 100);
  await says(0, /visits\.arrived +2 +1 .*visits\.welcome/, 'topic', 'show');
  await says(0, /no dead letters/, 'topic', 'dead', 'visits.welcome');
  await says(0, /visits +0 +visits-1-/, 'table', 'show');
  const pid = (await get(`${url}/pid`)) as number;
  await says(0, new RegExp(`dev +ready +${pid} +\\S+ +0 .*${url}`), 'ps');
  await says(0, /✓ app: 1 process, all ready/, 'doctor');
  await says(1, /tandem dev runs one instance of each service; tandem up runs more/, 'scale', 'visits=2');
  await says(1, /tandem dev keeps its engine to itself; end it with tandem stop/, 'backup', 'dev.backup');
  await says(1, /another tandem dev \(pid \d+; /, 'up', 'visits.ts', '--port', '0');

  save(service('Welcome back'));
  await until('the new greeting', async () => (await get(`${url}/greet/Eve`)) === 'Welcome back, Eve!');
  await prints(app, /restarted in/);
  await greets('Welcome back, Eve!');
  await says(0, /dev +ready +\d+ +\S+ +1 /, 'ps');

  save('this is no service');
  await prints(app, /Waiting for a change/);
  await says(1, /tandem dev \(pid \d+\) runs, but its app does not: .*until a file is mended/, 'call', 'visits.pid');
  await says(0, /NAME.*\ntandem dev \(pid \d+\) runs, but its app does not/, 'ps');

  await says(0, /Stopped/, 'stop');
  assert.equal(await app.ended, 0, app.printed());
  await says(1, /no app runs with the data/, 'call', 'visits.pid');
  save(service('Hello'));
});

test('an app of dev whose parent was killed, and that cannot end by itself, is found and ended by stop', {
  timeout: 60_000,
}, async () => {
  const app = dev('--fresh');
  const pid = (await get(`${await urlOf(app)}/pid`)) as number;
  process.kill(pid, 'SIGSTOP');
  app.child.kill('SIGKILL');
  await until('its parent to be gone', () => !lives(app.pid));
  const held = await ran(['up', 'visits.ts', '--data', 'data', '--port', '0'], here);
  assert.match(held.said, /tandem dev is gone, but its app still runs with the data in .*; end it, or/);
  const called = await ran(['call', 'visits.pid', '--data', 'data'], here);
  assert.match(called.said, /tandem dev is gone, but its app still runs; end it with tandem stop/);
  const stopped = await ran(['stop', '--data', 'data'], here);
  assert.match(stopped.out, /killed, because they did not end in time: dev/);
  assert(!lives(pid));
});

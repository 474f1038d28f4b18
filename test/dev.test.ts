// `tandem dev` as a person at a keyboard has it: save, look, break it, mend it, stop, come back.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderWith, lives, prints, type Run, ran, tandem, until } from './running-app.ts';

const service = (greeting: string): string => `
import { contract, table } from 'tandem';
import * as z from 'zod';
const Name = z.object({ name: z.string() });
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
    /another tandem up or tandem dev \(pid \d+\) has the data in .*data; end it, or name another/,
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

// Every command against one running app, as a person types it and with `--json`: what is printed must be what runs.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { cliApp, hello, stock } from './cli-app.ts';
import { folderWith, leftOf, lives, prints, type Run, ran, stateOf, tandem, until } from './running-app.ts';

/** Publishes what `stock` cannot read. */
const depot = `
import { contract, topic } from 'tandem';
import * as z from 'zod';
const sent = topic('stock.delivered', z.object({ sku: z.string() }), { key: 'sku', partitions: 2 });
export default contract('depot', {}).implement({ methods: {}, publishes: [sent] });
`;

const cli = cliApp({
  'hello.ts': hello,
  'stock.ts': stock,
  'renamed.ts': stock.replaceAll('qty', 'amount'),
  'depot.ts': depot,
  'narrowed.ts': hello.replace(/ {2}slow: \{.*\n/, '').replace(/ {4}slow: async[\s\S]*? {4}\},\n/, ''),
});
const { data, notes, here, plain, json } = cli;
let app: Run;

interface Process {
  readonly name: string;
  readonly state: string;
  readonly pid: number;
}
interface Listing {
  readonly gatewayUrl: string;
  readonly supervisor: { readonly pid: number; readonly running: boolean };
  readonly processes: readonly Process[];
}
interface Failure {
  readonly error: { readonly code: string; readonly message: string; readonly details?: { readonly issues: unknown } };
}

const instances = (service: string): number[] =>
  stateOf(data)!
    .processes.filter(({ name }) => name.startsWith(`${service}-`))
    .map(({ pid }) => pid);

before(async () => {
  app = await cli.up('hello.ts', 'stock.ts');
});

test('ps lists what runs, with the pids of the state file', async () => {
  const listed = await json<Listing>(0, 'ps');
  const names = ['engine', 'naming', 'monitor', 'gateway-1', 'gateway-2', 'hello-1', 'stock-1'];
  assert.deepEqual(listed.processes.map(({ name }) => name).sort(), names.sort());
  assert(listed.processes.every(({ state }) => state === 'ready'));
  assert.deepEqual(listed.supervisor, { pid: app.pid, running: true });
  assert.equal(listed.gatewayUrl, stateOf(data)!.facts.gatewayUrl);
  const shown = await plain(0, 'ps');
  for (const { name, pid } of stateOf(data)!.processes) assert.match(shown, new RegExp(`${name} +ready +${pid} `));
});

test('the data of a running app is refused to a second one, with who has it and how to end that', async () => {
  const second = await ran(['up', 'hello.ts', '--data', data, '--port', '0'], here);
  assert.equal(second.code, 1);
  assert.match(
    second.said,
    new RegExp(`another tandem up \\(pid ${app.pid}; .*ends with tandem stop\\) runs with the data`),
  );
  assert.equal((await ran(['dev', 'hello.ts', '--data', data, '--fresh'], here)).code, 1);
  assert.equal(leftOf(data).length, 8, 'all of the first still run');
});

test('commands look for the data where tandem.config.ts has it, as up does', async () => {
  const beside = folderWith({ 'tandem.config.ts': `export default { data: ${JSON.stringify(data)} };` });
  const { out } = await ran(['ps', '--json'], { cwd: beside });
  assert.equal((JSON.parse(out) as Listing).supervisor.pid, app.pid);
});

test('call prints the answer, also of methods without a route', async () => {
  assert.equal(await plain(0, 'call', 'hello.greet', '{"name":"Ada"}'), '"Good day, Ada!"\n');
  assert.equal(await json(0, 'call', 'hello.greet', '{"name":"Ada"}'), 'Good day, Ada!');
  assert.equal(await json(0, 'call', 'stock.get', '{"sku":"A"}'), 0);
});

test('call says which field of the input is wrong, what is near an unknown name, and which error was declared', async () => {
  assert.match(await plain(1, 'call', 'hello.greet', '{"name":1}'), /name: .*expected string/);
  const { error } = await json<Failure>(1, 'call', 'hello.greet', '{"name":1}');
  assert.equal(error.code, 'INVALID');
  assert.deepEqual(
    (error.details!.issues as { path: string }[]).map(({ path }) => path),
    ['name'],
  );

  assert.match(await plain(1, 'call', 'hello.gret', '{}'), /no method 'gret'; did you mean hello\.greet\?/);
  assert.match((await json<Failure>(1, 'call', 'helo.greet', '{}')).error.message, /did you mean hello\?/);
  assert.match(await plain(2, 'call', 'hello.greet', '{name:1}'), /not JSON/);
  assert.equal((await json<Failure>(2, 'call', 'hello.greet', '{name:1}')).error.code, 'USAGE');

  assert.match(await plain(1, 'call', 'stock.take', '{"sku":"A","qty":3}'), /declared error outOfStock: \{"left":0\}/);
  const declared = await json<{ error: unknown }>(1, 'call', 'stock.take', '{"sku":"A","qty":3}');
  assert.deepEqual(declared.error, {
    code: 'outOfStock',
    message: 'outOfStock',
    outcome: 'not-done',
    status: 409,
    data: { left: 0 },
  });
});

test('logs shows the records of all or of one, follows new ones, and ends at Ctrl-C', async () => {
  await plain(0, 'call', 'hello.greet', '{"name":"Grace"}');
  assert.match(await plain(0, 'logs', 'hello', '--tail', '5'), /hello-1 .* info {2}greeting .*whom=Grace/);
  assert.equal(await plain(0, 'logs', '--tail', '0'), '');
  assert.match(await plain(2, 'logs', '--tail', 'all'), /--tail: 'all' is not a whole number/);
  assert.match(await plain(1, 'logs', 'nobody'), /no process is named 'nobody'/);
  const old = await ran(['logs', '--data', data, '--json'], here);
  const records = old.out
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { message: string; whom?: string });
  assert(records.some(({ message, whom }) => message === 'greeting' && whom === 'Grace'));

  const following = tandem(['logs', 'hello', '--follow', '--tail', '1', '--data', data, '--json'], here);
  await prints(following, /Grace/);
  await plain(0, 'call', 'hello.greet', '{"name":"Edsger"}');
  await prints(following, /"whom":"Edsger"/);
  following.child.kill('SIGINT');
  assert.equal(await following.ended, 0, following.printed());
  for (const line of following.out().trimEnd().split('\n')) JSON.parse(line);
});

test('table show says where data lies, who writes it and that the copies are whole', async () => {
  interface Shown {
    readonly partitions: readonly {
      readonly service: string;
      readonly partition: number;
      readonly writer: string;
      readonly tail: number;
      readonly bytes: number;
      readonly copies: readonly { readonly instance: string; readonly ready: boolean; readonly position: number }[];
    }[];
  }
  for (const qty of [2, 3]) await plain(0, 'topic', 'publish', 'stock.delivered', JSON.stringify({ sku: 'B', qty }));
  const look = () => json<Shown>(0, 'table', 'show', 'stock');
  // Copies tell where they are with each heartbeat.
  const { partitions } = await until('the copies to have told of all', async () => {
    const shown = await look();
    return shown.partitions.every(({ tail, copies }) => copies.every(({ position }) => position === tail)) && shown;
  });
  assert.deepEqual(
    partitions.map(({ service, partition }) => [service, partition]),
    [
      ['stock', 0],
      ['stock', 1],
    ],
  );
  for (const { writer, tail, bytes, copies } of partitions) {
    assert.match(writer, /^stock-1-/);
    assert.ok(tail > 0 && bytes > 0);
    assert.deepEqual(copies, [{ instance: writer, ready: true, position: tail }]);
  }
  assert.match(await plain(0, 'table', 'show'), /PARTITION.*WRITER.*COPIES\nstock +0 +stock-1-/);
  assert.match(await plain(1, 'table', 'show', 'hello'), /no running service 'hello' keeps data/);
  assert.match(await plain(2, 'table', 'list'), /it knows: show/);
});

test('reshard doubles the partitions of a service that is used, and refuses what is no doubling', async () => {
  interface Map {
    readonly service: string;
    readonly count: number;
    readonly to: number;
    readonly divided: number;
  }
  const refused = await json<Failure>(1, 'reshard', 'stock', '--to', '3');
  assert.equal(refused.error.code, 'INVALID');
  assert.match(refused.error.message, /'stock' has 2 partitions; a reshard doubles them: --to 4/);
  assert.match(await plain(1, 'reshard', 'hello'), /no running service 'hello' keeps data; those that do: stock/);
  assert.match(await plain(2, 'reshard', 'stock', '--to', 'many'), /not a whole number/);
  const done = await json<Map>(0, 'reshard', 'stock');
  assert.deepEqual([done.count, done.to, done.divided], [4, 4, 0]);
  assert.match(await plain(0, 'reshard', 'stock', '--to', '4'), /stock has 4 partitions/);
  const { maps, partitions } = await json<{ maps: readonly Map[]; partitions: readonly { partition: number }[] }>(
    0,
    ...['table', 'show', 'stock'],
  );
  assert.deepEqual(
    maps.map(({ service, count, to }) => [service, count, to]),
    [['stock', 4, 4]],
  );
  assert.deepEqual(
    partitions.map(({ partition }) => partition),
    [4, 5, 6, 7],
  );
});

test('balance shows how instances are picked, switches it for all callers, and takes it back', async () => {
  const { gatewayUrl } = await json<Listing>(0, 'ps');
  assert.match(await plain(0, 'balance'), /hello +least-connections, 1 instance/);
  const switched = { service: 'hello', strategy: 'ip-hash', insteadOf: 'least-connections', instances: 1 };
  assert.deepEqual(await json(0, 'balance', 'hello', 'ip-hash'), { services: [switched] });
  assert.match(await plain(0, 'balance'), /hello +ip-hash, 1 instance {2}\(switched; by itself least-connections\)/);
  assert.equal((await fetch(`${gatewayUrl}/hello/Ada`)).status, 200);
  assert.match(await plain(2, 'balance', 'hello'), /needs a strategy: round-robin, /);
  assert.match(await plain(2, 'balance', 'hello', 'ip-hsh'), /did you mean ip-hash\?/);
  assert.match(await plain(1, 'balance', 'helo', 'dynamic'), /did you mean hello\?/);
  assert.doesNotMatch(await plain(0, 'balance', 'hello', 'default'), /switched/);
});

test('scale adds instances that answer, and those that leave finish what they took on', async () => {
  const { gatewayUrl } = await json<Listing>(0, 'ps');
  assert.deepEqual(await json(0, 'scale', 'hello=3'), { scaled: [{ name: 'hello', count: 3 }] });
  const three = instances('hello');
  assert.equal(three.length, 3);

  const answers = Array.from({ length: 12 }, async () => {
    const response = await fetch(`${gatewayUrl}/slow/1500`);
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()) as number;
  });
  const took = (): string[] => (existsSync(notes) ? readFileSync(notes, 'utf8').trimEnd().split('\n') : []);
  await until('all calls to be taken on', () => took().length === 12);
  assert.equal(new Set(took()).size, 3, 'each of the three took some');
  assert.match(await plain(0, 'scale', 'hello=1'), /hello ×1/);
  const [left] = instances('hello');
  assert.deepEqual(instances('hello'), [left]);
  assert.deepEqual(three.filter(lives), [left]);
  assert.deepEqual(new Set(await Promise.all(answers)), new Set(three));
  assert.equal((await json<Listing>(0, 'ps')).processes.filter(({ name }) => name.startsWith('hello-')).length, 1);
  assert.doesNotMatch(readFileSync(join(data, 'supervisor.json'), 'utf8'), /hello-[23]/);

  assert.match(await plain(1, 'scale', 'helo=2'), /no service 'helo'; there are: hello, stock/);
  assert.match(await plain(2, 'scale', 'hello'), /hello=10|inventory=10/);
  assert.equal((await json<Failure>(1, 'scale', 'hello=999')).error.code, 'INVALID');
});

test('doctor tells each setting with its source, and that what runs is well', async () => {
  interface Report {
    readonly settings: readonly { readonly name: string; readonly value: unknown; readonly source: string }[];
    readonly findings: readonly { readonly check: string; readonly ok: boolean; readonly says: string }[];
  }
  const { settings, findings } = await json<Report>(0, 'doctor', 'hello.ts');
  const source = (name: string): unknown => settings.find(setting => setting.name === name)?.source;
  assert.equal(source('data'), '--data');
  assert.equal(source('gateways'), 'default');
  assert.equal(source('hello.greeting'), 'TANDEM_HELLO_GREETING');
  assert.deepEqual(
    findings.map(({ check, ok }) => [check, ok]),
    ['node', 'data directory', 'app', 'engine', 'service hello'].map(check => [check, true]),
  );
  assert.match(findings.find(({ check }) => check === 'app')!.says, /7 processes, all ready/);
  assert.match(await plain(0, 'doctor'), /✓ app: 7 processes, all ready/);
  assert.match(await plain(1, 'doctor', 'no-such.ts'), /✗ services: no-such\.ts does not exist/);
});

test('contract check passes what is compatible and names what would break a caller', async () => {
  assert.match(await plain(1, 'contract', 'check', 'hello.ts'), /no tandem\.lock\.json here/);
  await plain(0, 'contract', 'check', 'hello.ts', '--write');
  assert.match(await plain(0, 'contract', 'check', 'hello.ts'), /1 contract keeps what tandem\.lock\.json promises/);
  assert.deepEqual(await json(0, 'contract', 'check', 'hello.ts', 'stock.ts'), { breaking: [], added: ['stock'] });
  assert.match(await plain(1, 'contract', 'check', 'narrowed.ts'), /✗ hello\.slow/);
  const { breaking } = await json<{ breaking: { where: string }[] }>(1, 'contract', 'check', 'narrowed.ts');
  assert.deepEqual(
    breaking.map(({ where }) => where),
    ['hello.slow'],
  );
});

test('contract check compares events with what was promised, and services with one another', async () => {
  await plain(0, 'contract', 'check', 'hello.ts', 'stock.ts', '--write');
  assert.match(await plain(0, 'contract', 'check', 'hello.ts', 'stock.ts'), /2 contracts keep what/);
  const printed = await plain(1, 'contract', 'check', 'renamed.ts');
  assert.match(
    printed,
    /✗ topic stock\.delivered\.amount: old events cannot be read: the field is needed, but not written/,
  );
  assert.match(printed, /✗ topic stock\.delivered\.qty: 'stock' as it was cannot read new events/);
  assert.match(
    await plain(1, 'contract', 'check', 'stock.ts', 'depot.ts'),
    /✗ topic stock\.delivered\.qty: 'stock' as it was cannot/,
  );
});

test('log does not touch the data of an engine that runs', async () => {
  assert.match(await plain(1, 'log', 'verify'), /in use by process \d+/);
});

test('stop drains: what was taken on is answered, and no process is left', async () => {
  const state = stateOf(data)!;
  const pids = [state.supervisor.pid, ...state.processes.map(({ pid }) => pid)];
  rmSync(notes);
  const answer = fetch(`${state.facts.gatewayUrl}/slow/800`);
  await until('the call to be taken on', () => existsSync(notes));
  const stopped = await json<{ kind: string; stopped: number; killed: string[] }>(0, 'stop');
  assert.deepEqual([stopped.kind, stopped.stopped, stopped.killed], ['stopped', 7, []]);
  assert.deepEqual(pids.filter(lives), []);
  assert.equal((await answer).status, 200);
  assert.equal(await app.ended, 0, app.printed());
  const lines = app
    .out()
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { kind: string });
  assert.deepEqual(
    lines.map(({ kind }) => kind),
    ['up', 'stopped'],
  );
  assert.match(await plain(1, 'ps'), /no app runs with the data in/);
  assert.deepEqual(leftOf(data), []);
});

test('log verifies, prints and repairs the data of what was stopped', async () => {
  interface Verified {
    readonly logs: readonly { readonly log: string; readonly entries: number }[];
    readonly damage: { readonly path: string; readonly behind: number } | null;
  }
  const sound = await json<Verified>(0, 'log', 'verify');
  assert.equal(sound.damage, null);
  const entriesOf = (name: string): number =>
    sound.logs.filter(({ log }) => log.startsWith(name)).reduce((sum, { entries }) => sum + entries, 0);
  assert.equal(entriesOf('topic/stock.delivered/'), 2, 'both deliveries');
  assert.match(await plain(0, 'log', 'verify'), /topic\/stock\.delivered\/\d {2}\d entries[\s\S]*no damage/);

  const one = sound.logs.find(({ log }) => log.startsWith('topic/stock.delivered/'))!;
  const dumped = await ran(['log', 'dump', '--log', one.log, '--data', data, '--json'], here);
  const entries = dumped.out
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as { log: string; position: number });
  assert.deepEqual(
    entries.map(({ log, position }) => [log, position]),
    Array.from({ length: one.entries }, (_, i) => [one.log, i + 1]),
  );
  assert.match(await plain(0, 'log', 'dump', '--from', '2'), /^\S+ 2 \d+ bytes$/m);
  assert.match(await plain(0, 'log', 'repair'), /Nothing to repair/);

  const segments = join(data, 'engine/segments');
  const segment = join(segments, readdirSync(segments).sort()[0]!);
  const bytes = readFileSync(segment);
  const middle = bytes.indexOf('stock-1-');
  bytes[middle] = bytes[middle]! ^ 0xff;
  writeFileSync(segment, bytes);
  const { damage } = await json<Verified>(1, 'log', 'verify');
  assert.equal(damage!.path, segment);
  assert.match(await plain(1, 'log', 'verify'), /DAMAGED: .*tandem log repair/);
  const repaired = await json<{ lost: number }>(0, 'log', 'repair');
  assert.equal(repaired.lost, damage!.behind);
  assert.equal((await json<Verified>(0, 'log', 'verify')).damage, null);
});

// Every command against one running app, as a person types it and with `--json`: what is printed must be what runs.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { folderWith, leftOf, lives, prints, type Run, ran, stateOf, tandem, until } from './running-app.ts';

const hello = `
import { appendFileSync } from 'node:fs';
import { contract } from 'tandem';
import * as z from 'zod';
export const hello = contract('hello', {
  greet: { http: 'GET /hello/:name', input: z.object({ name: z.string() }), output: z.string() },
  slow: { http: 'GET /slow/:ms', input: z.object({ ms: z.coerce.number() }), output: z.number() },
});
export default hello.implement({
  config: z.object({ greeting: z.string().default('Hello') }),
  methods: {
    greet: ({ name }, ctx) => {
      ctx.logger.info('greeting', { whom: name });
      return ctx.config.greeting + ', ' + name + '!';
    },
    slow: async ({ ms }) => {
      appendFileSync(process.env.NOTES, process.pid + '\\n');
      await new Promise(done => setTimeout(done, ms));
      return process.pid;
    },
  },
});
`;
const stock = `
import { existsSync } from 'node:fs';
import { contract, error, table, topic } from 'tandem';
import * as z from 'zod';
const Line = z.object({ sku: z.string(), qty: z.number() });
export const delivered = topic('stock.delivered', Line, { key: 'sku', partitions: 2 });
export const moved = topic('stock.moved', Line, { key: 'sku', partitions: 2 });
export const stock = contract('stock', {
  get: { key: 'sku', consistency: 'strong', input: z.object({ sku: z.string() }), output: z.number() },
  take: { key: 'sku', input: Line, output: z.number(), errors: { outOfStock: error(409, z.object({ left: z.number() })) } },
});
export default stock.implement({
  tables: { shelf: table(z.object({ qty: z.number() })) },
  partitions: 2,
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.shelf.get(sku))?.qty ?? 0,
    take: ({ sku, qty }, ctx) => ctx.transact(tx => {
      const left = (tx.shelf.get(sku)?.qty ?? 0) - qty;
      if (left < 0) throw ctx.fail.outOfStock({ left: left + qty });
      tx.shelf.put(sku, { qty: left });
      return left;
    }),
  },
  subscriptions: {
    arrive: {
      topic: delivered,
      attempts: 2,
      handler: ({ sku, qty }, ctx) => {
        if (existsSync(process.env.GATE_SHUT)) throw new Error('the gate is shut');
        return ctx.transact(tx => tx.shelf.put(sku, { qty: (tx.shelf.get(sku)?.qty ?? 0) + qty }));
      },
    },
    move: {
      topic: moved,
      attempts: 1,
      onDead: 'park',
      handler: ({ sku, qty }, ctx) => {
        if (qty < 0 && existsSync(process.env.GATE_SHUT)) throw new Error('the gate is shut');
        return ctx.transact(tx => tx.shelf.put(sku, { qty: (tx.shelf.get(sku)?.qty ?? 0) * 10 + Math.abs(qty) }));
      },
    },
  },
});
`;

/** Publishes what `stock` cannot read. */
const depot = `
import { contract, topic } from 'tandem';
import * as z from 'zod';
const sent = topic('stock.delivered', z.object({ sku: z.string() }), { key: 'sku', partitions: 2 });
export default contract('depot', {}).implement({ methods: {}, publishes: [sent] });
`;

const folder = folderWith({
  'hello.ts': hello,
  'stock.ts': stock,
  'renamed.ts': stock.replaceAll('qty', 'amount'),
  'depot.ts': depot,
  'narrowed.ts': hello.replace(/ {2}slow: \{.*\n/, '').replace(/ {4}slow: async[\s\S]*? {4}\},\n/, ''),
});
const data = join(folder, 'data');
const notes = join(folder, 'notes');
const gateShut = join(folder, 'gate-shut');
const environment = { NOTES: notes, GATE_SHUT: gateShut, TANDEM_HELLO_GREETING: 'Good day' };
const here = { cwd: folder, environment };
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

/** What a command printed for people; fails unless it ended with this code. */
async function plain(code: number, ...args: string[]): Promise<string> {
  const result = await ran([...args, ...(args[0] === 'contract' ? [] : ['--data', data])], here);
  assert.equal(result.code, code, result.printed);
  return result.printed;
}
/** The one JSON value that it printed, with nothing beside it. */
async function json<T>(code: number, ...args: string[]): Promise<T> {
  const result = await ran([...args, ...(args[0] === 'contract' ? [] : ['--data', data]), '--json'], here);
  assert.equal(result.code, code, result.printed);
  assert.equal(result.said, '');
  return JSON.parse(result.out) as T;
}
const instances = (service: string): number[] =>
  stateOf(data)!
    .processes.filter(({ name }) => name.startsWith(`${service}-`))
    .map(({ pid }) => pid);

before(async () => {
  app = tandem(['up', 'hello.ts', 'stock.ts', '--data', data, '--port', '0', '--json'], here);
  await prints(app, /"kind":"up"/);
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

test('a published event takes effect; one that is given up is shown, and redriven once the reason is gone', async () => {
  const stockOf = (sku: string): Promise<unknown> => json(0, 'call', 'stock.get', JSON.stringify({ sku }));
  assert.match(await plain(0, 'topic', 'publish', 'stock.delivered', '{"sku":"B","qty":2}'), /Published to stock\./);
  assert.deepEqual(await json(0, 'topic', 'publish', 'stock.delivered', '{"sku":"B","qty":3}'), {
    topic: 'stock.delivered',
    published: true,
  });
  await until('both deliveries to be on the shelf', async () => (await stockOf('B')) === 5);
  assert.match(await plain(1, 'topic', 'publish', 'stock.deliverd', '{"sku":"B"}'), /known: .*stock\.delivered/);
  assert.match(await plain(1, 'topic', 'publish', 'stock.delivered', '{"qty":1}'), /with its key 'sku'/);

  writeFileSync(gateShut, '');
  await plain(0, 'topic', 'publish', 'stock.delivered', '{"sku":"C","qty":7}');
  interface Letters {
    readonly letters: readonly { readonly key: string; readonly attempts: number; readonly event: unknown }[];
  }
  const { letters } = await until('a dead letter', async () => {
    const found = await json<Letters>(0, 'topic', 'dead', 'stock.arrive');
    return found.letters.length > 0 && found;
  });
  assert.deepEqual(
    letters.map(({ key, attempts, event }) => ({ key, attempts, event })),
    [{ key: 'C', attempts: 2, event: { sku: 'C', qty: 7 } }],
  );
  assert.match(
    await plain(0, 'topic', 'dead', 'stock.arrive'),
    /C {2}INTERNAL after 2 tries: the gate is shut {2}trace [0-9a-f]{32}\n[\s\S]*1 dead/,
  );
  assert.match(
    await plain(1, 'doctor'),
    /✗ subscription stock\.arrive: 1 dead letter: .*tandem topic redrive stock\.arrive sends them again/,
  );
  assert.match(await plain(1, 'topic', 'dead', 'stock.arriv'), /known: stock\.arrive/);

  rmSync(gateShut);
  assert.deepEqual(await json(0, 'topic', 'redrive', 'stock.arrive'), { subscription: 'stock.arrive', sent: 1 });
  await until('the redriven delivery to be on the shelf', async () => (await stockOf('C')) === 7);
  assert.match(await plain(0, 'topic', 'redrive', 'stock.arrive'), /Sent 0 events/);
  assert.match(await plain(0, 'topic', 'dead', 'stock.arrive'), /no dead letters/);
});

test('a parked key waits until it is redriven or discarded, and a replay brings all again', async () => {
  const stockOf = (sku: string): Promise<unknown> => json(0, 'call', 'stock.get', JSON.stringify({ sku }));
  const move = (sku: string, qty: number): Promise<string> =>
    plain(0, 'topic', 'publish', 'stock.moved', JSON.stringify({ sku, qty }));
  const parked = async (count: number): Promise<boolean> => {
    const { keys } = await json<{ keys: { next: number }[] }>(0, 'topic', 'parked', 'stock.move');
    return keys.reduce((sum, { next }) => sum + next, 0) === count;
  };
  writeFileSync(gateShut, '');
  for (const qty of [1, -2, 3]) await move('M', qty);
  await until('the failed event and the one behind it to wait', () => parked(2));
  assert.equal(await stockOf('M'), 1);
  assert.match(
    await plain(0, 'topic', 'parked', 'stock.move'),
    /M {2}2 events {2}INTERNAL: the gate is shut\n1 parked/,
  );
  const advice = /1 key parked with 2 events: tandem topic parked stock\.move says why; then redrive, or discard/;
  assert.match(await plain(1, 'doctor'), advice);
  assert.match(await plain(0, 'topic', 'show', 'stock.moved'), advice);
  rmSync(gateShut);
  assert.match(await plain(0, 'topic', 'redrive', 'stock.move'), /Sent 1 event/);
  await until('the key to have gone on in order', async () => (await stockOf('M')) === 123);

  writeFileSync(gateShut, '');
  for (const qty of [-4, 5]) await move('N', qty);
  await until('another key to wait', () => parked(2));
  assert.deepEqual(await json(0, 'topic', 'discard', 'stock.move', 'N'), {
    subscription: 'stock.move',
    key: 'N',
    discarded: true,
  });
  await until('what waited behind the discarded event', async () => (await stockOf('N')) === 5);
  assert.match(await plain(1, 'topic', 'discard', 'stock.move', 'N'), /is not parked/);
  assert.match(await plain(2, 'topic', 'discard', 'stock.move'), /needs more/);
  rmSync(gateShut);

  assert.match(await plain(2, 'topic', 'replay', 'stock.move'), /needs --from/);
  assert.match(await plain(2, 'topic', 'replay', 'stock.move', '--from', '1'), /name it with --partition/);
  assert.match(await plain(2, 'topic', 'replay', 'stock.move', '--from', 'noon'), /is no time/);
  const { events } = await json<{ events: number }>(0, 'topic', 'replay', 'stock.move', '--from', 'earliest');
  assert.equal(events, 5);
  await until('all to have come again', async () => (await stockOf('M')) === 123_123 && (await stockOf('N')) === 545);
  assert.match(await plain(0, 'topic', 'replay', 'stock.move', '--from', '1m'), /reads 5 events again/);
});

test('topic show tells who reads what and how far, dead letters, the rate and the busiest keys', async () => {
  interface Shown {
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly events: number; readonly tail: number }[];
      readonly groups: readonly {
        readonly group: string;
        readonly lag: number | null;
        readonly oldestWaitingMs: number | null;
        readonly dead: number;
        readonly readers: readonly { readonly instance: string; readonly position: number }[];
      }[];
      readonly recent?: {
        readonly events: number;
        readonly perSecond: number;
        readonly keys: readonly { readonly key: string; readonly events: number }[];
      };
    }[];
  }
  const shown = (...words: string[]): Promise<Shown> => json<Shown>(0, 'topic', 'show', ...words);
  const { topics } = await until('the readers to be through', async () => {
    const found = await shown('stock.delivered');
    return found.topics[0]!.groups[0]!.lag === 0 && found;
  });
  const [topic] = topics;
  assert.equal(
    topic!.partitions.reduce((sum, { events }) => sum + events, 0),
    4,
    'three published, one redriven',
  );
  const [group] = topic!.groups;
  assert.equal(group!.group, 'stock.arrive');
  assert.equal(group!.dead, 0);
  assert.equal(group!.oldestWaitingMs, null);
  assert.deepEqual(
    group!.readers.map(({ position }) => position),
    topic!.partitions.map(({ tail }) => tail),
  );
  for (const { instance } of group!.readers) assert.match(instance, /^stock-1-/);
  assert.deepEqual(topic!.recent!.keys, [
    { key: 'B', events: 2, share: 0.5 },
    { key: 'C', events: 2, share: 0.5 },
  ]);
  assert(topic!.recent!.perSecond > 0);
  assert.deepEqual(
    (await shown()).topics.map(({ topic: name }) => name),
    ['stock.delivered', 'stock.moved'],
  );
  assert.match(
    await plain(0, 'topic', 'show'),
    /^TOPIC +PART.*\nstock\.delivered +2 +4 +\d+ B +stock\.arrive +0 +- +0 +0$/m,
  );
  assert.match(
    await plain(0, 'topic', 'show', 'stock.delivered'),
    /stock-1-[\s\S]*4 events since 20[\s\S]*B +2 +50\.0 %/,
  );
  assert.match(
    await plain(1, 'topic', 'show', 'stock.deliverd'),
    /knows the topic 'stock\.deliverd'; known: stock\.delivered/,
  );
});

test('an event for later is kept, shown nowhere, and comes when its time has come', async () => {
  const stockOf = (sku: string): Promise<unknown> => json(0, 'call', 'stock.get', JSON.stringify({ sku }));
  const later = ['topic', 'publish', 'stock.delivered', '{"sku":"L","qty":1}'];
  assert.match(await plain(2, ...later, '--delay', 'soon'), /--delay: 'soon' is not a duration/);
  assert.match(await plain(2, ...later, '--at', 'noon'), /--at: 'noon' is no time/);
  assert.match(await plain(2, ...later, '--at', '2026-01-01', '--delay', '1s'), /not both/);
  assert.deepEqual(await json(0, ...later, '--delay', '1s'), {
    topic: 'stock.delivered',
    published: false,
    later: 'in 1s',
  });
  assert.match(
    await plain(0, ...later, '--at', '2020-01-01T00:00:00Z'),
    /Kept for stock\.delivered; it is published at 2020/,
  );
  await until('both to be on the shelf', async () => (await stockOf('L')) === 2);
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
  assert.equal(entriesOf('topic/stock.delivered/'), 6, 'five deliveries, one of them redriven');
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

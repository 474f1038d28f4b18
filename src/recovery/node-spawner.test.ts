/** Real processes: tiny scripts, ended in every way. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { nodeSpawner } from './node-spawner.ts';
import { fieldsOfStat, processBirth } from './process-birth.ts';
import { openRecordFiles, recordLimits } from './record-files.ts';
import type { ProcessExit, RunningProcess } from './spawner.ts';

const body = `
process.stdout.write(JSON.stringify({ message: 'hello', role: process.argv.at(-1) }) + '\\n');
process.on('SIGTERM', () => process.exit(7));
process.on('message', m => { if (m.kind === 'stop') process.exit(0); });
setInterval(() => {}, 1000);
if (process.env.TANDEM_ROLE_SETTINGS.includes('bad')) throw new Error('bad settings');
process.send({ kind: 'ready', info: { settings: process.env.TANDEM_ROLE_SETTINGS } });
`;

function open(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const script = join(directory, 'child.mjs');
  writeFileSync(script, body);
  const records = openRecordFiles(join(directory, 'records'));
  const unrecorded: string[] = [];
  const spawner = nodeSpawner({
    script: [script],
    execArgv: [],
    env: process.env,
    records,
    clock: systemClock,
    pollMs: 5,
    onUnrecorded: (id, reason) => unrecorded.push(`${id}: ${reason}`),
  });
  return { spawner, records, directory, unrecorded };
}
const ended = (child: RunningProcess): Promise<ProcessExit> => new Promise(resolve => child.onExit(resolve));
const ready = (child: RunningProcess): Promise<unknown> => new Promise(resolve => child.onReport(resolve));

test('a process that throws ends with its last words in its record file', async t => {
  const { spawner } = open(t);
  const exit = await ended(spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: { bad: true } }));
  assert.equal(exit.code, 1);
  assert.match(exit.words ?? '', /bad settings/);
});

test('a process whose records have no place runs all the same, and that is said', async t => {
  const { spawner, records, unrecorded } = open(t);
  rmSync(records.directory, { recursive: true });
  const child = spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: {} });
  assert.deepEqual(await ready(child), { kind: 'ready', info: { settings: '{}' } });
  assert.match(unrecorded[0]!, /^stock-0-a: ENOENT/);
  child.kill();
  assert.equal((await ended(child)).signal, 'SIGKILL');
});

test('a process gets its settings, reports ready, writes its own record file and stops when asked', async t => {
  const { spawner, records } = open(t);
  const child = spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: { id: 'stock-0-a' } });
  assert.deepEqual(await ready(child), { kind: 'ready', info: { settings: '{"id":"stock-0-a"}' } });
  assert.equal(child.birth, processBirth(child.pid));
  child.stop(1000);
  assert.deepEqual((await ended(child)).code, 0);
  assert.match(readFileSync(join(records.directory, 'stock-0-a.ndjson'), 'utf8'), /"role":"instance"/);
});

test('an adopted process is asked by SIGTERM and its end is noticed; a wrong birth is not adopted', async t => {
  const { spawner } = open(t);
  const child = spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: {} });
  const end = ended(child);
  await ready(child);
  assert.equal(spawner.adopt(child.pid, 'boot:1', 'stock-0-a'), undefined);
  const adopted = spawner.adopt(child.pid, child.birth, 'stock-0-a')!;
  adopted.stop(1000);
  await ended(adopted);
  assert.equal((await end).code, 7);
  assert.equal(processBirth(child.pid), undefined);
});

test('a paused process can be killed', async t => {
  const { spawner } = open(t);
  const child = spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: {} });
  await ready(child);
  process.kill(child.pid, 'SIGSTOP');
  child.kill();
  assert.equal((await ended(child)).signal, 'SIGKILL');
});

test('processes outlive the one who started them, and go on writing', async t => {
  const { directory, records } = open(t);
  const parent = join(directory, 'parent.mjs');
  const here = new URL('.', import.meta.url).href;
  writeFileSync(
    parent,
    `import { nodeSpawner } from '${here}node-spawner.ts'; import { openRecordFiles } from '${here}record-files.ts'; import { systemClock } from '${here}../core/clock.ts';
     const spawner = nodeSpawner({ script: [${JSON.stringify(join(directory, 'child.mjs'))}], execArgv: [], env: process.env, records: openRecordFiles(${JSON.stringify(records.directory)}), clock: systemClock });
     const child = spawner.spawn({ id: 'stock-0-a', role: 'instance', settings: {} });
     child.onReport(() => { process.stdout.write(child.pid + ' ' + child.birth); process.kill(process.pid, 'SIGKILL'); });`,
  );
  const running = spawn(process.execPath, ['--conditions=tandem-source', parent], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  running.stdout.on('data', text => {
    said += text;
  });
  await new Promise(resolve => running.once('close', resolve));
  const [pid, birth] = said.split(' ');
  assert.equal(processBirth(Number(pid)), birth, 'it still runs');
  process.kill(Number(pid), 'SIGKILL');
});

test('the fields of a process are found behind any command name', () => {
  const stat = `7 (a) b (c) S ${Array.from({ length: 30 }, (_, i) => i).join(' ')}`;
  assert.deepEqual(fieldsOfStat(stat), { state: 'S', startTicks: '18' });
});

test('records of old lives are pruned and long files are rotated', t => {
  const { records } = open(t);
  for (let life = 0; life < 8; life++) writeFileSync(join(records.directory, `stock-0-${life}.ndjson`), 'x');
  records.prune(new Set(['stock-0-0']));
  const kept = [0, 1, 2, 3, 4, 5, 6, 7].filter(life => records.lastWords(`stock-0-${life}`) === 'x');
  assert.equal(kept.length, recordLimits.livesMax + 1);
  assert(kept.includes(0));
  writeFileSync(join(records.directory, 'stock-0-0.ndjson'), 'y'.repeat(recordLimits.fileBytesMax + 1));
  records.rotate();
  assert.equal(records.lastWords('stock-0-0'), undefined);
  assert.match(records.lastWords('stock-0-0.1') ?? '', /^y+$/);
});

// Data that a table of before left, and rows past an entry's limit, in real processes: through kill -9, a restart, other code.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { lengthOfRow, putRow, rowsService } from './rows-service.ts';
import { folderWith, prints, type Run, ran, stateOf, tandem, until } from './running-app.ts';

const folder = folderWith({ 'rows.ts': rowsService });
const data = join(folder, 'data');

async function up(old: boolean): Promise<{ app: Run; url: string }> {
  const environment = { PORT: '', TANDEM_PORT: '', OLD: old ? 'yes' : 'no', PARTITIONS: '2' };
  const words = ['up', 'rows.ts', '--scale', 'rows=2', '--data', data, '--port', '0'];
  const app = tandem(words, { cwd: folder, environment });
  const [, url] = await prints(app, /Gateway +(http\S+)/);
  return { app, url: url! };
}
async function stop(app: Run): Promise<void> {
  assert.equal((await ran(['stop', '--data', data])).code, 0, app.printed());
  assert.equal(await app.ended, 0, app.printed());
}

test('rows of several megabytes outlive kill -9 and a restart; a table that went from the code keeps its rows until it is dropped', {
  timeout: 120_000,
}, async () => {
  const keys = ['a', 'b', 'c', 'd'];
  const before = await up(true);
  for (const key of keys) assert.equal((await putRow(before.url, key, 3_000_000)).status, 200);
  const refused = await putRow(before.url, 'a', 5_000_000);
  assert.equal(refused.status, 413);
  assert.match(
    ((await refused.json()) as { detail: string }).detail,
    /row 'a' of table 'rows' has \d+ bytes.*several rows/,
  );
  const instance = stateOf(data)!.processes.find(({ name }) => name.startsWith('rows'))!;
  process.kill(instance.pid, 'SIGKILL');
  for (const key of keys) assert.equal(await lengthOfRow(before.url, key), 3_000_000);
  assert.doesNotMatch((await ran(['table', 'show', '--data', data])).out, /Not declared/);
  await stop(before.app);
  assert.match((await ran(['log', 'check', data])).out, /Each log is one chain/);

  const after = await up(false);
  for (const key of keys) assert.equal(await lengthOfRow(after.url, key), 3_000_000);
  const shown = await until('what is not declared', async () => {
    const { out } = await ran(['table', 'show', '--data', data]);
    return out.includes('Not declared') && out;
  });
  assert.match(shown, /'rows' keeps rows of a table 'former' \(in \d partitions\).*tandem table drop rows former/);
  assert.match((await ran(['doctor', '--data', data])).out, /✓ table rows\.former: has rows, and no code declares it/);
  assert.match((await ran(['logs', '--data', data])).out, /not declared by this code.*former/);
  assert.match(
    (await ran(['table', 'drop', 'rows', 'rows', '--data', data])).said,
    /no table 'rows' that its code does not declare/,
  );
  const dropped = await ran(['table', 'drop', 'rows', 'former', '--data', data, '--json']);
  assert.deepEqual(JSON.parse(dropped.out), { service: 'rows', table: 'former', rows: keys.length }, dropped.printed);
  const left = JSON.parse((await ran(['table', 'show', '--data', data, '--json'])).out) as { undeclared: unknown[] };
  assert.deepEqual(left.undeclared, []);
  for (const key of keys) assert.equal(await lengthOfRow(after.url, key), 3_000_000);
  await stop(after.app);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { request } from 'node:http';
import { test } from 'node:test';
import { sampleCluster } from '../../test/sample-cluster.ts';
import { systemClock } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { systemRandom } from '../core/random.ts';
import { openMeter } from '../monitoring/meter.ts';
import { parsePrometheus } from '../monitoring/prometheus-text.ts';
import { type Monitor, openMonitor } from './monitor.ts';
import type { MonitorState } from './monitor-state.ts';
import { openStory } from './monitor-story.ts';

const cluster = sampleCluster();
const open = (port = 0, token?: string): Promise<Monitor> =>
  openMonitor({
    registry: cluster.registry,
    caller: cluster.caller,
    balance: cluster.balance,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: openMeter(systemClock),
    port,
    token,
    intervalMs: 50,
  });

function get(port: number, path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, headers, method }, response => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('error', reject);
    asked.end();
  });
}

test('a port in use is said, with the port', async () => {
  const monitor = await open();
  await assert.rejects(open(monitor.port), { code: 'CONFIG', message: new RegExp(`${monitor.port}.*in use`) });
  await monitor.close();
});

test('refuses foreign host names, writes and unknown paths', async () => {
  const monitor = await open();
  assert.equal(await get(monitor.port, '/', { host: 'evil.example' }), 421);
  assert.equal(await get(monitor.port, '/', {}, 'POST'), 405);
  assert.equal(await get(monitor.port, '/../package.json'), 404);
  assert.equal(await get(monitor.port, '//'), 400);
  assert.equal(await get(monitor.port, '/-/health'), 200);
  await monitor.close();
});

const promtool = spawnSync('promtool', ['--version']).error ? undefined : 'promtool';

test('metrics of all processes are one valid exposition; the state tells traffic and failure', async t => {
  const monitor = await open();
  const feed = setInterval(() => cluster.step(20, { failing: true }), 20);
  t.after(() => clearInterval(feed));
  const events = await fetch(`http://127.0.0.1:${monitor.port}/api/events`, { signal: AbortSignal.timeout(30_000) });
  const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader();
  let state: MonitorState;
  let text = '';
  do {
    text += (await reader.read()).value ?? '';
    const whole = text.split('\n\n').slice(0, -1).at(-1) ?? '';
    state = JSON.parse(/^data: (.*)$/m.exec(whole)?.[1] ?? '{"traffic":[]}');
  } while (!state.traffic.some(({ to, errorShare }) => to === 'payments' && errorShare > 0));
  clearInterval(feed);
  await reader.cancel();
  assert.ok(state.services.find(({ name }) => name === 'payments')!.errorShare > 0);
  assert.equal(state.keyspaces[0]?.withoutWriter, 0);
  const exposition = await (await fetch(`http://127.0.0.1:${monitor.port}/metrics`)).text();
  const families = parsePrometheus(exposition);
  const up = families.get('tandem_member_up')!.samples;
  assert.equal(up.length, 25);
  assert.ok(families.get('tandem_call_duration_seconds')!.samples.some(({ labels }) => labels.service === 'inventory'));
  if (promtool) {
    const checked = spawnSync(promtool, ['check', 'metrics'], { input: exposition, encoding: 'utf8' });
    assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  } else t.diagnostic('not checked by promtool, which is not installed: apt-get install -y prometheus');
  await monitor.close();
});

test('the story tells a death, how long nobody wrote, who took over, and a return', () => {
  const story = openStory();
  const told = sampleCluster();
  story.observe(told.registry.members(), 0);
  const lost = told.processes.get('inventory-4')!;
  lost.verdict = 'dead';
  story.observe(told.registry.members(), 1000);
  told.kill('inventory-4');
  story.observe(told.registry.members(), 2500);
  lost.verdict = 'alive';
  lost.beat = { ...lost.beat, partitions: [] };
  story.observe(told.registry.members(), 3000);
  const lines = story.events.map(({ subject, text }) => `${subject} ${text}`).reverse();
  assert.match(lines[0]!, /^monitor started watching 25/);
  assert.match(lines[1]!, /^inventory-4 dead/);
  assert.ok(
    lines.some(line => /took over \d+ partitions? of inventory from inventory-4 after 1\.5 s without/.test(line)),
    lines.join('\n'),
  );
  assert.equal(lines.at(-1), 'inventory-4 alive again (was dead)');
});

function post(
  port: number,
  body: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const origin = `http://127.0.0.1:${port}`;
    const given = { origin, 'content-type': 'application/json', ...headers };
    const asked = request(
      { host: '127.0.0.1', port, path: '/api/balance', method: 'POST', headers: given },
      response => {
        let text = '';
        response.on('data', part => {
          text += part;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

test("a strategy is switched from the dashboard's own page alone, and the story tells", async () => {
  const monitor = await open();
  const change = JSON.stringify({ service: 'orders', strategy: 'ip-hash' });
  assert.equal((await post(monitor.port, change, { origin: 'http://evil.example' })).status, 403);
  assert.equal((await post(monitor.port, change, { 'content-type': 'text/plain' })).status, 403);
  assert.equal((await post(monitor.port, change, { host: 'evil.example' })).status, 421);
  for (const wrong of [
    '',
    '{',
    'null',
    '[]',
    '{"service":7}',
    '{"service":"orders","strategy":"best"}',
    'x'.repeat(5000),
  ])
    assert.equal((await post(monitor.port, wrong)).status, 400, wrong.slice(0, 40));
  assert.equal((await post(monitor.port, '{"service":"nobody","strategy":"ip-hash"}')).status, 404);
  assert.equal(cluster.switched.size, 0);
  assert.equal((await post(monitor.port, change)).status, 200);
  assert.equal(cluster.switched.get('orders'), 'ip-hash');
  const orders = monitor.state().services.find(({ name }) => name === 'orders')!;
  assert.deepEqual(
    [orders.balance.strategy, orders.balance.own, orders.balance.switched],
    ['ip-hash', 'least-connections', true],
  );
  assert.ok(monitor.state().story.some(({ text }) => text.includes('is balanced by ip-hash')));
  assert.equal((await post(monitor.port, '{"service":"orders","strategy":null}')).status, 200);
  assert.equal(cluster.switched.size, 0);
  await monitor.close();
});

test('who has no key to the dashboard changes nothing', async () => {
  const monitor = await open(0, 'opens-once');
  assert.equal((await post(monitor.port, '{"service":"orders","strategy":"ip-hash"}')).status, 401);
  assert.equal(cluster.switched.size, 0);
  await monitor.close();
});

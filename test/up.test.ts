// The whole system as real processes: `tandem up` with a service that keeps data, then kill -9 of one role after the
// other while writes go on. What was acknowledged must be there, and nothing may count twice.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createClient } from 'tandem/client';
import type { inventory } from '../examples/shop/contracts.ts';
import { type AppState, prints, type Run, ran, root, stateOf, tandem, until } from './running-app.ts';

const data = mkdtempSync(join(tmpdir(), 'tandem-up-'));
after(() => rmSync(data, { recursive: true, force: true }));

const up = (...flags: string[]): Run =>
  tandem(['up', join(root, 'examples/shop/inventory.ts'), '--data', data, '--port', '0', ...flags]);
const state = (): AppState | undefined => stateOf(data);

const whole = (pid: number): AppState | undefined => {
  const now = state();
  // Engine, naming, monitor, two gateways, three instances.
  return now?.supervisor.pid === pid &&
    now.facts.gatewayUrl &&
    now.processes.filter(process => process.ready).length === 8
    ? now
    : undefined;
};

test('kill -9 of any role under writes loses nothing, and a new supervisor adopts what runs', {
  timeout: 120_000,
}, async t => {
  let app = up('--scale', 'inventory=3');
  const { facts } = await until('the app to be up', () => whole(app.pid)).catch(cause => {
    throw new Error(`${cause.message}\n${app.printed()}`);
  });
  const api = createClient({ url: facts.gatewayUrl! });
  const calls = api.call<typeof inventory>('inventory');
  const skus = Array.from({ length: 12 }, (_, i) => `sku-${i}`);
  for (const sku of skus) await calls.open({ sku, initial: 100_000 }, { timeout: '20s' });

  const acknowledged = new Map(skus.map(sku => [sku, 0]));
  let stopped = false;
  let over = false;
  t.after(() => {
    stopped = over = true;
  });
  let order = 0;
  const writer = async (lane: number): Promise<void> => {
    while (!stopped) {
      const sku = skus[(lane + order) % skus.length]!;
      const orderId = `o-${order++}`;
      // One key through all tries: a repeat of what did happen is recognised.
      for (;;) {
        const answer = await api
          .try<typeof inventory>('inventory')
          .reserve({ sku, orderId, qty: 1 }, { idempotencyKey: orderId, timeout: '5s' });
        if (answer.ok) break;
        if (over) return;
        assert.match(answer.error.code, /^[A-Z_]+$/, `${orderId}: ${answer.error.code}`);
      }
      acknowledged.set(sku, acknowledged.get(sku)! + 1);
    }
  };
  const writing = Promise.all([0, 1, 2, 3].map(writer));

  for (const role of ['instance', 'gateway', 'engine', 'naming', 'monitor']) {
    const victim = state()!.processes.find(process => process.role === role)!;
    const before = order;
    process.kill(victim.pid, 'SIGKILL');
    await until(`${victim.name} to be back`, () => {
      const now = whole(app.pid);
      return now && !now.processes.some(process => process.pid === victim.pid) && order > before + 20;
    });
  }
  // An engine that hangs with its connections open makes everybody silent at once: that is no evidence against anybody.
  const calm = state()!;
  const engine = calm.processes.find(process => process.role === 'engine')!;
  process.kill(engine.pid, 'SIGSTOP');
  await new Promise(done => setTimeout(done, 4000));
  process.kill(engine.pid, 'SIGCONT');
  const atPause = order;
  await until('writes to go on after the pause', () => whole(app.pid) && order > atPause + 20);
  const pids = ({ processes }: AppState): number[] => processes.map(process => process.pid).sort((a, b) => a - b);
  assert.deepEqual(pids(state()!), pids(calm), 'somebody was killed for the silence of the engine');

  app.child.kill('SIGKILL');
  await app.ended;
  const before = order;
  await until('writes to go on without a supervisor', () => order > before + 20);
  app = up('--scale', 'inventory=3');
  await prints(app, /are up|is up/);
  assert.match(app.printed(), /taken over/);

  stopped = true;
  await writing;
  for (const sku of skus) {
    const stock = await calls.get({ sku }, { consistency: 'strong', timeout: '10s' });
    assert.equal(stock?.reserved, acknowledged.get(sku), sku);
  }
  app.child.kill('SIGTERM');
  assert.equal(await app.ended, 0, app.printed());
});

test('a service file that is missing, throws or exports nothing ends `up` with what to do', {
  timeout: 60_000,
}, async () => {
  const run = (file: string) => ran(['up', file, '--data', join(data, 'none')]);
  const missing = await run('no-such-file.ts');
  assert.equal(missing.code, 1);
  assert.match(missing.printed, /no-such-file\.ts does not exist/);
  const throwing = join(data, 'throwing.ts');
  writeFileSync(throwing, "const port = 1;\nthrow new Error('no licence');\n");
  const thrown = await run(throwing);
  assert.equal(thrown.code, 1);
  assert.match(thrown.printed, /throwing\.ts could not be loaded: no licence \(.*throwing\.ts, line 2\)/);
  const empty = await run(join(root, 'examples/shop/invoices.ts'));
  assert.equal(empty.code, 1);
  assert.match(empty.printed, /exports no service; end it with: export default/);
});

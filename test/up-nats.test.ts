// One app on two machines and a NATS cluster of three: two supervisors with data of their own, each with instances of the same
// service. Servers, instances and a whole machine are killed under writes; what was acknowledged must be there.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createClient } from 'tandem/client';
import type { inventory } from '../examples/shop/contracts.ts';
import { findNatsServer, type NatsCluster, startNats } from './nats-servers.ts';
import { type AppState, prints, type Run, ran, root, stateOf, tandem, until } from './running-app.ts';

const found = findNatsServer();
const directory = mkdtempSync(join(tmpdir(), 'tandem-up-nats-'));
let cluster: NatsCluster | undefined;
after(async () => {
  await cluster?.close();
  rmSync(directory, { recursive: true, force: true });
});

test('an app on two machines and three NATS servers loses nothing when servers, instances and a machine are killed', {
  skip: 'missing' in found ? found.missing : false,
  timeout: 150_000,
}, async t => {
  cluster = await startNats('path' in found ? found.path : '', 3);
  const engine = cluster.address('&app=shop');
  const dataOf = (machine: string): string => join(directory, machine);
  const up = (machine: string): Run =>
    tandem(
      [
        ...['up', join(root, 'examples/shop/inventory.ts'), '--scale', 'inventory=2'],
        ...['--data', dataOf(machine), '--port', '0', '--engine', engine],
      ],
      { environment: { TANDEM_SECRET: 'the same on all machines' } },
    );
  const runs = new Map<string, Run>();
  for (const machine of ['east', 'west']) {
    const run = up(machine);
    runs.set(machine, run);
    await prints(run, /is up/, 60_000);
  }
  const stranger = await ran(
    ['up', join(root, 'examples/01-hello/hello.ts'), '--data', dataOf('stranger'), '--port', '0', '--engine', engine],
    { environment: { TANDEM_SECRET: 'that of another app' } },
  );
  assert.equal(stranger.code, 1, stranger.printed);
  assert.match(
    stranger.said,
    /an app with another secret runs on this cluster as 'shop': give this one a name of its own/,
  );
  const state = (machine: string): AppState => stateOf(dataOf(machine))!;
  const clients = ['east', 'west'].map(machine => createClient({ url: state(machine).facts.gatewayUrl! }));
  const calls = clients[0]!.call<typeof inventory>('inventory');
  const skus = Array.from({ length: 8 }, (_, i) => `sku-${i}`);
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
      for (let tries = 0; ; tries++) {
        // The next try goes to the other machine.
        const answer = await clients[(lane + tries) % 2]!.try<typeof inventory>('inventory').reserve(
          { sku, orderId, qty: 1 },
          { idempotencyKey: orderId, timeout: '3s' },
        );
        if (answer.ok) break;
        if (over) return;
      }
      acknowledged.set(sku, acknowledged.get(sku)! + 1);
    }
  };
  const writing = Promise.all([0, 1, 2, 3].map(writer));
  const goesOn = async (what: string): Promise<void> => {
    const before = order;
    await until(what, () => order > before + 20, 40_000);
  };
  await goesOn('writes to begin');

  const victim = state('east').processes.find(process => process.role === 'instance')!;
  process.kill(victim.pid, 'SIGKILL');
  await goesOn('writes after an instance was killed');
  for (const server of cluster.servers) {
    server.kill('SIGKILL');
    await server.ended();
    await goesOn('writes with two of three servers');
    server.start();
    await goesOn('writes after a server came back');
    // The next one is killed only when this one has caught up: two of three must hold everything.
    const healthy = `http://127.0.0.1:${server.monitorPort}/healthz`;
    await until('the server to be in step', async () => (await fetch(healthy).catch(() => undefined))?.ok);
  }
  // A machine goes: its supervisor and all its processes at once.
  const west = runs.get('west')!;
  west.child.kill('SIGKILL');
  for (const { pid } of state('west').processes) process.kill(pid, 'SIGKILL');
  await goesOn('writes on the machine that is left');

  stopped = true;
  await writing;
  for (const sku of skus) {
    const stock = await calls.get({ sku }, { consistency: 'strong', timeout: '20s' });
    assert.equal(stock?.reserved, acknowledged.get(sku), sku);
  }
  const east = runs.get('east')!;
  east.child.kill('SIGTERM');
  assert.equal(await east.ended, 0, east.printed());
});

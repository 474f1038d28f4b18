import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createClient } from 'tandem/client';
import { type DevApp, openDevApp } from '../../src/app/dev.ts';
import { systemHost } from '../../src/app/host.ts';
import type { mailer, orders } from './contracts.ts';

const directory = mkdtempSync(join(tmpdir(), 'tandem-events-'));
let app: DevApp;

before(async () => {
  app = await openDevApp({
    files: [join(import.meta.dirname, 'orders.ts'), join(import.meta.dirname, 'mailer.ts')],
    dataDirectory: directory,
    httpHost: '127.0.0.1',
    port: 0,
    dashboardPort: 0,
    dashboard: false,
    config: {},
    secret: 'of this test',
    host: systemHost({ id: 'dev', write: () => {}, level: 'silent' }),
  });
  // the gateway learns of services from their heartbeats, a moment after they start
  const api = createClient({ url: app.gatewayUrl });
  const known = (): Promise<boolean> =>
    Promise.all([
      api.call<typeof mailer>('mailer').sent({ orderId: 'none' }),
      api.call<typeof orders>('orders').place({ orderId: 'first', email: 'a@example.org' }),
    ]).then(
      () => true,
      () => false,
    );
  for (const until = performance.now() + 10_000; !(await known()) && performance.now() < until; ) await pause();
});
after(async () => {
  await app?.close(1000);
  rmSync(directory, { recursive: true, force: true });
});

const pause = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 20));

/** Events follow a moment later: looks until it is so, for 20 s at most. */
async function mails(
  orderId: string,
  enough: (row: { times: number; failure: string | null }) => boolean,
): Promise<{ times: number; failure: string | null }> {
  const api = createClient({ url: app.gatewayUrl });
  for (const until = performance.now() + 20_000; ; await pause()) {
    const row = await api.call<typeof mailer>('mailer').sent({ orderId });
    if (enough(row) || performance.now() > until) return row;
  }
}

test('an order that was placed is confirmed once; a poison event becomes a dead letter and holds nobody up', async () => {
  const api = createClient({ url: app.gatewayUrl }).call<typeof orders>('orders');
  await api.place({ orderId: 'o-1', email: 'nowhere' });
  for (let n = 2; n <= 20; n++) await api.place({ orderId: `o-${n}`, email: `${n}@example.org` });
  for (let n = 2; n <= 20; n++)
    assert.deepEqual(await mails(`o-${n}`, row => row.times > 0), { times: 1, failure: null });
  const failed = await mails('o-1', row => row.failure !== null);
  assert.deepEqual(failed, { times: 0, failure: 'no such mailbox: nowhere' });
});

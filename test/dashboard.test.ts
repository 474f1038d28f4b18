/** The dashboard in a real browser, against a real monitor that looks at a sample cluster. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { type Monitor, openMonitor } from '../src/app/monitor.ts';
import { systemClock } from '../src/core/clock.ts';
import { silentLogger } from '../src/core/logger.ts';
import { systemRandom } from '../src/core/random.ts';
import { openMeter } from '../src/monitoring/meter.ts';
import { type SampleCluster, sampleCluster } from './sample-cluster.ts';

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(path => existsSync(path));
const skip = executablePath === undefined ? 'chromium is not installed: apt-get install -y chromium' : false;
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

let browser: Browser;
before(async () => {
  if (executablePath) browser = await chromium.launch({ executablePath, args });
});
after(async () => {
  await browser?.close();
});

interface Shown {
  readonly page: Page;
  readonly monitor: Monitor;
  readonly cluster: SampleCluster;
  readonly complaints: string[];
}

async function withDashboard(
  options: { width: number; height: number; empty?: boolean; token?: string },
  work: (shown: Shown) => Promise<void>,
): Promise<void> {
  const { width, height, empty = false, token } = options;
  const cluster = sampleCluster({ empty });
  const monitor = await openMonitor({
    registry: cluster.registry,
    caller: cluster.caller,
    balance: cluster.balance,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    meter: openMeter(systemClock),
    port: 0,
    token,
    intervalMs: 100,
  });
  const context = await browser.newContext({ viewport: { width, height } });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', error => complaints.push(error.message));
  try {
    await page.goto(monitor.url);
    await page.waitForSelector('.tile');
    await work({ page, monitor, cluster, complaints });
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
    await monitor.close();
  }
}

/** Pixels that stick out to the right. In the browser's own words, since this side knows no DOM. */
const overflow = (page: Page): Promise<number> =>
  page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');

test('shows traffic, services, processes and partitions, and follows what happens', { skip }, async () => {
  await withDashboard({ width: 1440, height: 900, token: 'opens-once' }, async ({ page, cluster }) => {
    assert.equal(new URL(page.url()).search, '', 'the token leaves the address');
    await page.getByText('All services are running').waitFor();
    assert.equal(await page.locator('.grid[aria-label="Partitions of inventory"] button').count(), 24);
    assert.equal(await page.locator('[data-key="processes"] tbody tr').count(), 25);

    const feed = setInterval(() => cluster.step(50), 50);
    try {
      await page
        .locator('[data-key="services"] tr', { hasText: 'reserve' })
        .locator('td', { hasText: /^\d+$/ })
        .waitFor();
      await page.locator('.map .node', { hasText: 'payments' }).getByText('/s · p99').waitFor();
      await page
        .locator('.tile .value', { hasText: /^[1-9]/ })
        .first()
        .waitFor();
    } finally {
      clearInterval(feed);
    }
    assert.equal(await overflow(page), 0);

    cluster.kill('inventory-4');
    await page.locator('[data-key="processes"] tr.gone', { hasText: 'inventory-4' }).waitFor();
    await page
      .locator('.story')
      .getByText(/took over \d+ partitions? of inventory from inventory-4/)
      .first()
      .waitFor();
    await page.locator('[data-key="alerts"]').getByText('inventory-4 is dead').waitFor();
    await page.locator('.status.degraded').waitFor();
  });
});

test('the balancing of a service is switched, compared, and follows what is switched elsewhere', { skip }, async () => {
  await withDashboard({ width: 1440, height: 900, token: 'opens-once' }, async ({ page, cluster }) => {
    cluster.step(50);
    const row = page.locator('[data-key="balancing"] tr', { hasText: 'inventory' });
    await row.locator('td.good', { hasText: /ms$/ }).waitFor();
    const select = page.getByLabel('Strategy of inventory');
    await select.selectOption('least-response-time');
    await page.locator('.story').getByText('is balanced by least-response-time').waitFor();
    assert.equal(cluster.switched.get('inventory'), 'least-response-time');
    await row.locator('td.chosen[data-label="Least response time"]').waitFor();
    cluster.switched.set('inventory', 'dynamic');
    await row.locator('td.chosen[data-label="Dynamic"]').waitFor();
    assert.equal(await select.inputValue(), 'dynamic');
    await select.selectOption('');
    await page.locator('.story').getByText('as it says itself again').waitFor();
    assert.equal(await overflow(page), 0);
  });
});

test('a partition is chosen with the keyboard alone, and stays chosen while figures change', { skip }, async () => {
  await withDashboard({ width: 1440, height: 900 }, async ({ page, cluster }) => {
    const grid = page.locator('.grid[aria-label="Partitions of inventory"]');
    await grid.locator('button').first().focus();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('ArrowRight');
    await page.locator('.detail', { hasText: /^Partition 2 at 4062: inventory-\d+ writer/ }).waitFor();
    const shown = await page.locator('#when').textContent();
    cluster.step(20);
    await page
      .locator('#when')
      .filter({ hasNotText: shown ?? '' })
      .waitFor();
    assert.equal(await page.evaluate("document.activeElement?.getAttribute('data-key')"), 'inventory 2');
  });
});

test('fits a phone of 390 px, with trouble on display', { skip }, async () => {
  await withDashboard({ width: 390, height: 844 }, async ({ page, cluster }) => {
    cluster.step(50, { failing: true });
    cluster.processes
      .get('orders-1')!
      .problem('a very long message without any place to break it '.repeat(3) + 'x'.repeat(200));
    cluster.kill('inventory-4');
    await page.locator('[data-key="errors"] .message').waitFor();
    assert.equal(await overflow(page), 0);
  });
});

test('an empty system says how to begin, and a lost monitor says that the system goes on', { skip }, async () => {
  await withDashboard({ width: 390, height: 844, empty: true }, async ({ page, monitor, complaints }) => {
    await page.getByText('Nothing runs yet').waitFor();
    await page.getByText('No service yet.').waitFor();
    assert.equal(await overflow(page), 0);
    await monitor.close();
    await page.getByText('No connection to the monitor, trying again.').waitFor();
    // The browser itself reports the refused connections; that is the point of this test.
    assert.ok(
      complaints.every(text => /ERR_(CONNECTION|INCOMPLETE|EMPTY)/.test(text)),
      complaints.join('\n'),
    );
    complaints.length = 0;
  });
});

test('without the token the page is locked, and a token opens once', { skip }, async () => {
  await withDashboard({ width: 1440, height: 900, token: 'first' }, async ({ monitor, page }) => {
    const base = new URL('/', monitor.url).href;
    const other = await browser.newContext();
    const visitor = await other.newPage();
    for (const address of [base, `${base}?token=first`]) {
      const answer = await visitor.goto(address);
      assert.equal(answer?.status(), 401);
      await visitor.getByText('This dashboard is locked').waitFor();
    }
    assert.equal((await visitor.goto(monitor.url))?.status(), 200);
    await other.close();
    await page.reload();
    await page.waitForSelector('.tile');
  });
});

// `npm start`: the whole shop, live, on real orders.
//   npm start                          until Ctrl-C
//   npm start -- --for 30s             ends by itself with a summary and an audit that must balance (else exit code 1)
//   npm start -- --for 60s --chaos     also kills -9 a process of each role in turn
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createClient } from 'tandem/client';
import { audit, baselineOf } from './audit.ts';
import { type Blow, chaos, describeBlow } from './chaos.ts';
import type { orders } from './contracts.ts';
import { readInvoices } from './invoices.ts';
import { forEach, pause, Replay } from './replay.ts';
import { RunningApp } from './running-app.ts';
import { openScreen } from './screen.ts';
import { nines } from './tally.ts';

const usage = `npm start -- [--for 30s] [--chaos] [--rate 20] [--inventory 10] [--port 3000] [--data DIR] [--keep]

  --for DURATION   stop after this long, with a summary and an audit (exit code 1 when the books do not balance)
  --chaos          kill -9 one random process of each role in turn, under load
  --rate N         orders per second (default 20); each order also looks at a page and a stock
  --inventory N    instances of the inventory (default 10)
  --port N         port of the gateways (default 3000, or the next free one)
  --data DIR       where data lives (default: a fresh directory, removed at the end)
  --seed N         seed of the chaos (default: the time)`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      for: { type: 'string' },
      chaos: { type: 'boolean', default: false },
      rate: { type: 'string', default: '20' },
      inventory: { type: 'string', default: '10' },
      port: { type: 'string' },
      data: { type: 'string' },
      seed: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const forMs = values.for === undefined ? undefined : millis(values.for);
  const rate = positive('--rate', values.rate);
  const scale = { inventory: positive('--inventory', values.inventory) };
  const port = values.port === undefined ? undefined : positive('--port', values.port);
  const data = values.data ? resolve(values.data) : mkdtempSync(join(tmpdir(), 'tandem-shop-'));
  const seed = Number(values.seed ?? Date.now()) >>> 0;

  console.log(`The shop: 7 services, inventory × ${scale.inventory}, ${rate} orders/s, data in ${data}`);
  const app = new RunningApp({
    data,
    scale,
    port,
    print: text => process.stdout.write(text.replace(/^(?=.)/gm, '  ')),
  });
  const stopping = new AbortController();
  let interrupted = 0;
  process.on('SIGINT', () => {
    interrupted++;
    if (interrupted > 1) process.exit(130);
    stopping.abort();
  });
  process.on('SIGTERM', () => stopping.abort());

  try {
    const { facts } = await app.ready();
    return await runShop(app, facts['gatewayUrl']!, facts['dashboardUrl'] ?? '', {
      forMs,
      rate,
      seed,
      chaos: values.chaos === true,
      stopping,
    });
  } finally {
    console.log('Stopping the shop …');
    await app.stop();
    if (!values.data) rmSync(data, { recursive: true, force: true });
  }
}

interface ShopRun {
  readonly forMs: number | undefined;
  readonly rate: number;
  readonly seed: number;
  readonly chaos: boolean;
  readonly stopping: AbortController;
}

async function runShop(app: RunningApp, url: string, dashboard: string, run: ShopRun): Promise<number> {
  const invoices = readInvoices();
  const screen = openScreen(process.stdout, dashboard);
  const replay = new Replay({
    url,
    invoices,
    rate: run.rate,
    run: Date.now().toString(36),
    signal: run.stopping.signal,
  });
  screen.say(
    `Filling the shelves: ${new Set(invoices.flatMap(invoice => invoice.lines.map(line => line.sku))).size} products from ${invoices.length} invoices …`,
  );
  await replay.prepare();
  const countries = [...new Set(invoices.map(invoice => invoice.country))];
  const skus = [...new Set(invoices.flatMap(invoice => invoice.lines.map(line => line.sku)))];
  const before = await baselineOf(url, countries, skus);
  screen.say(run.forMs ? `Open for ${run.forMs / 1000} s.` : 'Open. Ctrl-C closes the shop and audits its books.');

  const endTimer = run.forMs === undefined ? undefined : setTimeout(() => run.stopping.abort(), run.forMs);
  const states: Record<string, number> = {};
  const watching = watchOrders(url, replay, states, run.stopping.signal);
  const drawing = setInterval(() => screen.show(replay, states), 500);
  const blows: Blow[] = [];
  const storm = run.chaos
    ? chaos(
        app,
        replay,
        run.forMs ?? 60_000,
        seeded(run.seed),
        blow => screen.say(describeBlow(blow)),
        run.stopping.signal,
      ).then(all => blows.push(...all))
    : Promise.resolve();
  await replay.run();
  clearTimeout(endTimer);
  clearInterval(drawing);
  await Promise.all([storm, watching]);
  await app.ready();
  return report(url, dashboard, replay, before, blows, run);
}

async function report(
  url: string,
  dashboard: string,
  replay: Replay,
  before: Awaited<ReturnType<typeof baselineOf>>,
  blows: readonly Blow[],
  run: ShopRun,
): Promise<number> {
  const { tally } = replay;
  console.log('\nClosed. Waiting for the last orders, then auditing …');
  const books = await audit(url, replay.accepted, replay.uncertain, before, dashboard);
  const line = (name: string, text: string): void => console.log(`  ${name.padEnd(14)} ${text}`);
  console.log('\nSummary');
  line(
    'requests',
    `${tally.requests} answered, ${tally.failed} failed, ${tally.failedTries} tries repeated, ${tally.degraded} degraded, ${replay.shed} not let in`,
  );
  if (tally.byCode.size > 0)
    line('', `repeated because of: ${[...tally.byCode].map(([code, count]) => `${code} ${count}`).join(', ')}`);
  line(
    'latency',
    `p50 ${tally.latencies.quantile(0.5).toFixed(1)} ms, p99 ${tally.latencies.quantile(0.99).toFixed(1)} ms (with every retry in it)`,
  );
  line('availability', nines(tally.availability, tally.requests));
  line(
    'orders',
    `${replay.accepted.size} accepted, ${replay.uncertain.size} of unknown fate; ${Object.entries(books.states)
      .map(([state, count]) => `${state} ${count}`)
      .join(', ')}`,
  );
  for (const blow of blows) console.log(`  ${describeBlow(blow)}`);
  if (run.chaos)
    line(
      'chaos',
      `${blows.length} kills (seed ${run.seed}), requests failed ${tally.failed}, orders lost ${books.lost.length}`,
    );
  console.log('\nAudit');
  let balanced = true;
  for (const check of books.checks) {
    const good = check.wrong.length === 0;
    balanced &&= good;
    console.log(`  ${good ? 'balances' : 'WRONG   '}  ${check.name} (${check.compared} compared)`);
    for (const row of check.wrong.slice(0, 20)) console.log(`            ${row}`);
    if (check.wrong.length > 20) console.log(`            … and ${check.wrong.length - 20} more`);
  }
  if (replay.accepted.size === 0) {
    console.log('  WRONG     nothing was sold: an audit of nothing proves nothing');
    balanced = false;
  }
  console.log(balanced ? '\nThe books balance: nothing lost, nothing twice.\n' : '\nThe books do NOT balance.\n');
  return balanced ? 0 : 1;
}

/** Orders by state for the live picture, from the newest few hundred; the audit looks at all. */
async function watchOrders(
  url: string,
  replay: Replay,
  states: Record<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const api = createClient({ url });
  const done = new Map<string, string>();
  while (!signal.aborted) {
    await pause(1000, signal);
    const open = [...replay.accepted.keys()].filter(id => !done.has(id)).slice(-200);
    const counts: Record<string, number> = {};
    await forEach(open, 8, async orderId => {
      const order = await api
        .call<typeof orders>('orders')
        .get({ orderId }, { consistency: 'eventual', timeout: '1s' })
        .catch(() => null);
      if (!order) return;
      if (order.state === 'shipped' || order.state === 'cancelled' || order.state === 'returned')
        done.set(orderId, order.state);
      else counts[order.state] = (counts[order.state] ?? 0) + 1;
    });
    for (const state of done.values()) counts[state] = (counts[state] ?? 0) + 1;
    for (const state of Object.keys(states)) delete states[state];
    Object.assign(states, counts);
  }
}

function seeded(seed: number): () => number {
  let state = seed || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function millis(text: string): number {
  const match = /^(\d+)(ms|s|m)$/.exec(text);
  if (!match) throw new Error(`--for ${text}: write a duration such as 30s or 2m`);
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000 }[match[2] as 'ms' | 's' | 'm'];
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} ${text}: a whole number of at least 1 is needed`);
  return value;
}

main().then(
  code => {
    process.exitCode = code;
  },
  (cause: unknown) => {
    console.error(cause instanceof Error ? cause.message : cause);
    process.exitCode = 1;
  },
);

// The audit: reads everything back (strong reads) and holds it against what the customers were told. Each check returns
// the rows that do not balance; an empty list is a pass.
import { createClient } from 'tandem/client';
import { rollOf } from './bank.ts';
import type { inventory, notifications, Order, orders, payments, revenue } from './contracts.ts';
import { forEach, type Placed, pause } from './replay.ts';

export interface Check {
  readonly name: string;
  readonly compared: number;
  readonly wrong: readonly string[];
}
export interface Audit {
  readonly checks: readonly Check[];
  readonly states: Readonly<Record<string, number>>;
  /** Accepted orders that are not there. */
  readonly lost: readonly string[];
}
export interface Baseline {
  readonly revenue: ReadonlyMap<
    string,
    { readonly cents: number; readonly orders: number; readonly returnedCents: number; readonly returns: number }
  >;
  readonly stock: ReadonlyMap<string, { readonly sold: number; readonly returned: number }>;
}

const finals = new Set(['shipped', 'cancelled', 'returned']);
const width = 24;
const strong = { consistency: 'strong', timeout: '10s' } as const;

/** What was there before the run, so that a run on old data can be audited too. */
export async function baselineOf(
  url: string,
  countries: readonly string[],
  skus: readonly string[],
): Promise<Baseline> {
  const api = createClient({ url });
  const revenueBefore = new Map<string, { cents: number; orders: number; returnedCents: number; returns: number }>();
  const stock = new Map<string, { sold: number; returned: number }>();
  await forEach(countries, width, async country => {
    const row = await api.call<typeof revenue>('revenue').byCountry({ country }, strong);
    revenueBefore.set(country, row ?? { cents: 0, orders: 0, returnedCents: 0, returns: 0 });
  });
  await forEach(skus, width, async sku => {
    const row = await api.call<typeof inventory>('inventory').get({ sku }, strong);
    stock.set(sku, row ?? { sold: 0, returned: 0 });
  });
  return { revenue: revenueBefore, stock };
}

/** Waits (bounded) until every accepted order is in a final state, then checks all books. */
export async function audit(
  url: string,
  accepted: ReadonlyMap<string, Placed>,
  uncertain: ReadonlyMap<string, Placed>,
  before: Baseline,
  monitorUrl: string,
  settleMs = 90_000,
): Promise<Audit> {
  const api = createClient({ url });
  const found = new Map<string, Order>();
  const lost: string[] = [];
  let open = new Map([...accepted, ...uncertain]);
  const until = performance.now() + settleMs;
  while (open.size > 0) {
    const still = new Map<string, Placed>();
    lost.length = 0;
    await forEach([...open.values()], width, async placed => {
      const order = await api.call<typeof orders>('orders').get({ orderId: placed.orderId }, strong);
      if (order) found.set(placed.orderId, order);
      if (order && finals.has(order.state)) return;
      if (!order && uncertain.has(placed.orderId)) return;
      if (!order) lost.push(placed.orderId);
      still.set(placed.orderId, placed);
    });
    open = still;
    if (open.size === 0 || performance.now() > until) break;
    await pause(300);
  }

  const states: Record<string, number> = {};
  for (const order of found.values()) states[order.state] = (states[order.state] ?? 0) + 1;
  const all = [...found.values()];
  const shipped = all.filter(order => order.state === 'shipped');
  const returned = all.filter(order => order.state === 'returned');
  const checks = [
    {
      name: 'every accepted order is there, in one final state',
      compared: accepted.size,
      wrong: [...open.keys()].map(id => `${id}: ${found.get(id)?.state ?? 'missing'}`),
    },
    await checkContents(found, accepted),
    await checkStock(api, shipped, returned, before),
    await checkMoney(api, all),
    await settled(() => checkRevenue(api, shipped, returned, before)),
    await settled(() => checkMails(api, all)),
    await settled(() => checkReplicas(monitorUrl)),
  ];
  return { checks, states, lost };
}

type Api = ReturnType<typeof createClient>;

/** Views made of events follow a moment later: checked again for a while before they count as wrong. */
async function settled(check: () => Promise<Check>, patienceMs = 30_000): Promise<Check> {
  const until = performance.now() + patienceMs;
  for (;;) {
    const result = await check();
    if (result.wrong.length === 0 || performance.now() > until) return result;
    await pause(300);
  }
}

async function checkContents(found: ReadonlyMap<string, Order>, accepted: ReadonlyMap<string, Placed>): Promise<Check> {
  const wrong: string[] = [];
  for (const [id, placed] of accepted) {
    const order = found.get(id);
    if (order && (order.amountCents !== placed.amountCents || order.lines.length !== placed.lines.length))
      wrong.push(`${id}: placed ${placed.amountCents}, stored ${order.amountCents}`);
  }
  return { name: 'orders hold what was ordered', compared: accepted.size, wrong };
}

async function checkStock(
  api: Api,
  shipped: readonly Order[],
  returned: readonly Order[],
  before: Baseline,
): Promise<Check> {
  const sold = unitsBySku(shipped);
  const back = unitsBySku(returned);
  const wrong: string[] = [];
  await forEach([...before.stock], width, async ([sku, was]) => {
    const row = await api.call<typeof inventory>('inventory').get({ sku }, strong);
    if (!row) return;
    const { initial, onHand, reserved } = row;
    if (initial !== onHand + reserved + row.sold - row.returned)
      wrong.push(
        `${sku}: initial ${initial} ≠ on hand ${onHand} + reserved ${reserved} + sold ${row.sold} − returned ${row.returned}`,
      );
    if (reserved !== 0) wrong.push(`${sku}: ${reserved} still reserved after all orders ended`);
    const expectSold = was.sold + (sold.get(sku) ?? 0);
    const expectBack = was.returned + (back.get(sku) ?? 0);
    if (row.sold !== expectSold) wrong.push(`${sku}: sold ${row.sold}, shipped orders say ${expectSold}`);
    if (row.returned !== expectBack) wrong.push(`${sku}: returned ${row.returned}, returns say ${expectBack}`);
  });
  return { name: 'stock: initial = on hand + reserved + sold − returned', compared: before.stock.size, wrong };
}

async function checkMoney(api: Api, all: readonly Order[]): Promise<Check> {
  const wrong: string[] = [];
  await forEach(all, width, async order => {
    const payment = await api.call<typeof payments>('payments').get({ orderId: order.orderId }, strong);
    const expected =
      order.state === 'shipped'
        ? 'charged'
        : order.state === 'returned'
          ? 'refunded'
          : order.reason === 'refused'
            ? 'refused'
            : undefined;
    if (payment?.state !== expected)
      wrong.push(`${order.orderId}: order ${order.state}, payment ${payment?.state ?? 'none'}`);
    else if (payment && payment.amountCents !== order.amountCents)
      wrong.push(`${order.orderId}: order ${order.amountCents}, payment ${payment.amountCents}`);
  });
  return { name: 'money: each order and its payment agree', compared: all.length, wrong };
}

async function checkRevenue(
  api: Api,
  shipped: readonly Order[],
  returned: readonly Order[],
  before: Baseline,
): Promise<Check> {
  const wrong: string[] = [];
  for (const [country, was] of before.revenue) {
    const row = await api.call<typeof revenue>('revenue').byCountry({ country }, strong);
    const paid = shipped.filter(order => order.country === country);
    const back = returned.filter(order => order.country === country);
    const expect = {
      orders: was.orders + paid.length,
      cents: was.cents + sum(paid),
      returns: was.returns + back.length,
      returnedCents: was.returnedCents + sum(back),
    };
    const got = row ?? { orders: 0, cents: 0, returns: 0, returnedCents: 0 };
    for (const field of ['orders', 'cents', 'returns', 'returnedCents'] as const) {
      if (got[field] !== expect[field]) wrong.push(`${country}: ${field} ${got[field]}, orders say ${expect[field]}`);
    }
  }
  return { name: 'revenue: every event counted exactly once', compared: before.revenue.size, wrong };
}

async function checkMails(api: Api, all: readonly Order[]): Promise<Check> {
  const wrong: string[] = [];
  const told = all.filter(order => order.state === 'shipped' || order.state === 'cancelled');
  await forEach(told, width, async order => {
    const mail = await api.call<typeof notifications>('notifications').get({ orderId: order.orderId }, strong);
    const undeliverable = rollOf(order.orderId) % 200 === 7;
    const expected = order.customer === null || undeliverable ? 0 : 1;
    if ((mail?.times ?? 0) !== expected)
      wrong.push(`${order.orderId}: ${order.state}, told ${mail?.times ?? 0} times, expected ${expected}`);
    else if (mail && mail.what !== order.state) wrong.push(`${order.orderId}: ${order.state}, told '${mail.what}'`);
  });
  return { name: 'mails: each customer told exactly once', compared: told.length, wrong };
}

/** All copies of a partition stand at one position with one digest (an order-free sum over all their rows). */
async function checkReplicas(monitorUrl: string): Promise<Check> {
  const name = 'replicas: all copies of each partition are the same';
  const response = await fetch(new URL('/metrics', monitorUrl)).catch(() => undefined);
  if (!response?.ok) return { name, compared: 0, wrong: ['the monitor does not answer /metrics'] };
  const copies = new Map<string, { position: Map<string, string>; digest: Map<string, string> }>();
  for (const line of (await response.text()).split('\n')) {
    const sample = /^tandem_replica_(position|digest)\{(.*)\} (\S+)$/.exec(line);
    if (!sample || sample[3] === 'NaN') continue;
    const labels = Object.fromEntries(
      [...sample[2]!.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, value]) => [label!, value!]),
    );
    const partition = `${labels['service']}/${labels['partition']}`;
    const copy = copies.get(partition) ?? { position: new Map(), digest: new Map() };
    copies.set(partition, copy);
    copy[sample[1] as 'position' | 'digest'].set(labels['instance'] ?? labels['process'] ?? '', sample[3]!);
  }
  const wrong: string[] = [];
  let compared = 0;
  for (const [partition, { position, digest }] of copies) {
    compared += digest.size;
    if (new Set(position.values()).size > 1) wrong.push(`${partition}: positions ${[...position].join(' ')}`);
    else if (new Set(digest.values()).size > 1) wrong.push(`${partition}: digests ${[...digest].join(' ')}`);
  }
  if (compared === 0) wrong.push('no replica was seen');
  return { name, compared, wrong };
}

function unitsBySku(list: readonly Order[]): Map<string, number> {
  const units = new Map<string, number>();
  for (const { lines } of list) for (const { sku, qty } of lines) units.set(sku, (units.get(sku) ?? 0) + qty);
  return units;
}
const sum = (list: readonly Order[]): number => list.reduce((total, order) => total + order.amountCents, 0);

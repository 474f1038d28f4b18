// Replays the invoices as orders through the gateway, over and over, each time under fresh order ids, at a chosen rate.
// Open loop: a slow system does not slow the customers down, it only makes them wait (bounded by `underWayMax`).
import { TandemError } from 'tandem';
import { createClient } from 'tandem/client';
import type { catalogue, inventory, Order, orders } from './contracts.ts';
import type { Invoice } from './invoices.ts';
import { Tally } from './tally.ts';

export interface Placed {
  readonly orderId: string;
  readonly isReturn: boolean;
  readonly customer: string | null;
  readonly country: string;
  readonly lines: Order['lines'];
  readonly amountCents: number;
}

export interface ReplayOptions {
  readonly url: string;
  readonly invoices: readonly Invoice[];
  /** Orders per second. */
  readonly rate: number;
  /** Makes order ids of this run its own. */
  readonly run: string;
  readonly signal: AbortSignal;
}

const underWayMax = 512;
/** A customer gives up after this. */
const patienceMs = 30_000;

export class Replay {
  readonly tally = new Tally();
  /** Orders that the shop said it has. It must never lose one of them. */
  readonly accepted = new Map<string, Placed>();
  /** Orders whose fate the customer never learnt. They may or may not exist. */
  readonly uncertain = new Map<string, Placed>();
  readonly #options: ReplayOptions;
  readonly #client: ReturnType<typeof createClient>;
  #underWay = 0;
  #shed = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#client = createClient({ url: options.url });
  }

  /** Customers who were not let in because too many were waiting. */
  get shed(): number {
    return this.#shed;
  }
  get underWay(): number {
    return this.#underWay;
  }

  /** Fills the catalogue and the shelves. Safe to repeat. */
  async prepare(): Promise<void> {
    const products = new Map<string, { sku: string; description: string; priceCents: number; perRound: number }>();
    for (const { lines, isReturn } of this.#options.invoices) {
      for (const line of lines) {
        const known = products.get(line.sku) ?? { ...line, perRound: 0 };
        products.set(line.sku, { ...known, perRound: known.perRound + (isReturn ? 0 : line.qty) });
      }
    }
    await forEach([...products.values()], 16, async ({ sku, description, priceCents, perRound }, index) => {
      const stocked = /^\d{5}/.test(sku);
      await this.#client
        .call<typeof catalogue>('catalogue')
        .put({ sku, description, priceCents, stocked }, { timeout: '20s' });
      // A few products are scarce, so that some orders meet an empty shelf.
      const initial = index % 200 === 0 ? perRound * 4 : 1_000_000;
      if (stocked) await this.#client.call<typeof inventory>('inventory').open({ sku, initial }, { timeout: '20s' });
    });
  }

  /** Runs until the signal aborts, then waits for the customers who are inside. */
  async run(): Promise<void> {
    const { invoices, rate, signal, run } = this.#options;
    const started = performance.now();
    const inside = new Set<Promise<void>>();
    for (let count = 0; !signal.aborted; count++) {
      const dueAt = started + (count * 1000) / rate;
      const waitMs = dueAt - performance.now();
      if (waitMs > 0) await pause(waitMs, signal);
      if (signal.aborted) break;
      if (this.#underWay >= underWayMax) {
        this.#shed++;
        continue;
      }
      const invoice = invoices[count % invoices.length]!;
      const orderId = `${invoice.number}-${run}-${Math.floor(count / invoices.length)}`;
      this.#underWay++;
      const customer = this.#shop(invoice, orderId).finally(() => {
        this.#underWay--;
        inside.delete(customer);
      });
      inside.add(customer);
    }
    await Promise.all(inside);
  }

  /** One customer: looks at a product, its stock, then orders (or brings goods back). */
  async #shop(invoice: Invoice, orderId: string): Promise<void> {
    const first = invoice.lines[0];
    if (!first) return;
    await this.#ask(
      key =>
        this.#client
          .try<typeof catalogue>('catalogue')
          .page({ sku: first.sku }, { idempotencyKey: key, timeout: '2s' }),
      `${orderId}-page`,
    );
    await this.#ask(
      key =>
        this.#client.try<typeof inventory>('inventory').get({ sku: first.sku }, { idempotencyKey: key, timeout: '2s' }),
      `${orderId}-stock`,
    );
    const lines = invoice.lines.map(({ sku, qty, priceCents }) => ({ sku, qty, priceCents }));
    const { customer, country, isReturn } = invoice;
    const placed: Placed = {
      orderId,
      isReturn,
      customer,
      country,
      lines,
      amountCents: lines.reduce((sum, line) => sum + line.qty * line.priceCents, 0),
    };
    const input = { orderId, customer, country, lines };
    const api = this.#client.try<typeof orders>('orders');
    const outcome = await this.#ask(
      key =>
        isReturn
          ? api.giveBack(input, { idempotencyKey: key, timeout: '5s' })
          : api.place(input, { idempotencyKey: key, timeout: '5s' }),
      `${orderId}-order`,
    );
    if (outcome === 'done') this.accepted.set(orderId, placed);
    else if (outcome === 'unknown') this.uncertain.set(orderId, placed);
  }

  /** Asks until there is an answer or patience ends, always under one idempotency key, so that it counts once. */
  async #ask(
    attempt: (key: string) => Promise<{
      ok: boolean;
      error?: { code: string };
      outcome?: string;
      meta?: { degraded: boolean; instance: string | undefined };
      value?: unknown;
    }>,
    key: string,
  ): Promise<'done' | 'refused' | 'failed' | 'unknown'> {
    const startedAt = performance.now();
    let unknown = false;
    for (let tries = 0; performance.now() - startedAt < patienceMs; tries++) {
      const answer = await attempt(key).catch(cause => ({
        ok: false,
        error: { code: TandemError.from(cause).code },
        outcome: 'unknown',
      }));
      if (answer.ok) {
        const said = 'meta' in answer ? answer.meta : undefined;
        this.tally.answered(performance.now() - startedAt, said?.instance);
        const body = 'value' in answer ? (answer.value as { degraded?: boolean } | null) : null;
        if (said?.degraded || body?.degraded) this.tally.degraded++;
        return 'done';
      }
      const code = answer.error?.code ?? 'INTERNAL';
      if (code === 'alreadyPlaced') return 'done';
      if (!/^[A-Z_]+$/.test(code)) return 'refused';
      this.tally.tryFailed(code);
      if (answer.outcome === 'unknown') unknown = true;
      if (code === 'INVALID' || code === 'CONFLICT') break;
      await pause(Math.min(1000, 50 * 2 ** tries) * Math.random());
    }
    this.tally.failed++;
    return unknown ? 'unknown' : 'failed';
  }
}

/** Runs `work` over all items, `width` at a time. */
export async function forEach<T>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < items.length) {
      const index = next++;
      await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane));
}

export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal?.addEventListener('abort', done, { once: true });
  });
}

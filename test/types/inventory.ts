import { table } from 'tandem';
import * as z from 'zod';
import { inventory, orderPlaced } from './inventory.contract.ts';
import { orders } from './orders.contract.ts';

class Pool {
  constructor(public_: string) {
    void public_;
  }
  async query(_s: string): Promise<number> {
    return 1;
  }
  async end(): Promise<void> {}
}

export default inventory.implement({
  config: z.object({ databaseUrl: z.url() }),
  resources: ({ config, onStop }) => {
    const db = new Pool(config.databaseUrl);
    onStop(() => db.end());
    return { db };
  },
  tables: { stock: table(z.object({ onHand: z.int(), reserved: z.int() })) },
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.stock.get(sku)) ?? null,
    reserve: ({ sku, qty }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        if (stock.onHand < qty) throw ctx.fail.outOfStock({ left: stock.onHand });
        const next = { onHand: stock.onHand - qty, reserved: stock.reserved + qty };
        tx.stock.put(sku, next);
        tx.emit(orderPlaced, { orderId: 'o1', sku, qty });
        return next;
      }),
    watch: async function* ({ sku }, ctx) {
      yield* ctx.tables.stock.watch(sku);
    },
    load: {
      handler: async (lines, ctx) => {
        let n = 0;
        for await (const l of lines) n += l.qty + (await ctx.resources.db.query('x'));
        return n;
      },
      fallback: () => 0,
    },
    ping: () => 'pong',
  },
  subscriptions: {
    restock: {
      topic: orderPlaced,
      handler: (event, ctx) =>
        ctx.transact(tx => {
          const s = tx.stock.get(event.sku);
          if (s) tx.stock.put(event.sku, s);
        }),
    },
    tell: {
      topic: orderPlaced,
      handler: async (event, ctx) => {
        const o = await ctx.call(orders).get({ id: event.orderId });
        const st: string = o.state;
        void st;
      },
    },
  },
});

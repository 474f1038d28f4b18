// inventory.ts : how it is done. Only the instances load this file.
import { table } from 'tandem';
import * as z from 'zod';
import { orders } from './orders.contract.ts';
import { inventory, reserved } from './sketch.contract.ts';

declare const openWarehouse: (url: string) => { restock(sku: string): Promise<void>; close(): Promise<void> };

export default inventory.implement({
  config: z.object({ warehouseUrl: z.url() }),
  resources: ({ config, onStop }) => {
    const warehouse = openWarehouse(config.warehouseUrl);
    onStop(() => warehouse.close());
    return { warehouse };
  },
  tables: { stock: table(z.object({ onHand: z.int(), reserved: z.int() })) },
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.stock.get(sku)) ?? null,
    reserve: ({ sku, qty, orderId }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        if (stock.onHand < qty) throw ctx.fail.outOfStock({ left: stock.onHand });
        const next = { onHand: stock.onHand - qty, reserved: stock.reserved + qty };
        tx.stock.put(sku, next);
        tx.emit(reserved, { sku, qty, orderId });
        return next;
      }),
    live: ({ sku }, ctx) => ctx.tables.stock.watch(sku),
  },
  subscriptions: {
    restock: {
      topic: reserved,
      handler: async (event, ctx) => {
        const order = await ctx.call(orders).get({ id: event.orderId });
        if (order.state === 'paid') await ctx.resources.warehouse.restock(event.sku);
      },
    },
  },
});

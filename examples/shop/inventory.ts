// Stock, ten instances of it. Each movement is one transaction over the stock row and the movement's own row, so a
// repeated request moves nothing twice even after its request id is forgotten.
import { table } from 'tandem';
import * as z from 'zod';
import { inventory, Stock } from './contracts.ts';

const Hold = z.object({ qty: z.int(), state: z.enum(['reserved', 'released', 'sold', 'returned']) });

export default inventory.implement({
  // Rows named `<sku>` and `<sku>/<order>` share a partition: what stands before the first slash places a row.
  tables: { stock: table(Stock), holds: table(Hold) },
  partitions: 16,
  replicas: 3,
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.stock.get(sku)) ?? null,
    live: ({ sku }, ctx) => ctx.tables.stock.watch(sku),

    open: ({ sku, initial }, ctx) =>
      ctx.transact(tx => {
        const known = tx.stock.get(sku);
        if (known) return known;
        const stock = { initial, onHand: initial, reserved: 0, sold: 0, returned: 0 };
        tx.stock.put(sku, stock);
        return stock;
      }),

    reserve: ({ sku, orderId, qty }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        if (tx.holds.get(`${sku}/${orderId}`)) return stock;
        if (stock.onHand < qty) throw ctx.fail.outOfStock({ left: stock.onHand });
        const next = { ...stock, onHand: stock.onHand - qty, reserved: stock.reserved + qty };
        tx.stock.put(sku, next);
        tx.holds.put(`${sku}/${orderId}`, { qty, state: 'reserved' });
        return next;
      }),

    release: ({ sku, orderId }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        const hold = tx.holds.get(`${sku}/${orderId}`);
        if (hold?.state !== 'reserved') return stock;
        const next = { ...stock, onHand: stock.onHand + hold.qty, reserved: stock.reserved - hold.qty };
        tx.stock.put(sku, next);
        tx.holds.put(`${sku}/${orderId}`, { ...hold, state: 'released' });
        return next;
      }),

    sell: ({ sku, orderId }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        const hold = tx.holds.get(`${sku}/${orderId}`);
        if (hold?.state !== 'reserved') return stock;
        const next = { ...stock, reserved: stock.reserved - hold.qty, sold: stock.sold + hold.qty };
        tx.stock.put(sku, next);
        tx.holds.put(`${sku}/${orderId}`, { ...hold, state: 'sold' });
        return next;
      }),

    takeBack: ({ sku, orderId, qty }, ctx) =>
      ctx.transact(tx => {
        const stock = tx.stock.get(sku);
        if (!stock) throw ctx.fail.unknownSku();
        if (tx.holds.get(`${sku}/${orderId}`)) return stock;
        const next = { ...stock, onHand: stock.onHand + qty, returned: stock.returned + qty };
        tx.stock.put(sku, next);
        tx.holds.put(`${sku}/${orderId}`, { qty, state: 'returned' });
        return next;
      }),
  },
});

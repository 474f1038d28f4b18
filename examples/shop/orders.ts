// Orders. `place` only stores the order and says so (one transaction, one event); everything after that is driven by
// events, so a crash at any line is picked up where it was. Each step is safe to repeat.
import { DeclaredError, table } from 'tandem';
import {
  inventory,
  Order,
  orderCancelled,
  orderPaid,
  orderPlaced,
  orderReturned,
  orderShipped,
  orders,
  payments,
  returnAccepted,
} from './contracts.ts';

const eventOf = ({ orderId, country, customer, amountCents }: Order) => ({ orderId, country, customer, amountCents });
const amountOf = (lines: Order['lines']) => lines.reduce((sum, line) => sum + line.qty * line.priceCents, 0);

/** Lines of one sku are one movement of stock; charges such as postage move none. */
function movements(order: Order): { sku: string; qty: number; orderId: string }[] {
  const bySku = new Map<string, number>();
  for (const { sku, qty } of order.lines) if (isStocked(sku)) bySku.set(sku, (bySku.get(sku) ?? 0) + qty);
  return [...bySku].map(([sku, qty]) => ({ sku, qty, orderId: order.orderId }));
}
const isStocked = (sku: string) => /^\d{5}/.test(sku);

export default orders.implement({
  tables: { orders: table(Order) },
  partitions: 8,
  methods: {
    get: async ({ orderId }, ctx) => (await ctx.tables.orders.get(orderId)) ?? null,

    place: (input, ctx) =>
      ctx.transact(tx => {
        if (tx.orders.get(input.orderId)) throw ctx.fail.alreadyPlaced();
        const order = { ...input, amountCents: amountOf(input.lines), state: 'placed' as const, reason: null };
        tx.orders.put(order.orderId, order);
        tx.emit(orderPlaced, eventOf(order));
        return order;
      }),

    giveBack: (input, ctx) =>
      ctx.transact(tx => {
        if (tx.orders.get(input.orderId)) throw ctx.fail.alreadyPlaced();
        const order = { ...input, amountCents: amountOf(input.lines), state: 'accepted' as const, reason: null };
        tx.orders.put(order.orderId, order);
        tx.emit(returnAccepted, eventOf(order));
        return order;
      }),
  },

  subscriptions: {
    // placed → paid, or cancelled: take the goods, take the money, and give back what was taken when either fails.
    pay: {
      topic: orderPlaced,
      handler: async ({ orderId }, ctx) => {
        const order = await ctx.tables.orders.get(orderId);
        if (order?.state !== 'placed') return;
        const taken = movements(order);
        let reason: string | undefined;
        try {
          for (const movement of taken) await ctx.call(inventory).reserve(movement);
          await ctx.call(payments).charge({ orderId, amountCents: order.amountCents });
        } catch (cause) {
          if (!(cause instanceof DeclaredError)) throw cause;
          reason = cause.code;
        }
        if (reason !== undefined) {
          for (const movement of taken) {
            const released = await ctx.try(inventory).release(movement);
            if (!released.ok && released.error.code !== 'unknownSku')
              throw new Error(`release: ${released.error.message}`);
          }
        }
        await ctx.transact(tx => {
          const current = tx.orders.get(orderId);
          if (current?.state !== 'placed') return;
          const next: Order = { ...current, state: reason ? 'cancelled' : 'paid', reason: reason ?? null };
          tx.orders.put(orderId, next);
          if (reason) tx.emit(orderCancelled, { ...eventOf(next), reason });
          else tx.emit(orderPaid, eventOf(next));
        });
      },
    },

    // paid → shipped: the goods leave the house.
    ship: {
      topic: orderPaid,
      handler: async ({ orderId }, ctx) => {
        const order = await ctx.tables.orders.get(orderId);
        if (order?.state !== 'paid') return;
        for (const movement of movements(order)) await ctx.call(inventory).sell(movement);
        await ctx.transact(tx => {
          const current = tx.orders.get(orderId);
          if (current?.state !== 'paid') return;
          tx.orders.put(orderId, { ...current, state: 'shipped' });
          tx.emit(orderShipped, eventOf(current));
        });
      },
    },

    // A return: the goods come back, the money goes back.
    takeBack: {
      topic: returnAccepted,
      handler: async ({ orderId }, ctx) => {
        const order = await ctx.tables.orders.get(orderId);
        if (order?.state !== 'accepted') return;
        for (const movement of movements(order)) await ctx.call(inventory).takeBack(movement);
        await ctx.call(payments).refund({ orderId, amountCents: order.amountCents });
        await ctx.transact(tx => {
          const current = tx.orders.get(orderId);
          if (current?.state !== 'accepted') return;
          tx.orders.put(orderId, { ...current, state: 'returned' });
          tx.emit(orderReturned, eventOf(current));
        });
      },
    },
  },
});

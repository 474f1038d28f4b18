// Payments. The bank is slow (10-80 ms) and refuses one order in fifty; it knows an order again, as real ones do, so
// asking it twice charges once. What it answered is stored before anybody is told.
import { table } from 'tandem';
import { openBank } from './bank.ts';
import { Payment, payments } from './contracts.ts';

export default payments.implement({
  resources: () => ({ bank: openBank() }),
  tables: { payments: table(Payment) },
  partitions: 8,
  methods: {
    get: async ({ orderId }, ctx) => (await ctx.tables.payments.get(orderId)) ?? null,

    charge: async ({ orderId, amountCents }, ctx) => {
      const accepted = await ctx.resources.bank.charge(orderId, amountCents);
      const payment = await ctx.transact(tx => {
        const known = tx.payments.get(orderId);
        if (known) return known;
        const next = { orderId, amountCents, state: accepted ? ('charged' as const) : ('refused' as const) };
        tx.payments.put(orderId, next);
        return next;
      });
      if (payment.state === 'refused') throw ctx.fail.refused();
      return payment;
    },

    refund: async ({ orderId, amountCents }, ctx) => {
      await ctx.resources.bank.refund(orderId, amountCents);
      return ctx.transact(tx => {
        const next = { orderId, amountCents, state: 'refunded' as const };
        tx.payments.put(orderId, next);
        return next;
      });
    },
  },
});

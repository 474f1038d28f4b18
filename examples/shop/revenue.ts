// Revenue by country: a view made of events alone. Each event counts once, because what a delivery's transaction does
// happens once, however often it is delivered; the audit of `npm start` holds it against the orders.
import { table } from 'tandem';
import { orderPaid, orderReturned, Revenue, revenue } from './contracts.ts';

const none = (country: string) => ({ country, orders: 0, cents: 0, returns: 0, returnedCents: 0 });

export default revenue.implement({
  tables: { countries: table(Revenue) },
  partitions: 4,
  methods: {
    byCountry: async ({ country }, ctx) => (await ctx.tables.countries.get(country)) ?? null,
  },
  subscriptions: {
    countPaid: {
      topic: orderPaid,
      key: 'country',
      handler: ({ country, amountCents }, ctx) =>
        ctx.transact(tx => {
          const known = tx.countries.get(country) ?? none(country);
          tx.countries.put(country, { ...known, orders: known.orders + 1, cents: known.cents + amountCents });
        }),
    },
    countReturned: {
      topic: orderReturned,
      key: 'country',
      handler: ({ country, amountCents }, ctx) =>
        ctx.transact(tx => {
          const known = tx.countries.get(country) ?? none(country);
          tx.countries.put(country, {
            ...known,
            returns: known.returns + 1,
            returnedCents: known.returnedCents + amountCents,
          });
        }),
    },
  },
});

// Balances of accounts, booked in order: a withdrawal makes no sense before the deposit that came first. So an account whose
// event was given up waits, with all that comes behind it, until a person lets it go on.
import { contract, table, topic } from 'tandem';
import * as z from 'zod';

const Booking = z.object({ account: z.string(), cents: z.int() });

export const booked = topic('accounts.booked', Booking, { key: 'account', partitions: 4 });

export const accounts = contract('accounts', {
  balance: {
    key: 'account',
    consistency: 'strong',
    http: 'GET /accounts/:account',
    input: z.object({ account: z.string() }),
    output: z.int(),
  },
});

export default accounts.implement({
  tables: { balances: table(z.int()) },
  partitions: 4,
  publishes: [booked],
  methods: { balance: async ({ account }, ctx) => (await ctx.tables.balances.get(account)) ?? 0 },
  subscriptions: {
    book: {
      topic: booked,
      attempts: 2,
      onDead: 'park',
      handler: ({ account, cents }, ctx) =>
        ctx.transact(tx => {
          const balance = (tx.balances.get(account) ?? 0) + cents;
          if (balance < 0) throw new Error(`${account} lacks ${-balance} cents`);
          tx.balances.put(account, balance);
        }),
    },
  },
});

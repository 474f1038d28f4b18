// Confirms orders. What its transaction writes happens once for each event, however often the event is delivered.
import { table } from 'tandem';
import * as z from 'zod';
import { mailer, mailsDead, orderPlaced } from './contracts.ts';

export default mailer.implement({
  tables: { mails: table(z.object({ times: z.number(), failure: z.string().nullable() })) },
  partitions: 4,
  methods: {
    sent: async ({ orderId }, ctx) => (await ctx.tables.mails.get(orderId)) ?? { times: 0, failure: null },
  },
  subscriptions: {
    confirm: {
      topic: orderPlaced,
      attempts: 3,
      handler: ({ orderId, email }, ctx) => {
        // a poison event: no number of tries mends it, so after the third it becomes a dead letter
        if (!email.includes('@')) throw new Error(`no such mailbox: ${email}`);
        return ctx.transact(tx => {
          const times = tx.mails.get(orderId)?.times ?? 0;
          tx.mails.put(orderId, { times: times + 1, failure: null });
        });
      },
    },
    noteFailure: {
      topic: mailsDead,
      handler: ({ key, error }, ctx) =>
        ctx.transact(tx => {
          const times = tx.mails.get(key)?.times ?? 0;
          tx.mails.put(key, { times, failure: error.message });
        }),
    },
  },
});

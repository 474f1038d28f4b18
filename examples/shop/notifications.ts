// Tells customers what became of their orders. The mail server stumbles now and then (a retry helps) and some addresses
// never work (a dead letter). Guests left no address, so there is nobody to tell.
import { table } from 'tandem';
import { rollOf } from './bank.ts';
import { Mail, notifications, orderCancelled, orderShipped } from './contracts.ts';

/** A mail server that fails each order's first try in ten, and one address in two hundred always. */
function openMailServer() {
  const tried = new Set<string>();
  return {
    send: (orderId: string): void => {
      const roll = rollOf(orderId);
      if (roll % 200 === 7) throw new Error(`no such mailbox (order ${orderId})`);
      if (roll % 10 === 3 && !tried.has(orderId)) {
        tried.add(orderId);
        if (tried.size > 10_000) tried.clear();
        throw new Error('mail server busy');
      }
    },
  };
}

export default notifications.implement({
  resources: () => ({ mail: openMailServer() }),
  tables: { mails: table(Mail) },
  partitions: 8,
  methods: {
    get: async ({ orderId }, ctx) => (await ctx.tables.mails.get(orderId)) ?? null,
  },
  subscriptions: {
    tellShipped: {
      topic: orderShipped,
      attempts: 4,
      handler: ({ orderId, customer }, ctx) => {
        if (customer === null) return;
        ctx.resources.mail.send(orderId);
        return ctx.transact(tx => tx.mails.put(orderId, told(orderId, 'shipped', tx.mails.get(orderId))));
      },
    },
    tellCancelled: {
      topic: orderCancelled,
      attempts: 4,
      handler: ({ orderId, customer }, ctx) => {
        if (customer === null) return;
        ctx.resources.mail.send(orderId);
        return ctx.transact(tx => tx.mails.put(orderId, told(orderId, 'cancelled', tx.mails.get(orderId))));
      },
    },
  },
});

function told(orderId: string, what: Mail['what'], before: Mail | undefined): Mail {
  return { orderId, what, times: (before?.times ?? 0) + 1 };
}

// A shop that reports its orders each night by the wall clock of Berlin, and asks for an opinion a week after each order.
import { contract, table, topic } from 'tandem';
import * as z from 'zod';

const Order = z.object({ orderId: z.string() });
export const askOpinion = topic('shop.ask-opinion', Order, { key: 'orderId', partitions: 2 });

export const shop = contract('shop', {
  order: { key: 'orderId', http: 'POST /orders', input: Order },
  asked: {
    key: 'orderId',
    http: 'GET /orders/:orderId/asked',
    consistency: 'strong',
    input: Order,
    output: z.boolean(),
  },
  count: { consistency: 'strong', input: z.object({}), output: z.int() },
  reports: { http: 'GET /reports', input: z.object({}), output: z.array(z.string()) },
});

export default shop.implement({
  tables: {
    orders: table(z.object({ asked: z.boolean() })),
    reports: table(z.object({ orders: z.int() })),
  },
  partitions: 4,
  methods: {
    order: async ({ orderId }, ctx) => {
      await ctx.transact(tx => tx.orders.put(orderId, { asked: false }));
      await ctx.publish(askOpinion, { orderId }, { delay: '7d' });
    },
    asked: async ({ orderId }, ctx) => (await ctx.tables.orders.get(orderId))?.asked ?? false,
    count: async (_input, ctx) => {
      let orders = 0;
      for await (const _order of ctx.tables.orders.scan('')) orders++;
      return orders;
    },
    reports: async (_input, ctx) => {
      const found: string[] = [];
      for await (const [key, { orders }] of ctx.tables.reports.scan('reports/')) found.push(`${key}: ${orders}`);
      return found;
    },
  },
  schedules: {
    nightlyReport: {
      cron: '30 2 * * *',
      timeZone: 'Europe/Berlin',
      key: 'reports',
      run: async ({ dueAt }, ctx) => {
        const orders = await ctx.call(shop).count({});
        await ctx.transact(tx => tx.reports.put(`reports/${new Date(dueAt).toISOString()}`, { orders }));
      },
    },
  },
  subscriptions: {
    ask: {
      topic: askOpinion,
      handler: ({ orderId }, ctx) => ctx.transact(tx => tx.orders.put(orderId, { asked: true })),
    },
  },
});

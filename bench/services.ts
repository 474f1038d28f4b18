/** The services that benches run: a store of items, and a sender and a receiver of events. */
import { contract, table, topic } from 'tandem';
import * as z from 'zod';

const Item = z.object({ text: z.string(), count: z.number() });
const Key = z.object({ key: z.string() });
const Reading = { key: 'key', input: Key, output: Item.nullable() } as const;

export const items = contract('items', {
  eventual: { ...Reading, consistency: 'eventual' },
  sequential: { ...Reading, consistency: 'sequential' },
  strong: { ...Reading, consistency: 'strong' },
  /** Read, add one, write: what a transaction is for. */
  add: { key: 'key', input: Key, output: z.object({ count: z.number() }) },
  put: { key: 'key', input: Key.extend({ text: z.string() }) },
  /** Rows of one partition at once, to load data. */
  fill: { key: 'key', input: Key.extend({ keys: z.array(z.string()), text: z.string() }) },
  scan: {
    key: 'key',
    consistency: 'sequential',
    input: Key.extend({ after: z.string(), limit: z.number() }),
    output: z.number(),
  },
});

const itemsService = items.implement({
  tables: { items: table(Item) },
  methods: {
    eventual: async ({ key }, ctx) => (await ctx.tables.items.get(key)) ?? null,
    sequential: async ({ key }, ctx) => (await ctx.tables.items.get(key)) ?? null,
    strong: async ({ key }, ctx) => (await ctx.tables.items.get(key)) ?? null,
    add: ({ key }, ctx) =>
      ctx.transact(tx => {
        const before = tx.items.get(key);
        const count = (before?.count ?? 0) + 1;
        tx.items.put(key, { text: before?.text ?? '', count });
        return { count };
      }),
    put: ({ key, text }, ctx) => ctx.transact(tx => tx.items.put(key, { text, count: 0 })),
    fill: ({ keys, text }, ctx) =>
      ctx.transact(tx => {
        for (const key of keys) tx.items.put(key, { text, count: 0 });
      }),
    scan: async ({ key, after, limit }, ctx) => {
      let rows = 0;
      for await (const _ of ctx.tables.items.scan(`${key}/`, { after, limit })) rows++;
      return rows;
    },
  },
});

export const sent = topic('bench.sent', z.object({ id: z.string(), at: z.number(), text: z.string() }), { key: 'id' });

export default [itemsService];

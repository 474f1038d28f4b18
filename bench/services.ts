/** The services that benches run: a store of items, the same in few partitions, and a receiver of events. */
import { contract, type Service, table, topic } from 'tandem';
import * as z from 'zod';

const Item = z.object({ text: z.string(), count: z.number() });
const Key = z.object({ key: z.string() });
const Reading = { key: 'key', input: Key, output: Item.nullable() } as const;

const methods = {
  eventual: { ...Reading, consistency: 'eventual' },
  sequential: { ...Reading, consistency: 'sequential' },
  strong: { ...Reading, consistency: 'strong' },
  /** Read, add one, write: what a transaction is for. */
  add: { key: 'key', input: Key, output: z.object({ count: z.number() }) },
  put: { key: 'key', input: Key.extend({ text: z.string() }) },
  /** Rows of one partition at once, to load data. */
  fill: { key: 'key', input: Key.extend({ keys: z.array(z.string()), text: z.string() }) },
  /** Rows of a group behind a key. */
  rows: {
    key: 'key',
    consistency: 'sequential',
    input: Key.extend({ after: z.string(), limit: z.number() }),
    output: z.array(Item),
  },
} as const;

/** A store of items, in as many partitions as it is told. */
const store = (name: string, partitions: number): Service =>
  contract(name, methods).implement({
    partitions,
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
      rows: async ({ key, after, limit }, ctx) => {
        const rows: z.infer<typeof Item>[] = [];
        for await (const [, row] of ctx.tables.items.scan(`${key}/`, { after, limit })) rows.push(row);
        return rows;
      },
    },
  });

/** Work that takes its time without keeping the processor: 2 ms, at the third instance 40 ms. */
export const work = contract('work', {
  do: { http: 'GET /work', output: z.string() },
});

const workService = work.implement({
  methods: {
    do: async (_, ctx) => {
      await new Promise(done => setTimeout(done, ctx.instance.startsWith('work-3-') ? 40 : 2));
      return ctx.instance;
    },
  },
});

/** A small answer at once: what is measured is the way to it. */
export const hello = contract('hello', {
  greet: {
    http: 'GET /hello/:sku',
    input: z.object({ sku: z.string() }),
    output: z.object({
      sku: z.string(),
      quantity: z.number(),
      note: z.string(),
      tags: z.array(z.string()),
      price: z.number(),
      left: z.boolean(),
    }),
  },
});

const helloService = hello.implement({
  methods: {
    greet: ({ sku }) => ({
      sku,
      quantity: 3,
      note: 'leave it at the door',
      tags: ['a', 'b'],
      price: 12.5,
      left: true,
    }),
  },
});

export const sent = topic('bench.sent', z.object({ id: z.string(), at: z.number(), text: z.string() }), { key: 'id' });

/** What the receiver's process has seen since it was last asked; a bench runs one. */
let delays: number[] = [];

export const receiver = contract('receiver', {
  seen: { output: z.array(z.number()) },
});

const receiverService = receiver.implement({
  // Where the positions of its subscription lie.
  tables: { unused: table(Item) },
  methods: {
    seen: () => {
      const seen = delays;
      delays = [];
      return seen;
    },
  },
  subscriptions: {
    note: { topic: sent, handler: ({ at }) => void delays.push(Date.now() - at) },
  },
});

export default [
  store('items', 64),
  // Where each partition is a stream of its own, fewer make larger groups.
  store('few', 8),
  store('large', 1),
  receiverService,
  workService,
  helloService,
];

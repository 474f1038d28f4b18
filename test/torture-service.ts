// What is tortured: counters that emit an event for each step, lists and accounts that change several at once, and a
// subscription that counts the events.
import { contract, error, table, topic } from 'tandem';
import * as z from 'zod';
import { type Asked, perform, type TransactionTables } from './transactions.ts';

const Key = z.object({ key: z.string() });
const Counted = z.object({ n: z.int(), by: z.string() });
const Heard = z.object({ count: z.int(), last: z.int(), ordered: z.boolean() });
const stepped = topic('stepped', z.object({ key: z.string(), n: z.int() }), { key: 'key', partitions: 2 });

export const torture = contract('torture', {
  add: { key: 'key', public: true, input: Key.extend({ by: z.string() }), output: z.int() },
  /** A transaction without effects. */
  look: { key: 'key', public: true, input: Key, output: Counted.nullable() },
  read: { key: 'key', public: true, consistency: 'sequential', input: Key, output: Counted.nullable() },
  transact: {
    key: 'group',
    public: true,
    input: z.object({ group: z.string(), asked: z.any() }),
    output: z.any(),
    errors: { aborted: error(409) },
  },
  heard: { key: 'key', public: true, consistency: 'strong', input: Key, output: Heard.nullable() },
});

export default torture.implement({
  tables: {
    counters: table(Counted),
    heard: table(Heard),
    lists: table(z.array(z.int())),
    accounts: table(z.int()),
  },
  partitions: 4,
  replicas: 3,
  methods: {
    add: ({ key, by }, ctx) =>
      ctx.transact(tx => {
        const n = (tx.counters.get(key)?.n ?? 0) + 1;
        tx.counters.put(key, { n, by });
        tx.emit(stepped, { key, n });
        return n;
      }),
    look: ({ key }, ctx) => ctx.transact(tx => tx.counters.get(key) ?? null),
    read: async ({ key }, ctx) => (await ctx.tables.counters.get(key)) ?? null,
    transact: ({ asked }, ctx) =>
      ctx.transact(tx =>
        perform(tx as TransactionTables, asked as Asked, () => {
          throw ctx.fail.aborted();
        }),
      ),
    heard: async ({ key }, ctx) => (await ctx.tables.heard.get(key)) ?? null,
  },
  subscriptions: {
    hear: {
      topic: stepped,
      handler: ({ key, n }, ctx) =>
        ctx.transact(tx => {
          const { count, last, ordered } = tx.heard.get(key) ?? { count: 0, last: 0, ordered: true };
          tx.heard.put(key, { count: count + 1, last: n, ordered: ordered && n === last + 1 });
        }),
    },
  },
});

// Seats of a theatre are held for a minute. A hold ends by itself, is found by customer, and all shows can be asked at once.
import { contract, error, table } from 'tandem';
import * as z from 'zod';

const Hold = z.object({ customer: z.string(), at: z.number() });
const Seat = z.object({ show: z.string(), seat: z.string() });

export const seats = contract('seats', {
  hold: {
    http: 'POST /shows/:show/seats/:seat/hold',
    key: 'show',
    input: Seat.extend({ customer: z.string() }),
    errors: { taken: error(409, z.object({ until: z.number() })) },
  },
  ofShow: {
    http: 'GET /shows/:show/holds',
    key: 'show',
    input: z.object({ show: z.string() }),
    output: z.array(z.string()),
  },
  // No key: the index is asked in every partition.
  ofCustomer: {
    http: 'GET /customers/:customer/holds',
    consistency: 'strong',
    input: z.object({ customer: z.string() }),
    output: z.array(z.string()),
  },
});

const holdMs = 60_000;

export default seats.implement({
  // Rows of one show share what is before the `/`, so they share a partition and a transaction may change several.
  tables: { holds: table(Hold, { ttl: '1m', indexes: { byCustomer: hold => hold.customer } }) },
  partitions: 8,
  methods: {
    hold: ({ show, seat, customer }, ctx) =>
      ctx.transact(tx => {
        const key = `${show}/${seat}`;
        const held = tx.holds.get(key);
        if (held && held.customer !== customer) throw ctx.fail.taken({ until: held.at + holdMs });
        tx.holds.put(key, { customer, at: tx.now });
      }),
    ofShow: async ({ show }, ctx) => {
      const keys: string[] = [];
      for await (const [key] of ctx.tables.holds.scan(`${show}/`)) keys.push(key);
      return keys;
    },
    ofCustomer: async ({ customer }, ctx) => {
      const keys: string[] = [];
      for await (const [key] of ctx.tables.holds.find('byCustomer', customer)) keys.push(key);
      return keys;
    },
  },
});

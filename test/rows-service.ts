/** A service that keeps rows of a given length, and how tests write and read them by HTTP. */
import { until } from './running-app.ts';

/** `PARTITIONS` and `OLD=yes` (a table that later code does not declare) are read from the environment. */
export const rowsService = `
import { contract, table } from 'tandem';
import * as z from 'zod';
const Key = z.object({ key: z.string() });
const text = table(z.object({ text: z.string() }));
const old = process.env.OLD === 'yes';
export default contract('rows', {
  put: { key: 'key', http: 'PUT /rows/:key', input: Key.extend({ length: z.number() }) },
  get: { key: 'key', http: 'GET /rows/:key', consistency: 'strong', input: Key, output: z.number() },
}).implement({
  tables: old ? { rows: text, former: text } : { rows: text },
  partitions: Number(process.env.PARTITIONS ?? 1),
  replicas: 2,
  methods: {
    put: ({ key, length }, ctx) => ctx.transact(tx => {
      tx.rows.put(key, { text: 'x'.repeat(length) });
      if (old) tx.former.put(key, { text: 'x' });
    }),
    get: async ({ key }, ctx) => (await ctx.tables.rows.get(key))?.text.length ?? 0,
  },
});
`;

export function putRow(url: string, key: string, length: number): Promise<Response> {
  return fetch(`${url}/rows/${key}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ length }),
  });
}

/** Of the row's text, as soon as somebody answers. */
export function lengthOfRow(url: string, key: string): Promise<number> {
  return until(`${key} to be read`, async () => {
    const answer = await fetch(`${url}/rows/${key}`).catch(() => undefined);
    return answer?.ok ? ((await answer.json()) as number) : undefined;
  });
}

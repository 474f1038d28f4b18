import { contract, error, table } from 'tandem';
import * as z from 'zod';

const I = z.object({ sku: z.string(), tags: z.array(z.string()) });
export const c1 = contract('c1', { m: { input: I, key: 'sk' } }); // 4 bad key
export const c2 = contract('c2', { m: { input: I, key: 'tags' } }); // 5 key not scalar
export const c3 = contract('c3', { m: { http: 'GET /x/:nope', input: I } }); // 6 bad param
export const c4 = contract('c4', { m: { input: I, timeuot: '1s' } }); // 7 typo
export const c5 = contract('c5', { m: { input: I, consistency: 'weak' } }); // 8
export const c6 = contract('c6', { m: { http: 'FETCH /x', input: I } }); // 9
const ok = contract('ok', {
  keyed: { input: I, output: z.object({ n: z.int() }), key: 'sku', errors: { gone: error(410) } },
  free: { input: I, output: z.int() },
});
export const s1 = ok.implement({ methods: { keyed: () => ({ n: 1 }) } }); // 11 missing free
export const s2 = ok.implement({ methods: { keyed: () => ({ n: '1' }), free: () => 1 } }); // 12 wrong output
export const s3 = ok.implement({ methods: { keyed: () => ({ n: 1, extra: 1 }), free: () => 1 } }); // 13 extra output field
export const s4 = ok.implement({ methods: { keyed: () => ({ n: 1 }), free: () => 1, more: () => 2 } }); // 14 unknown method
export const s5 = ok.implement({
  tables: { t: table(I) },
  methods: {
    keyed: (i, ctx) => ctx.transact(async tx => ({ n: tx.t.get(i.sku) ? 1 : 0 })),
    free: (i, ctx) => ctx.transact(() => 1),
  },
}); // 15 async tx; unkeyed
export const s6 = ok.implement({
  methods: {
    keyed: (i, ctx) => {
      throw ctx.fail.nope();
    },
    free: (i, ctx) =>
      ctx
        .call(ok)
        .keyed({ sku: 1, tags: [] })
        .then(r => r.n),
  },
}); // 16
export const s7 = ok.implement({
  methods: { free: (i, ctx) => ctx.resources.db, keyed: () => ({ n: 1 }) },
  resources: ({ onStop }) => {
    onStop(() => {});
    return { db: 1 };
  },
}); // 17 order
export async function f(api: import('tandem').Calls): Promise<void> {
  await api.call<typeof ok>('okk').free({ sku: '', tags: [] });
} // 18 wrong name

// Each line that ends in `// refused: <part of the message>` must not compile. One case per line: test/types.test.ts counts lines, so this file is not formatted.
import { type Calls, contract, error, table } from 'tandem';
import * as z from 'zod';

const I = z.object({ sku: z.string(), tags: z.array(z.string()) });
export const c1 = contract('c1', { m: { input: I, key: 'sk' } }); // refused: key that is no field
export const c2 = contract('c2', { m: { input: I, key: 'tags' } }); // refused: key that is no scalar
export const c3 = contract('c3', { m: { http: 'GET /x/:nope', input: I } }); // refused: path parameter that the input lacks
export const c4 = contract('c4', { m: { input: I, timeuot: '1s' } }); // refused: unknown option
export const c5 = contract('c5', { m: { input: I, consistency: 'weak' } }); // refused: unknown level
export const c6 = contract('c6', { m: { http: 'FETCH /x', input: I } }); // refused: unknown verb
const ok = contract('ok', { keyed: { input: I, output: z.object({ n: z.int() }), key: 'sku', errors: { gone: error(410) } }, free: { input: I, output: z.int() } });
export const s1 = ok.implement({ methods: { keyed: () => ({ n: 1 }) } }); // refused: a method is missing
export const s2 = ok.implement({ methods: { keyed: () => ({ n: '1' }), free: () => 1 } }); // refused: wrong output
export const s3 = ok.implement({ methods: { keyed: () => ({ n: 1, extra: 1 }), free: () => 1 } }); // compiles: TypeScript cannot see a field too many here, so outputs are stripped at run time
export const s4 = ok.implement({ methods: { keyed: () => ({ n: 1 }), free: () => 1, more: () => 2 } }); // refused: unknown method
export const s5 = ok.implement({ tables: { t: table(I) }, methods: { free: () => 1, keyed: (i, ctx) => ctx.transact(async tx => ({ n: tx.t.get(i.sku) ? 1 : 0 })) } }); // refused: asynchronous transaction
export const s6 = ok.implement({ methods: { keyed: () => ({ n: 1 }), free: (_, ctx) => ctx.transact(() => 1) } }); // refused: transact without a key
export const s7 = ok.implement({ methods: { keyed: (_, ctx) => { throw ctx.fail.nope(); }, free: () => 1 } }); // refused: undeclared error
export const s8 = ok.implement({ methods: { keyed: () => ({ n: 1 }), free: (_, ctx) => ctx.call(ok).keyed({ sku: 1, tags: [] }).then(r => r.n) } }); // refused: wrong input of a call
export const s9 = ok.implement({ methods: { free: (_, ctx) => ctx.resources.db, keyed: () => ({ n: 1 }) }, resources: ({ onStop }) => { onStop(() => {}); return { db: 1 }; } }); // refused: methods before the resources they use
export const f = (api: Calls): unknown => api.call<typeof ok>('okk').free({ sku: '', tags: [] }); // refused: wrong name
const rows = table(I, { indexes: { bySku: row => row.sku } });
export const s10 = ok.implement({ tables: { t: rows }, methods: { free: async (_, ctx) => { for await (const [key] of ctx.tables.t.find('bySku', 'x')) return key.length; return 0; }, keyed: (_, ctx) => ctx.transact(tx => ({ n: [...tx.t.find('bySku', 'x')].length })) } }); // compiles: an index that the table has
export const s11 = ok.implement({ tables: { t: rows }, methods: { free: () => 1, keyed: (_, ctx) => ctx.transact(tx => ({ n: [...tx.t.find('byNobody', 'x')].length })) } }); // refused: unknown index
export const s12 = ok.implement({ tables: { t: table(I) }, methods: { free: () => 1, keyed: (_, ctx) => ctx.transact(tx => ({ n: [...tx.t.find('bySku', 'x')].length })) } }); // refused: a table without indexes
export const t1 = table(I, { indexes: { bySku: row => row.sk } }); // refused: index of a field that rows lack

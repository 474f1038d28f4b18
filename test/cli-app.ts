/** An app for tests of commands: services, a folder of them, and what a command prints for people or with `--json`. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { folderWith, prints, type Run, ran, tandem } from './running-app.ts';

export const hello = `
import { appendFileSync } from 'node:fs';
import { contract } from 'tandem';
import * as z from 'zod';
export const hello = contract('hello', {
  greet: { http: 'GET /hello/:name', input: z.object({ name: z.string() }), output: z.string() },
  slow: { http: 'GET /slow/:ms', input: z.object({ ms: z.coerce.number() }), output: z.number() },
});
export default hello.implement({
  config: z.object({ greeting: z.string().default('Hello') }),
  methods: {
    greet: ({ name }, ctx) => {
      ctx.logger.info('greeting', { whom: name });
      return ctx.config.greeting + ', ' + name + '!';
    },
    slow: async ({ ms }) => {
      appendFileSync(process.env.NOTES, process.pid + '\\n');
      await new Promise(done => setTimeout(done, ms));
      return process.pid;
    },
  },
});
`;

/** Its readers fail while the file `GATE_SHUT` is there. */
export const stock = `
import { existsSync } from 'node:fs';
import { contract, error, table, topic } from 'tandem';
import * as z from 'zod';
const Line = z.object({ sku: z.string(), qty: z.number() });
export const delivered = topic('stock.delivered', Line, { key: 'sku', partitions: 2 });
export const moved = topic('stock.moved', Line, { key: 'sku', partitions: 2 });
export const stock = contract('stock', {
  get: { key: 'sku', consistency: 'strong', input: z.object({ sku: z.string() }), output: z.number() },
  take: { key: 'sku', input: Line, output: z.number(), errors: { outOfStock: error(409, z.object({ left: z.number() })) } },
});
export default stock.implement({
  tables: { shelf: table(z.object({ qty: z.number() })) },
  partitions: 2,
  methods: {
    get: async ({ sku }, ctx) => (await ctx.tables.shelf.get(sku))?.qty ?? 0,
    take: ({ sku, qty }, ctx) => ctx.transact(tx => {
      const left = (tx.shelf.get(sku)?.qty ?? 0) - qty;
      if (left < 0) throw ctx.fail.outOfStock({ left: left + qty });
      tx.shelf.put(sku, { qty: left });
      return left;
    }),
  },
  subscriptions: {
    arrive: {
      topic: delivered,
      attempts: 2,
      handler: ({ sku, qty }, ctx) => {
        if (existsSync(process.env.GATE_SHUT)) throw new Error('the gate is shut');
        return ctx.transact(tx => tx.shelf.put(sku, { qty: (tx.shelf.get(sku)?.qty ?? 0) + qty }));
      },
    },
    move: {
      topic: moved,
      attempts: 1,
      onDead: 'park',
      handler: ({ sku, qty }, ctx) => {
        if (qty < 0 && existsSync(process.env.GATE_SHUT)) throw new Error('the gate is shut');
        return ctx.transact(tx => tx.shelf.put(sku, { qty: (tx.shelf.get(sku)?.qty ?? 0) * 10 + Math.abs(qty) }));
      },
    },
  },
});
`;

export interface CliApp {
  readonly folder: string;
  readonly data: string;
  /** Where `hello.slow` writes what it took on. */
  readonly notes: string;
  readonly gateShut: string;
  readonly here: { readonly cwd: string; readonly environment: Readonly<Record<string, string>> };
  /** `tandem up` of these files, until it is up. */
  up(...files: string[]): Promise<Run>;
  /** What a command printed for people; fails unless it ended with this code. */
  plain(code: number, ...args: string[]): Promise<string>;
  /** The one JSON value that it printed, with nothing beside it. */
  json<T>(code: number, ...args: string[]): Promise<T>;
}

export function cliApp(files: Readonly<Record<string, string>>): CliApp {
  const folder = folderWith(files);
  const data = join(folder, 'data');
  const notes = join(folder, 'notes');
  const gateShut = join(folder, 'gate-shut');
  const environment = { NOTES: notes, GATE_SHUT: gateShut, TANDEM_HELLO_GREETING: 'Good day' };
  const here = { cwd: folder, environment };
  const inApp = (args: readonly string[]): string[] => [...args, ...(args[0] === 'contract' ? [] : ['--data', data])];
  return {
    folder,
    data,
    notes,
    gateShut,
    here,
    async up(...services) {
      const app = tandem(['up', ...services, '--data', data, '--port', '0', '--json'], here);
      await prints(app, /"kind":"up"/);
      return app;
    },
    async plain(code, ...args) {
      const result = await ran(inApp(args), here);
      assert.equal(result.code, code, result.printed);
      return result.printed;
    },
    async json<T>(code: number, ...args: string[]) {
      const result = await ran([...inApp(args), '--json'], here);
      assert.equal(result.code, code, result.printed);
      assert.equal(result.said, '');
      return JSON.parse(result.out) as T;
    },
  };
}

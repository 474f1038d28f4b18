// `tandem gen proto` as a person and as CI runs it: what it writes, what it keeps in the lock, and when it refuses.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderWith, ran } from './running-app.ts';

const service = (input: string): string => `
import { contract, stream } from 'tandem';
import * as z from 'zod';
export const stock = contract('stock', {
  take: { public: true, input: z.object({ ${input} }), output: z.int() },
  live: { public: true, output: stream(z.int()) },
});
export default stock.implement({ methods: { take: () => 1, live: async function* () {} } });
`;
const folder = folderWith({
  'stock.ts': service('sku: z.string(), qty: z.int()'),
  'inner.ts': service('sku: z.string()').replaceAll('public: true, ', ''),
});
const file = join(folder, 'proto/stock.proto');

async function gen(code: number, ...args: string[]): Promise<string> {
  const result = await ran(['gen', ...args], { cwd: folder });
  assert.equal(result.code, code, result.printed);
  return result.printed;
}

test('gen proto says what it needs, and --check that nothing was written yet', async () => {
  const [unknown, inner, stale] = await Promise.all([
    gen(2, 'protobuf'),
    gen(1, 'proto', 'inner.ts'),
    gen(1, 'proto', 'stock.ts', '--check'),
  ]);
  assert.match(unknown, /does not know 'protobuf'; it knows: proto/);
  assert.match(inner, /nothing in inner\.ts is public/);
  assert.match(stale, /stock\.proto is not up to date[\s\S]*Run tandem gen proto/);
  assert.equal(existsSync(file), false);
});

test('gen proto keeps the numbers of fields in the lock; --check, contract check and doctor name what is amiss', async () => {
  assert.match(await gen(0, 'proto', 'stock.ts'), /Wrote proto\/stock\.proto\nWrote tandem\.lock\.json/);
  assert.match(readFileSync(file, 'utf8'), /rpc Live\(LiveRequest\) returns \(stream LiveResponse\);/);
  writeFileSync(join(folder, 'stock.ts'), service('note: z.string().optional(), qty: z.int(), sku: z.string()'));
  const [doctor, stale] = await Promise.all([
    ran(['doctor', 'stock.ts', '--port', '0'], { cwd: folder }),
    gen(1, 'proto', 'stock.ts', '--check', '--json'),
  ]);
  assert.match(
    doctor.printed,
    /✗ proto stock: no number is kept for TakeRequest\.note: run tandem gen proto stock\.ts/,
  );
  assert.deepEqual(JSON.parse(stale), {
    breaking: [],
    files: ['proto/stock.proto', 'tandem.lock.json'],
    stale: ['proto/stock.proto', 'tandem.lock.json'],
  });
  await gen(0, 'proto', 'stock.ts');
  assert.match(readFileSync(file, 'utf8'), /optional string note = 3;\n {2}int64 qty = 2;\n {2}string sku = 1;/);
  writeFileSync(join(folder, 'stock.ts'), service('sku: z.string(), qty: z.string()'));
  const [broken, checked] = await Promise.all([
    gen(1, 'proto', 'stock.ts', '--check'),
    ran(['contract', 'check', 'stock.ts'], { cwd: folder }),
  ]);
  assert.match(broken, /✗ stock\.TakeRequest\.qty: the type changed from int64 to string/);
  assert.match(broken, /✗ stock\.TakeRequest\.note: the field was removed/);
  assert.deepEqual([checked.code, checked.printed.includes('✗ stock.TakeRequest.qty: the type changed')], [1, true]);
  await gen(0, 'proto', 'stock.ts');
  assert.match(readFileSync(file, 'utf8'), /reserved 2, 3;\n {2}string sku = 1;\n {2}string qty = 4;/);
  await ran(['contract', 'check', 'stock.ts', '--write'], { cwd: folder });
  assert.match(await gen(0, 'proto', 'stock.ts', '--check'), /Everything is up to date/);
});

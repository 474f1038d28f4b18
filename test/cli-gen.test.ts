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
const folder = folderWith({ 'stock.ts': service('sku: z.string(), qty: z.int()') });
const file = join(folder, 'proto/stock.proto');

async function gen(code: number, ...args: string[]): Promise<string> {
  const result = await ran(['gen', ...args], { cwd: folder });
  assert.equal(result.code, code, result.printed);
  return result.printed;
}

test('gen proto says what it needs, and --check that nothing was written yet', async () => {
  assert.match(await gen(2, 'protobuf'), /does not know 'protobuf'; it knows: proto/);
  assert.match(
    await gen(1, 'proto', 'stock.ts', '--check'),
    /stock\.proto is not up to date[\s\S]*Run tandem gen proto/,
  );
  assert.equal(existsSync(file), false);
});

test('gen proto keeps the numbers of fields in the lock; --check names what breaks clients', async () => {
  assert.match(await gen(0, 'proto', 'stock.ts'), /Wrote proto\/stock\.proto\nWrote tandem\.lock\.json/);
  assert.match(await gen(0, 'proto', 'stock.ts', '--check'), /Everything is up to date/);
  assert.match(readFileSync(file, 'utf8'), /rpc Live\(LiveRequest\) returns \(stream LiveResponse\);/);
  writeFileSync(join(folder, 'stock.ts'), service('note: z.string().optional(), qty: z.int(), sku: z.string()'));
  const doctor = await ran(['doctor', 'stock.ts', '--port', '0'], { cwd: folder });
  assert.match(
    doctor.printed,
    /✗ proto stock: no number is kept for TakeRequest\.note: run tandem gen proto stock\.ts/,
  );
  const stale = JSON.parse(await gen(1, 'proto', 'stock.ts', '--check', '--json')) as Record<string, unknown>;
  assert.deepEqual(stale, {
    breaking: [],
    files: ['proto/stock.proto', 'tandem.lock.json'],
    stale: ['proto/stock.proto', 'tandem.lock.json'],
  });
  await gen(0, 'proto', 'stock.ts');
  assert.match(readFileSync(file, 'utf8'), /optional string note = 3;\n {2}int64 qty = 2;\n {2}string sku = 1;/);
  writeFileSync(join(folder, 'stock.ts'), service('sku: z.string(), qty: z.string()'));
  const broken = await gen(1, 'proto', 'stock.ts', '--check');
  assert.match(broken, /✗ stock\.TakeRequest\.qty: the type changed from int64 to string/);
  assert.match(broken, /✗ stock\.TakeRequest\.note: the field was removed/);
});

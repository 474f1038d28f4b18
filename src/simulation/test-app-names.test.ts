import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import type { SystemCode, TandemError } from '../core/errors.ts';
import { fake, testApp } from './test-app.ts';

const stock = contract('stock', { left: { input: z.object({ sku: z.string() }), output: z.int() } });
const prices = contract('prices', { of: { input: z.object({ sku: z.string() }), output: z.int() } });
const service = stock.implement({
  config: z.object({ start: z.int().default(5) }),
  resources: () => ({ unit: 'pieces' }),
  methods: { left: async ({ sku }, ctx) => ctx.config.start + (await ctx.call(prices).of({ sku })) },
});
const cheap = fake(prices, { of: () => 1 });

/** Refused with this code, and the message and the details name what was probably meant. */
const near =
  (code: SystemCode, ...names: string[]) =>
  (thrown: TandemError) => {
    assert.equal(thrown.code, code, thrown.message);
    assert.deepEqual(thrown.details?.didYouMean, names);
    for (const name of names) assert.match(thrown.message, new RegExp(`did you mean .*${name}`));
    return true;
  };

test('misspelt names in the options are refused with the near name, before anything starts', async () => {
  let opened = 0;
  const counting = stock.implement({
    resources: () => ({ opened: ++opened }),
    methods: { left: () => 0 },
  });
  const start = (options: Parameters<typeof testApp>[1]) => testApp([counting], { fakes: [cheap], ...options });
  await assert.rejects(start({ instances: { stok: 3 } }), near('INVALID', 'stock'));
  await assert.rejects(start({ config: { stcok: { start: 1 } } }), near('INVALID', 'stock'));
  await assert.rejects(start({ resources: { price: {} } }), near('INVALID', 'prices'));
  await assert.rejects(start({ instances: { warehouse: 1 } }), (thrown: TandemError) => {
    assert.match(thrown.message, /'warehouse'.*known: stock, prices/);
    return true;
  });
  await assert.rejects(start({ instances: { stock: 1.5 } }), { code: 'INVALID' });
  assert.equal(opened, 0);
});

test('a fake whose method its contract lacks is refused with the near name', () => {
  const methods = { off: () => 1 } as unknown as { of: () => number };
  assert.throws(() => fake(prices, methods), near('INVALID', 'of'));
});

test('a fake of a misspelt contract shows at the call: there is no such service, and the near name is the fake', async () => {
  const typo = contract('price', { of: { input: z.object({ sku: z.string() }), output: z.int() } });
  await using app = await testApp([service], { fakes: [fake(typo, { of: () => 1 })] });
  await assert.rejects(app.call(stock).left({ sku: 'a' }), near('NOT_FOUND', 'price'));
});

test('a fake beside the service that it stands for is refused', async () => {
  await assert.rejects(testApp([service], { fakes: [fake(stock, { left: () => 0 })] }), {
    code: 'CONFIG',
    message: /two services are named 'stock'/,
  });
});

test('kill, start, cut and heal refuse names that are not there', async () => {
  await using app = await testApp([service], { fakes: [cheap], instances: { stock: 2 } });
  await assert.rejects(app.kill('stocks'), near('NOT_FOUND', 'stock'));
  await assert.rejects(app.start('prises'), near('NOT_FOUND', 'prices'));
  await assert.rejects(app.kill(service, 2), { code: 'NOT_FOUND', message: /no instance 2 of 'stock'.* it has 2/ });
  await assert.rejects(app.start(service), { code: 'INVALID', message: /stock-1 is running/ });
  assert.throws(() => app.cut('stok-1', 'engine'), near('NOT_FOUND', 'stock-1', 'stock-2'));
  assert.throws(() => app.cut('stock', 'engine'), near('NOT_FOUND', 'stock-1', 'stock-2'));
  assert.throws(() => app.cut('stock-1', 'engin'), near('NOT_FOUND', 'engine'));
  assert.throws(() => app.heal('prices', '*'), near('NOT_FOUND', 'prices-1'));
  assert.throws(() => (app.heal as (a: string) => void)('stock-1'), { code: 'INVALID', message: /two names of a cut/ });
  assert.equal(await app.call(stock).left({ sku: 'a' }), 6, 'nothing was cut or killed');
});

test('config and fakes are what the service sees, defaults filled in, and fakes answer over the network', async () => {
  const asked: string[] = [];
  const own = fake(prices, {
    of: ({ sku }, ctx) => {
      asked.push(`${sku} by ${ctx.caller.service}`);
      return 10;
    },
  });
  await using app = await testApp([service], { config: { stock: { start: 100 } }, fakes: [own] });
  assert.equal(await app.call(stock).left({ sku: 'a' }), 110);
  assert.deepEqual(asked, ['a by stock']);
  await assert.rejects(testApp([service], { config: { stock: { start: 'many' } }, fakes: [own] }), {
    code: 'CONFIG',
    message: /start.*TANDEM_STOCK_START/,
  });
});

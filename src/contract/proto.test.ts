import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import type { AnySchema } from '../core/schema.ts';
import { contract } from './contract.ts';
import { describeService } from './describe.ts';
import type { Descriptor } from './descriptor.ts';
import { stream } from './method.ts';
import { protoOf } from './proto-build.ts';
import { lockOf, type ProtoLock, unlocked } from './proto-lock.ts';
import { snake } from './proto-names.ts';
import { protoText } from './proto-text.ts';

const nothing = (): never => {
  throw new Error('never called');
};

function describing(input: AnySchema, name = 'shop.v2'): Descriptor {
  const shop = contract(name, { put: { public: true, input } });
  return describeService(shop.implement({ methods: { put: nothing as never } }));
}

function lockAfter(...edits: readonly AnySchema[]): ProtoLock {
  let lock: ProtoLock | undefined;
  for (const edit of edits) lock = lockOf(protoOf(describing(edit), lock).file, lock);
  return lock!;
}

function breaks(after: AnySchema, ...before: readonly AnySchema[]): string[] {
  return protoOf(describing(after), lockAfter(...before)).breaks.map(({ where, what }) => `${where}: ${what}`);
}

function fields(schema: AnySchema, lock?: ProtoLock): Record<string, number> {
  const [message] = protoOf(describing(schema), lock).file.messages;
  return Object.fromEntries(message!.fields.map(({ name, number }) => [name, number]));
}

const base = z.object({ sku: z.string(), qty: z.int(), size: z.enum(['s', 'm']) });

test('a lock in which two fields have one number is refused, by name', () => {
  const lock: ProtoLock = {
    methods: {},
    enums: {},
    messages: { PutRequest: { fields: { sku: '1 string', qty: '1 int64' } } },
  };
  assert.throws(() => protoOf(describing(base), lock), /PutRequest\.qty and sku both have the number 1/);
});

test('what breaks clients of today is named', () => {
  const where = 'shop.v2.PutRequest';
  assert.deepEqual(breaks(base.omit({ qty: true }), base), [`${where}.qty: the field was removed`]);
  assert.deepEqual(breaks(base.extend({ qty: z.string() }), base), [
    `${where}.qty: the type changed from int64 to string`,
  ]);
  assert.deepEqual(breaks(base.extend({ qty: z.array(z.int()) }), base), [
    `${where}.qty: the type changed from int64 to repeated int64`,
  ]);
  assert.deepEqual(breaks(base.extend({ size: z.enum(['s']) }), base), [
    'shop.v2.PutRequestSize.m: the value was removed',
  ]);
  assert.deepEqual(breaks(base.extend({ size: z.string() }), base), [
    `${where}.size: the type changed from PutRequestSize to string`,
  ]);
  assert.deepEqual(breaks(base.extend({ n: z.int() }), base, base.extend({ n: z.int32() })), [
    `${where}.n: the type changed from int32 to int64`,
  ]);
  const streaming = contract('shop.v2', { put: { public: true, input: stream(base) } });
  const descriptor = describeService(streaming.implement({ methods: { put: nothing as never } }));
  assert.match(
    protoOf(descriptor, lockAfter(base)).breaks[0]!.what,
    /from \(PutRequest -> PutResponse\) to \(stream PutRequest/,
  );
});

test('what does not break them passes', () => {
  const passing: readonly AnySchema[] = [
    base,
    base.extend({ note: z.string() }),
    base.extend({ size: z.enum(['l', 'm', 's']) }),
    base.extend({ qty: z.int().optional() }),
    base.extend({ qty: z.int().nullable() }),
    base.extend({ sku: z.string().nullish() }),
    base.extend({ qty: z.int32() }),
    base.extend({ sku: z.enum(['a', 'b']) }),
  ];
  for (const after of passing) assert.deepEqual(breaks(after, base), []);
});

test('a number stays with its field, through new ones, another order, and a field that is gone', () => {
  const moved = z.object({ note: z.string(), size: base.shape.size, qty: z.int(), sku: z.string() });
  assert.deepEqual(fields(base), { sku: 1, qty: 2, size: 3 });
  assert.deepEqual(fields(moved, lockAfter(base)), { note: 4, size: 3, qty: 2, sku: 1 });
  const without = base.omit({ size: true, qty: true });
  const again = lockAfter(base, without);
  assert.deepEqual(fields(base, again), { sku: 1, qty: 4, size: 5 });
  assert.match(protoText(protoOf(describing(without), again).file), /reserved 2, 3;/);
  assert.deepEqual(fields(base.extend({ qty: z.string() }), lockAfter(base)), { sku: 1, qty: 4, size: 3 });
});

test('values of an enum keep their numbers too', () => {
  const after = base.extend({ size: z.enum(['l', 'm', 's']) });
  const { file } = protoOf(describing(after), lockAfter(base));
  assert.deepEqual(
    file.enums[0]!.values.map(({ name, number }) => [name, number]),
    [
      ['PUT_REQUEST_SIZE_UNSPECIFIED', 0],
      ['PUT_REQUEST_SIZE_L', 3],
      ['PUT_REQUEST_SIZE_M', 2],
      ['PUT_REQUEST_SIZE_S', 1],
    ],
  );
});

test('a field keeps the type that clients know, as long as it carries what the schema says', () => {
  const text = protoText(protoOf(describing(base.extend({ qty: z.int32() })), lockAfter(base)).file);
  assert.match(text, /int64 qty = 2;/);
});

test('what the lock does not hold yet is listed', () => {
  const { file } = protoOf(describing(base.extend({ note: z.string() })), lockAfter(base));
  assert.deepEqual(unlocked(file, lockAfter(base)), ['PutRequest.note']);
  assert.deepEqual(unlocked(protoOf(describing(base)).file, lockAfter(base)), []);
});

test('numbers that protobuf keeps for itself are passed over', () => {
  const lock: ProtoLock = {
    methods: {},
    enums: {},
    messages: { PutRequest: { fields: { sku: '18999 string' } } },
  };
  assert.deepEqual(fields(base, lock), { sku: 18_999, qty: 20_000, size: 20_001 });
});

test('names are those that protobuf would give', () => {
  const cases = {
    orderId: 'order_id',
    orderID: 'order_id',
    HTTPServer: 'http_server',
    'x-y': 'x_y',
    _id: 'id',
    '1st': 'n1st',
    é: 'n',
  };
  for (const [name, expected] of Object.entries(cases)) assert.equal(snake(name), expected, name);
  const { file } = protoOf(describing(base, 'shop-orders.v2'));
  assert.deepEqual(
    [file.package, file.serviceName, file.name],
    ['shop_orders.v2', 'shop_orders.v2.ShopOrders', 'shop_orders/v2.proto'],
  );
});

test('a contract of which nothing is public has no methods', () => {
  const inner = contract('inner', { put: { input: base }, hook: { http: 'POST /hook', raw: true } });
  const built = protoOf(
    describeService(inner.implement({ methods: { put: nothing as never, hook: nothing as never } })),
  );
  assert.deepEqual(built.file.methods, []);
});

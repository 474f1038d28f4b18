/** What must not be stored, sent or used as a key, as a user's code would do it: refused where it was written, and nobody else is hurt. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as z from 'zod';
import { createClient } from '../client/index.ts';
import { TandemError } from '../core/errors.ts';
import { contract, table, topic } from '../index.ts';
import { openRealApp, type RealApp } from './fixture.test.ts';

class Money {
  readonly cents = 5;
}
const within: Record<string, unknown> = {};
within['self'] = within;
let deep: unknown = 1;
for (let depth = 0; depth < 20_000; depth++) deep = [deep];

/** Name, value, what the refusal says. */
const bad: Readonly<Record<string, readonly [value: unknown, says: RegExp]>> = {
  nan: [{ v: Number.NaN }, /v: NaN is no number to store; use null/],
  infinity: [{ list: [1, -Infinity] }, /list\.1: -Infinity is no number/],
  bigint: [{ v: 2n ** 80n }, /v: a bigint of more than 64 bits; use a string/],
  map: [{ v: new Map([['a', 1]]) }, /v: a Map would not come back as one; use plain objects/],
  set: [{ v: new Set([1]) }, /v: a Set would not come back/],
  instance: [{ a: { price: new Money() } }, /a\.price: a Money would not come back as one/],
  error: [{ v: new Error('x') }, /v: a Error would not come back/],
  floats: [{ v: new Float64Array(2) }, /v: a Float64Array would not/],
  promise: [{ v: Promise.resolve(1) }, /v: a Promise would not/],
  invalidDate: [{ v: new Date(Number.NaN) }, /v: an invalid Date/],
  fn: [{ v: () => 1 }, /v: a function cannot be stored/],
  symbol: [{ v: Symbol('x') }, /v: a symbol cannot be stored/],
  proto: [JSON.parse('{"a":{"__proto__":{"admin":true}}}'), /a: a property named '__proto__'/],
  surrogate: [{ v: 'a\ud800b' }, /v: text with half a character .*toWellFormed/],
  surrogateName: [{ '\udc00': 1 }, /half a character/],
  cyclic: [within, /nested deeper than 100, or within itself/],
  deep: [{ deep }, /nested deeper than 100/],
};
/** Goes in and comes out as it was. */
const good: Readonly<Record<string, unknown>> = {
  nothing: null,
  plain: { a: [1, -0.5, 'ü😀', true, null], constructor: { prototype: 1 }, toString: 'x', big: 2 ** 53 - 1 },
  date: { at: new Date(5) },
  bytes: { v: new Uint8Array([1, 2]) },
  int64: { v: 2n ** 60n },
};

// Schemas that take everything, as a library's own may.
const anything = z.any();
const Key = z.object({ key: z.string(), kind: z.string() });
const happened = topic('bad.happened', anything, { key: 'key' as never, partitions: 1 });
const taker = contract('taker', { take: { input: anything, output: anything } });
const keeper = contract('keeper', {
  put: { key: 'key', public: true, input: Key },
  get: { key: 'key', public: true, consistency: 'strong', input: Key, output: z.string() },
  emit: { key: 'key', public: true, input: Key },
  publish: { key: 'key', public: true, input: Key },
  result: { key: 'key', public: true, input: Key },
  send: { key: 'key', public: true, input: Key },
  keyed: { key: 'key', public: true, input: Key },
  idempotent: { key: 'key', public: true, input: Key },
});
const valueFor = (kind: string): unknown => (Object.hasOwn(bad, kind) ? bad[kind]![0] : good[kind]);
let returned: unknown;
const service = keeper.implement({
  tables: { rows: table(anything), typed: table(z.object({ n: z.number() })) },
  partitions: 1,
  methods: {
    put: ({ key, kind }, ctx) => ctx.transact(tx => tx.rows.put(key, valueFor(kind))),
    get: async ({ key }, ctx) => {
      returned = await ctx.tables.rows.get(key);
      return typeof returned;
    },
    emit: ({ key, kind }, ctx) => ctx.transact(tx => tx.emit(happened, { key, value: valueFor(kind) })),
    publish: ({ key, kind }, ctx) => ctx.publish(happened, { key, value: valueFor(kind) }),
    result: async ({ key, kind }, ctx) => {
      await ctx.transact(tx => {
        tx.rows.put(key, 'a result came with it');
        return valueFor(kind);
      });
    },
    send: async ({ kind }, ctx) => {
      await ctx.call(taker).take({ value: valueFor(kind) });
    },
    keyed: async ({ kind }, ctx) => {
      const keys: Record<string, unknown> = {
        empty: '',
        number: 5,
        object: { toString: () => 'x' },
        missing: undefined,
        long: 'k'.repeat(1025),
        surrogate: 'k\ud800',
        typed: 'k',
      };
      if (kind === 'event')
        return ctx.transact(tx => {
          for (const key of [undefined, '', null, {}, 'k'.repeat(2000)])
            assert.throws(() => tx.emit(happened, { key }), { name: 'TandemError' });
          throw new AllRefused();
        });
      if (kind === 'read') {
        await ctx.tables.rows.get(keys['number'] as string);
        return;
      }
      return ctx.transact(tx =>
        kind === 'typed'
          ? tx.typed.put('k', { n: 'one' as unknown as number })
          : kind === 'undefined'
            ? tx.rows.put('k', undefined)
            : tx.rows.put(keys[kind] as string, 1),
      );
    },
    idempotent: async ({ kind }, ctx) => {
      await ctx.call(keeper).put({ key: 'a', kind: 'plain' }, { idempotencyKey: 'i'.repeat(Number(kind)) });
    },
  },
  subscriptions: { hear: { topic: happened, handler: () => {} } },
});
const other = taker.implement({ methods: { take: input => input } });
class AllRefused extends TandemError {
  constructor() {
    super('CONFLICT', 'all were refused');
  }
}

let app: RealApp;
before(async () => {
  app = await openRealApp({ services: [service, other] });
});
after(() => app[Symbol.asyncDispose]());

interface Answered {
  readonly code: string;
  readonly message: string;
}
async function call(method: keyof typeof keeper.methods, kind: string): Promise<Answered> {
  const answer = await createClient({ url: app.urls[0]! }).try(keeper)[method]({ key: 'a', kind });
  return answer.ok ? { code: 'ok', message: '' } : answer.error;
}
async function unhurt(): Promise<void> {
  assert.equal((await call('put', 'plain')).code, 'ok');
  assert.equal((await call('get', 'plain')).code, 'ok');
  assert.deepEqual(returned, good['plain']);
}

for (const method of ['put', 'emit', 'publish', 'result'] as const)
  test(`${method}: what would not come back as it was is INVALID, with the place and what to use instead`, async () => {
    for (const [kind, [, says]] of Object.entries(bad)) {
      const { code, message } = await call(method, kind);
      assert.deepEqual([kind, code], [kind, 'INVALID'], message);
      assert.match(message, says);
    }
    await unhurt();
    assert.equal(({} as { admin?: boolean }).admin, undefined);
  });

test('what is plain comes back as it was', async () => {
  for (const [kind, value] of Object.entries(good)) {
    assert.deepEqual(await call('put', kind), { code: 'ok', message: '' }, kind);
    await call('get', kind);
    assert.deepEqual(returned, value);
    assert.equal((await call('emit', kind)).code, 'ok', kind);
    assert.equal((await call('result', kind)).code, 'ok', kind);
  }
});

test('the input of a call that cannot cross the link is refused at the caller, and the callee goes on', async () => {
  for (const kind of ['map', 'set', 'fn', 'symbol', 'proto', 'cyclic', 'deep', 'bigint', 'floats']) {
    const { code, message } = await call('send', kind);
    assert.deepEqual([kind, code], [kind, 'INVALID'], message);
  }
  assert.equal((await call('send', 'plain')).code, 'ok');
  await unhurt();
});

test('keys and rows of a wrong type, too long, or with half a character are refused', async () => {
  for (const [kind, expected, says] of [
    ['empty', 'INVALID', /a key of table 'rows' must be a non-empty string/],
    ['number', 'INVALID', /not number/],
    ['object', 'INVALID', /not object/],
    ['missing', 'INVALID', /not undefined/],
    ['surrogate', 'INVALID', /half a character.*toWellFormed/],
    ['long', 'TOO_LARGE', /longer than 1024 bytes; use its hash/],
    ['typed', 'INVALID', /row 'k' of table 'typed' is not valid: n: .*expected number/],
    ['undefined', 'INVALID', /row 'k' of table 'rows' is undefined; use delete/],
    ['read', 'INVALID', /not number/],
    ['event', 'CONFLICT', /all were refused/],
  ] as const) {
    const { code, message } = await call('keyed', kind);
    assert.deepEqual([kind, code], [kind, expected], message);
    assert.match(message, says);
  }
  await unhurt();
});

test('an idempotency key that no store could keep is refused, and the partition goes on', async () => {
  const { code, message } = await call('idempotent', '5000');
  assert.equal(code, 'INVALID', message);
  assert.match(message, /idempotency key.*at most 512 bytes/);
  assert.equal((await call('idempotent', '500')).code, 'ok');
  await unhurt();
});

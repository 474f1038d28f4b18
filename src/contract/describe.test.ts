import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import type { AnySchema } from '../core/schema.ts';
import { breakingChanges } from './compatibility.ts';
import { contract } from './contract.ts';
import { describeService } from './describe.ts';
import type { Descriptor } from './descriptor.ts';
import { didYouMean, editDistance } from './did-you-mean.ts';

function of(input: AnySchema, output: AnySchema = z.string()): Descriptor {
  return describeService(
    contract('s', { m: { input, output, public: true } }).implement({ methods: { m: () => '' as never } }),
  );
}

const unfit: Record<string, [AnySchema, RegExp]> = {
  date: [z.object({ a: z.object({ at: z.date() }) }), /s\.m input\.a\.at: .*Date.*z\.iso\.datetime/s],
  bigint: [z.object({ n: z.bigint().optional() }), /s\.m input\.n: .*BigInt.*string for bigint/s],
  map: [z.object({ list: z.array(z.map(z.string(), z.int())) }), /s\.m input\.list\.\[\]: .*Map.*z\.record/s],
  set: [z.object({ tags: z.set(z.string()) }), /s\.m input\.tags: .*array for sets/s],
};
for (const [name, [schema, message]] of Object.entries(unfit)) {
  test(`a ${name} in a schema is refused with the field and the alternative`, () => {
    assert.throws(() => of(schema), { code: 'UNSUPPORTED', message });
  });
}

test('a transform is refused in an output and fine in an input', () => {
  const schema = z.object({ n: z.string().transform(Number) });
  assert.throws(() => of(z.object({}), schema), { code: 'UNSUPPORTED', message: /s\.m output\.n: .*transform/s });
  assert.ok(of(schema));
});

test('defaults are decided once, and equal services have equal hashes', () => {
  const I = z.object({ sku: z.string() });
  const make = () =>
    contract('s', {
      read: { http: 'GET /x/:sku', input: I },
      write: { key: 'sku', input: I },
      plain: { timeout: '1s' },
      look: { consistency: 'eventual' },
    }).implement({
      methods: { read: () => {}, write: () => {}, plain: { handler: () => {}, fallback: () => {} }, look: () => {} },
    });
  const { methods, keyspace, hash } = describeService(make());
  const [read, write, plain, look] = methods;
  assert.deepEqual([read!.reads, read!.public, read!.idempotent, read!.timeoutMs], [true, true, true, 5000]);
  assert.deepEqual([write!.reads, write!.public, write!.idempotent, write!.key], [false, false, true, ['sku']]);
  assert.deepEqual([plain!.idempotent, plain!.timeoutMs, plain!.fallback], [false, 1000, true]);
  assert.deepEqual([look!.reads, look!.idempotent], [true, true], 'what only reads may be repeated');
  assert.equal(keyspace, undefined);
  assert.equal(hash, describeService(make()).hash);
  assert.deepEqual(JSON.parse(JSON.stringify(describeService(make()).methods)), methods, 'it is plain JSON');
});

const base = z.object({ a: z.string(), b: z.int().max(10).optional() });
const changes: [string, AnySchema, AnySchema, 'input' | 'output', RegExp | undefined][] = [
  ['an optional input field', base, base.extend({ c: z.string().optional() }), 'input', undefined],
  ['an output field', base, base.extend({ c: z.string() }), 'output', undefined],
  ['a wider input', base, base.extend({ b: z.number().max(20).optional() }), 'input', undefined],
  ['a required input field', base, base.extend({ c: z.string() }), 'input', /input\.c: the field became required/],
  ['a removed input field', base, base.omit({ b: true }), 'input', /input\.b: the field was removed/],
  ['a removed output field', base, base.omit({ a: true }), 'output', /output\.a: the field was removed/],
  ['another type', base, base.extend({ a: z.int() }), 'input', /input\.a: no longer takes string/],
  ['a narrower bound', base, base.extend({ b: z.int().max(5).optional() }), 'input', /input\.b: 'maximum'/],
  ['a nullable output', base, base.extend({ a: z.string().nullable() }), 'output', /output\.a: /],
  ['fewer input values', z.enum(['x', 'y']), z.enum(['x']), 'input', /no longer takes "y"/],
  ['more input values', z.enum(['x']), z.enum(['x', 'y']), 'input', undefined],
];
for (const [name, before, after, side, expected] of changes) {
  test(`${name} ${expected ? 'breaks' : 'passes'}`, () => {
    const [old, next] =
      side === 'input' ? [of(before), of(after)] : [of(z.object({}), before), of(z.object({}), after)];
    const found = breakingChanges(old, next).map(({ where, what }) => `${where}: ${what}`);
    if (expected) assert.match(found.join('\n'), expected);
    else assert.deepEqual(found, []);
    assert.deepEqual(breakingChanges(old, old), []);
  });
}

test('a removed method breaks, a new one passes', () => {
  const one = describeService(contract('s', { a: {} }).implement({ methods: { a: () => {} } }));
  const two = describeService(contract('s', { a: {}, b: {} }).implement({ methods: { a: () => {}, b: () => {} } }));
  assert.deepEqual(breakingChanges(one, two), []);
  assert.deepEqual(breakingChanges(two, one), [{ where: 's.b', what: 'the method was removed' }]);
});

test('near names are found, far ones are not', () => {
  assert.equal(editDistance('abcd', 'acbd'), 1);
  assert.deepEqual(didYouMean('resreve', ['get', 'reserve', 'release']), ['reserve', 'release'].slice(0, 1));
  assert.deepEqual(didYouMean('zzz', ['get', 'reserve']), []);
});

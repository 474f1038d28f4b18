import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { createFileRegistry, fromBinary, fromJson, type JsonValue, toBinary, toJson } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import { error, stream } from '../contract/method.ts';
import { protoOf } from '../contract/proto-build.ts';
import { type ProtoFile, type ProtoMessage, structFile } from '../contract/proto-file.ts';
import { protoText } from '../contract/proto-text.ts';
import { seededRandom } from '../core/random.ts';
import type { AnySchema } from '../core/schema.ts';
import { decode, encode } from './proto-codec.ts';
import { fileDescriptor } from './proto-descriptor.ts';

const Tree = z.object({
  v: z.int(),
  get kids() {
    return z.array(Tree);
  },
});
const Line = z.object({ sku: z.string(), qty: z.int32() }).meta({ id: 'Line' });
const Shape = z.discriminatedUnion('type', [
  z.object({ type: z.literal('circle'), radius: z.number() }),
  z.object({ type: z.literal('box'), width: z.number(), note: z.string().optional() }),
]);
const All = z.object({
  whole: z.int(),
  small: z.int32(),
  large: z.uint32(),
  orderID: z.number().optional(),
  text: z.string(),
  orNull: z.string().nullable(),
  both: z.string().nullish(),
  size: z.enum(['s', 'extra-large']),
  sizeOrNull: z.enum(['s', 'm']).nullable(),
  kind: z.literal('all'),
  counts: z.record(z.string(), z.int()),
  pair: z.tuple([z.string(), z.int()]),
  blob: z.base64(),
  at: z.iso.datetime(),
  any: z.any(),
  holes: z.array(z.string().nullable()),
  grid: z.array(z.array(z.int())),
  lines: z.array(Line),
  byName: z.record(z.string(), z.array(Line)),
  tree: Tree,
  shape: Shape,
  mixed: z.union([z.string(), z.int(), Line]),
  flags: z.array(z.boolean()),
  _id: z.string(),
  'x-y': z.boolean(),
  xY: z.boolean(),
  listOrNull: z.array(z.int()).nullable(),
});
const wide = contract('wide-one.v2', {
  all: { public: true, input: All, output: All, errors: { outOfStock: error(409, z.object({ left: z.int() })) } },
  text: { public: true, input: z.object({}), output: z.string() },
  maybe: { public: true, output: Line.nullable() },
  many: { public: true, input: stream(Line), output: stream(z.array(Line)) },
  shape: { public: true, input: Shape, output: Shape },
  loose: { public: true, input: z.looseObject({ a: z.int() }), output: z.json() },
  record: { public: true, output: z.record(z.string(), z.string()) },
  names: {
    public: true,
    input: z.looseObject({
      foo1: z.int(),
      foo_1: z.int(),
      fooBar: z.int(),
      foobar: z.int(),
      kind: z.int(),
      additionalFields: z.int(),
    }),
    output: z.enum(['ab', 'a_b', 'A-B', '', 'unspecified', 'é']),
  },
});
const nothing = (): never => {
  throw new Error('never called');
};
const methods = { all: nothing, text: nothing, maybe: nothing, many: nothing, shape: nothing, loose: nothing };
const { file } = protoOf(
  describeService(wide.implement({ methods: { ...methods, record: nothing, names: nothing } as never })),
);

const sample = {
  whole: -9_007_199_254_740_991,
  small: -1,
  large: 4_294_967_295,
  orderID: 0,
  text: 'grüße 👋',
  orNull: null,
  both: null,
  size: 'extra-large',
  sizeOrNull: null,
  kind: 'all',
  counts: { a: 1, ['__proto__']: 2, zero: 0 },
  pair: ['a', 1],
  blob: 'AAEC',
  at: '2026-01-01T00:00:00Z',
  any: { deep: [1, 'two', null, { three: true }] },
  holes: ['a', null, ''],
  grid: [[1, 2], [], [300, -3]],
  lines: [{ sku: 'x'.repeat(200), qty: 0 }],
  byName: { a: [{ sku: 'y', qty: 5 }], none: [] },
  tree: {
    v: 1,
    kids: [
      { v: 2, kids: [] },
      { v: 0, kids: [{ v: 4, kids: [] }] },
    ],
  },
  shape: { type: 'box', width: 2.5 },
  mixed: 7,
  flags: [true, false],
  _id: '',
  'x-y': true,
  xY: false,
  listOrNull: [],
};

function message(name: string, of: ProtoFile = file): ProtoMessage {
  return of.messages.find(candidate => candidate.name === name)!;
}

const directory = mkdtempSync(join(tmpdir(), 'tandem-proto-'));
after(() => rmSync(directory, { recursive: true }));

/** What protoc makes of the printed files. */
function compiled(...files: readonly ProtoFile[]): Buffer {
  const sources = [structFile, ...files];
  for (const source of sources) {
    const path = join(directory, source.name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, protoText(source));
  }
  const out = join(directory, 'set.pb');
  execFileSync('protoc', ['-I', directory, `--descriptor_set_out=${out}`, ...sources.map(source => source.name)]);
  return readFileSync(out);
}

const skip = spawnSync('protoc', ['--version']).status === 0 ? false : 'needs protobuf-compiler';
test('what is printed compiles, and reflection shows the very file that protoc makes of it', { skip }, () => {
  const set = fromBinary(FileDescriptorSetSchema, compiled(file));
  assert.equal(set.file.length, 2);
  for (const [at, source] of [structFile, file].entries()) {
    const own = fromBinary(FileDescriptorSetSchema, setOf(source)).file[0]!;
    assert.deepEqual(own, set.file[at], source.name);
  }
});

/** A FileDescriptorSet is its files, each as field 1. */
function setOf(...files: readonly ProtoFile[]): Buffer {
  return Buffer.concat(
    files.map(source => {
      const bytes = fileDescriptor(source);
      const head = [10];
      for (let rest = bytes.length; ; rest >>>= 7) {
        head.push(rest > 127 ? (rest & 127) | 128 : rest);
        if (rest <= 127) break;
      }
      return Buffer.concat([Buffer.from(head), bytes]);
    }),
  );
}

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, setOf(structFile, file)));

test('every shape comes back as it was sent', () => {
  assert.deepEqual(decode(message('AllRequest'), encode(message('AllRequest'), sample)), sample);
  const cases: [string, unknown][] = [
    ['TextResponse', 'hello'],
    ['TextResponse', ''],
    ['MaybeResponse', null],
    ['MaybeResponse', { sku: 'a', qty: 0 }],
    ['ManyResponse', []],
    ['ManyResponse', [{ sku: 'a', qty: 1 }]],
    ['ShapeRequest', { type: 'circle', radius: 0 }],
    ['LooseRequest', { a: 1, b: 'two', c: [3] }],
    ['LooseResponse', { a: [1, null, { b: false }] }],
    ['NamesRequest', { foo1: 1, foo_1: 2, fooBar: 3, foobar: 4, kind: 5, additionalFields: 6, more: [7] }],
    ['NamesResponse', 'A-B'],
    ['NamesResponse', ''],
    ['RecordResponse', {}],
    ['RecordResponse', { a: '' }],
  ];
  for (const [name, value] of cases) assert.deepEqual(decode(message(name), encode(message(name), value)), value, name);
});

test('another implementation of protobuf reads the same, and writes what is read the same', () => {
  const type = registry.getMessage('wide_one.v2.AllRequest')!;
  const bytes = encode(message('AllRequest'), { ...sample, counts: { a: 1, zero: 0 } });
  const read = fromBinary(type, bytes);
  const json = toJson(type, read) as Record<string, JsonValue>;
  assert.equal(json.whole, '-9007199254740991');
  assert.equal(json.text, sample.text);
  assert.equal(json.size, 'ALL_REQUEST_SIZE_EXTRA_LARGE');
  assert.deepEqual(json.any, sample.any);
  assert.deepEqual(json.shape, { box: { type: 'box', width: 2.5 } });
  assert.deepEqual(json.grid, [{ values: ['1', '2'] }, {}, { values: ['300', '-3'] }]);
  const written = Buffer.from(toBinary(type, fromJson(type, json)));
  assert.deepEqual(decode(message('AllRequest'), written), { ...sample, counts: { a: 1, zero: 0 } });
});

test('what a client leaves out is left out, or the zero that proto3 gives it', () => {
  assert.deepEqual(decode(message('ShapeRequest'), Buffer.from([0x0a, 0])), { type: 'circle', radius: 0 });
  assert.equal(decode(message('ShapeRequest'), Buffer.alloc(0)), undefined);
  const empty = decode(message('AllRequest'), Buffer.alloc(0)) as Record<string, unknown>;
  assert.equal('size' in empty || 'tree' in empty || 'both' in empty || 'orderID' in empty, false);
  assert.deepEqual([empty.whole, empty.text, empty.lines, empty.orNull, empty.kind], [0, '', [], null, 'all']);
});

test('of a field that comes twice the last counts, and two parts of a message are one', () => {
  const twice = [
    { sku: 'a', qty: 1 },
    { sku: 'b', qty: 0 },
  ].map(line => encode(message('Line'), line));
  assert.deepEqual(decode(message('Line'), Buffer.concat(twice)), { sku: 'b', qty: 1 });
});

test('bytes that are no protobuf are INVALID, whatever they are', () => {
  const good = encode(message('AllRequest'), sample);
  const random = seededRandom(7);
  let refused = 0;
  for (let run = 0; run < 20_000; run++) {
    const bytes = Buffer.from(good.subarray(0, random.below(10) === 0 ? random.below(good.length) : good.length));
    for (let edit = random.below(4); edit >= 0 && bytes.length > 0; edit--)
      bytes[random.below(bytes.length)] = random.below(256);
    try {
      decode(message('AllRequest'), bytes);
    } catch (thrown) {
      assert.equal((thrown as { code?: string }).code, 'INVALID', String((thrown as Error).stack));
      refused++;
    }
  }
  assert(refused > 1000, `${refused} of 20000 were refused`);
  const deep = Buffer.from(Array.from({ length: 300 }, () => [0x12, 0x7f]).flat());
  assert.throws(() => decode(message('Line'), deep), /INVALID|well-formed/);
});

const answers: readonly [AnySchema, unknown][] = [
  [z.string(), 3],
  [z.object({ a: z.int() }), { a: 'b' }],
  [z.int(), 1.5],
];
test('an answer that is not of its contract is refused, not sent wrong', () => {
  for (const [schema, value] of answers) {
    const one = contract('one', { get: { public: true, output: schema } });
    const built = protoOf(describeService(one.implement({ methods: { get: nothing as never } })));
    assert.throws(() => encode(message('GetResponse', built.file), value), /does not have the shape of its contract/);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import type { AnySchema } from '../core/schema.ts';
import { contract } from './contract.ts';
import { describeService } from './describe.ts';
import type { Descriptor } from './descriptor.ts';
import { brokenTopics, saidBy, topicChanges } from './evolution.ts';
import { type Compatibility, topic } from './topic.ts';

interface Shape {
  readonly compatibility?: Compatibility;
  readonly key?: string;
  readonly partitions?: number;
  readonly service?: string;
  readonly publishes?: boolean;
}

/** A service that subscribes to, or publishes, one topic of this shape. */
function describing(
  schema: AnySchema,
  { service = 's', publishes = false, key = 'id', ...options }: Shape = {},
): Descriptor {
  const events = topic('t', schema, { key: key as never, ...options });
  return describeService(
    contract(service, {}).implement({
      methods: {},
      ...(publishes ? { publishes: [events] } : { subscriptions: { on: { topic: events, handler: () => {} } } }),
    }),
  );
}

function changes(before: AnySchema, after: AnySchema, shape: Shape = {}): string {
  const [old, now] = [saidBy(describing(before))[0]!, saidBy(describing(after, shape))[0]!];
  return topicChanges(old, now)
    .map(({ where, what }) => `${where}: ${what}`)
    .join('\n');
}

const base = z.object({ id: z.string(), n: z.int(), note: z.string().optional() });
const Inner = z.object({ a: z.string() });
const forward = "'s' as it was cannot read new events";
const backward = 'old events cannot be read';

const cases: readonly [name: string, before: AnySchema, after: AnySchema, finding: string][] = [
  ['an optional field', base, base.extend({ extra: z.string().optional() }), ''],
  ['a field with a default', base, base.extend({ extra: z.string().default('none') }), ''],
  ['a removed optional field', base, base.omit({ note: true }), ''],
  ['a description', base, base.extend({ n: z.int().describe('how many') }), ''],
  [
    'a default in a part of a union',
    z.object({ id: z.string(), u: z.union([Inner, z.string()]) }),
    z.object({ id: z.string(), u: z.union([Inner.extend({ b: z.int().default(1) }), z.string()]) }),
    '',
  ],
  [
    'a required field',
    base,
    base.extend({ extra: z.string() }),
    `topic t.extra: ${backward}: the field is needed, but not written`,
  ],
  [
    'a removed required field',
    base,
    base.omit({ n: true }),
    `topic t.n: ${forward}: the field is needed, but not written`,
  ],
  [
    'a field that may now be absent',
    base,
    base.extend({ n: z.int().optional() }),
    `topic t.n: ${forward}: the field is needed, but may be absent`,
  ],
  [
    'a field that is needed now',
    base,
    base.extend({ note: z.string() }),
    `topic t.note: ${backward}: the field is needed, but may be absent`,
  ],
  ['a wider type', base, base.extend({ n: z.number() }), `topic t.n: ${forward}: it may be number, which is not taken`],
  [
    'a nullable field',
    base,
    base.extend({ n: z.int().nullable() }),
    `topic t.n: ${forward}: it may be {"type":"null"}, which is not taken`,
  ],
  ['a narrower bound', base, base.extend({ n: z.int().max(9) }), `topic t.n: ${backward}: 'maximum' is narrower (9)`],
  [
    'one value more',
    z.object({ id: z.enum(['a']) }),
    z.object({ id: z.enum(['a', 'b']) }),
    `topic t.id: ${forward}: it may be "b", which is not taken`,
  ],
  [
    'a strict reader',
    base,
    z.strictObject({ id: z.string(), n: z.int() }),
    `topic t.note: ${backward}: the field is not known, and a strict object refuses it`,
  ],
  [
    'a member of a union less',
    z.object({ id: z.string(), u: z.union([Inner, z.int()]) }),
    z.object({ id: z.string(), u: Inner }),
    `topic t.u: ${backward}: it may be {"type":"integer"`,
  ],
  [
    'a field inside of a list',
    z.object({ id: z.string(), l: z.array(Inner) }),
    z.object({ id: z.string(), l: z.array(Inner.extend({ b: z.int() })) }),
    `topic t.l[].b: ${backward}: the field is needed, but not written`,
  ],
];
for (const [name, before, after, finding] of cases)
  test(`${name} ${finding === '' ? 'passes' : 'breaks'}`, () => {
    const found = changes(before, after);
    if (finding === '') assert.equal(found, '');
    else assert(found.startsWith(finding), found);
    assert.equal(changes(before, before), '');
  });

test('a topic says which kind of change it allows', () => {
  const needed = base.extend({ extra: z.string() });
  const gone = base.omit({ n: true });
  const passes = (compatibility: Compatibility): boolean[] =>
    [needed, gone].map(after => changes(base, after, { compatibility }) === '');
  assert.deepEqual(passes('full'), [false, false]);
  assert.deepEqual(passes('backward'), [false, true]);
  assert.deepEqual(passes('forward'), [true, false]);
  assert.deepEqual(passes('none'), [true, true]);
  assert.throws(
    () => topic('t', base, { key: 'id', compatibility: 'both' as never }),
    /'both' is none of full, backward/,
  );
});

test('another key or number of partitions is never the same topic', () => {
  assert.match(changes(base, base, { key: 'n', compatibility: 'none' }), /key changed from 'id' to 'n'/);
  assert.match(changes(base, base, { partitions: 3, compatibility: 'none' }), /partitions changed from 8 to 3/);
});

test('a subscriber of another service may read less than is published, but not need more', () => {
  const publisher = describing(base, { service: 'p', publishes: true });
  const reads = (schema: AnySchema): string[] =>
    brokenTopics([], [publisher, describing(schema)]).map(({ where, what }) => `${where}: ${what}`);
  assert.deepEqual(reads(z.object({ id: z.string() })), []);
  assert.deepEqual(reads(base.extend({ extra: z.string().optional() })), []);
  assert.deepEqual(reads(base.extend({ extra: z.string() })), [
    `topic t.extra: ${backward}: the field is needed, but not written`,
    "topic t.extra: 's' as it was cannot read new events: the field is needed, but not written",
  ]);
});

test('what a publisher changes is judged by what its subscribers were promised to get', () => {
  const subscriber = describing(z.object({ id: z.string(), n: z.int() }));
  const promised = [describing(base, { service: 'p', publishes: true }), subscriber];
  const now = (schema: AnySchema): string[] =>
    brokenTopics(promised, [describing(schema, { service: 'p', publishes: true })]).map(({ what }) => what);
  assert.deepEqual(now(base.omit({ note: true })), []);
  assert.deepEqual(now(base.omit({ n: true })), [
    "'p' as it was cannot read new events: the field is needed, but not written",
    `${forward}: the field is needed, but not written`,
  ]);
});

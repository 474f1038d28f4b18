import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract, error, secret, stream, type TandemError, table } from '../index.ts';
import { fake, testApp } from '../simulation/test-app.ts';

const code = (expected: string, words?: RegExp) => (thrown: TandemError) => {
  assert.equal(thrown.code, expected, thrown.message);
  if (words) assert.match(thrown.message, words);
  return true;
};

const odd = contract('odd', {
  never: { timeout: '2s', output: z.string() },
  nonError: { output: z.string() },
  extra: { output: z.object({ n: z.int() }) },
  broken: { output: z.int() },
  echo: { input: z.object({ list: z.array(z.object({ n: z.int() })) }), output: z.int() },
  unkeyed: { output: z.int() },
});
const oddService = odd.implement({
  tables: { rows: table(z.int()) },
  partitions: 2,
  methods: {
    never: () => new Promise<string>(() => {}),
    nonError: () => {
      throw 'just text';
    },
    extra: () => ({ n: 1, secretField: 'not yours' }) as { n: number },
    broken: () => 'no number' as unknown as number,
    echo: ({ list }) => list.length,
    unkeyed: (_input, ctx) => (ctx as unknown as { transact(body: () => number): Promise<number> }).transact(() => 1),
  },
});
test('a handler that never returns, throws a non-Error or breaks its contract fails clearly and alone', async () => {
  await using app = await testApp([oddService]);
  const calls = app.call(odd);
  await assert.rejects(calls.never(), code('DEADLINE_EXCEEDED'));
  await assert.rejects(calls.nonError(), code('INTERNAL', /non-Error was thrown: just text/));
  await assert.rejects(calls.broken(), code('INTERNAL', /output of odd\.broken is not valid/));
  await assert.rejects(calls.unkeyed(), code('UNSUPPORTED', /`key`/));
  assert.deepEqual(await calls.extra(), { n: 1 });
  assert.equal(await calls.echo({ list: [{ n: 1 }] }), 1);
});

test('wrong input names the field, and an unknown method the near one', async () => {
  await using app = await testApp([oddService]);
  await assert.rejects(app.call(odd).echo({ list: [{ n: 'x' as unknown as number }] }), (thrown: TandemError) => {
    assert.equal(thrown.code, 'INVALID');
    assert.deepEqual(
      ((thrown.details?.issues ?? []) as { path: string }[]).map(issue => issue.path),
      ['list.0.n'],
    );
    return true;
  });
  const other = contract('odd', { ecko: { output: z.int() } });
  await assert.rejects(app.call(other).ecko(), (thrown: TandemError) => {
    assert.equal(thrown.code, 'NOT_FOUND');
    assert.match(`${thrown.message} ${JSON.stringify(thrown.details)}`, /echo/);
    return true;
  });
});

test('an error that the contract does not declare is the service’s fault', async () => {
  const honest = contract('honest', { fail: { errors: { known: error(409) } } });
  const lying = honest.implement({
    methods: {
      fail: (_input, ctx) => {
        throw Object.assign(ctx.fail.known(), { code: 'invented' });
      },
    },
  });
  await using app = await testApp([lying]);
  await assert.rejects(app.call(honest).fail(), code('INTERNAL', /'invented', which its contract does not declare/));
});

test('a fallback answers for a failing method and for a callee that is away, and says that it is degraded', async () => {
  const shaky = contract('shaky', { own: { output: z.string() }, callers: { output: z.boolean() } });
  const gone = contract('gone', { ask: { output: z.int(), timeout: '500ms' } });
  const service = shaky.implement({
    methods: {
      own: { handler: () => Promise.reject(new Error('down')), fallback: () => 'transcript' },
      callers: async (_input, ctx) => {
        const answer = await ctx.try(gone).ask(undefined, { fallback: () => 0 });
        return answer.ok && answer.value === 0 && answer.meta.degraded;
      },
    },
  });
  await using app = await testApp([service], { fakes: [fake(gone, { ask: () => Promise.reject(new Error('away')) })] });
  const answer = await app.try(shaky).own();
  assert.ok(answer.ok && answer.value === 'transcript' && answer.meta.degraded);
  assert.equal(await app.call(shaky).callers(), true);
});

test('around runs around every method and may answer itself', async () => {
  const wrapped = contract('wrapped', { greet: { input: z.object({ name: z.string() }), output: z.string() } });
  const seen: string[] = [];
  const service = wrapped.implement({
    around: async (call, ctx, next) => {
      seen.push(`${call.service}.${call.method} ${ctx.requestId !== ''}`);
      if ((call.input as { name: string }).name === 'nobody') return 'Go away!';
      return `${await next()}!`;
    },
    methods: { greet: ({ name }) => `Hello, ${name}` },
  });
  await using app = await testApp([service]);
  assert.equal(await app.call(wrapped).greet({ name: 'Ada' }), 'Hello, Ada!');
  assert.equal(await app.call(wrapped).greet({ name: 'nobody' }), 'Go away!');
  assert.deepEqual(seen, ['wrapped.greet true', 'wrapped.greet true']);
});

test('the concurrency of a method is bounded, and beyond the queue it says OVERLOADED', async () => {
  const narrow = contract('narrow', { slow: { output: z.int(), timeout: '10s' } });
  let running = 0;
  let most = 0;
  const release: (() => void)[] = [];
  const service = narrow.implement({
    methods: {
      slow: {
        concurrency: 2,
        handler: async () => {
          most = Math.max(most, ++running);
          await new Promise<void>(done => release.push(done));
          running--;
          return 1;
        },
      },
    },
  });
  await using app = await testApp([service]);
  // Two run and four wait; nobody is let go until all the others have their answer.
  let refused = 0;
  const answers = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const answer = await app.try(narrow).slow(undefined, { timeout: '10s' });
      if (!answer.ok && ++refused === 14) for (const go of release.splice(0)) go();
      while (release.length > 0 && refused >= 14) release.shift()!();
      return answer;
    }),
  );
  assert.equal(most, 2);
  const codes = answers.flatMap(answer => (answer.ok ? [] : [`${answer.error.code} ${answer.outcome}`]));
  assert.ok(codes.length >= 14, `${codes.length} were refused`);
  assert.ok(codes.includes('OVERLOADED not-done'), codes.join(', '));
});

test('streams come item by item, and a watched row shows its changes', async () => {
  const watching = contract('watching', {
    put: { key: 'id', input: z.object({ id: z.string(), n: z.int() }) },
    live: { key: 'id', consistency: 'sequential', input: z.object({ id: z.string() }), output: stream(z.int()) },
  });
  const service = watching.implement({
    tables: { rows: table(z.int()) },
    partitions: 2,
    methods: {
      put: ({ id, n }, ctx) => ctx.transact(tx => tx.rows.put(id, n)),
      live: ({ id }, ctx) => ctx.tables.rows.watch(id),
    },
  });
  await using app = await testApp([service]);
  await app.call(watching).put({ id: 'a', n: 1 });
  const seen: number[] = [];
  for await (const n of app.call(watching).live({ id: 'a' })) {
    seen.push(n);
    if (n === 3) break;
    await app.call(watching).put({ id: 'a', n: n + 1 });
  }
  assert.deepEqual(seen, [1, 2, 3]);
});

test('resources are closed in reverse order, and one that cannot be opened says which service', async () => {
  const holder = contract('holder', { ping: { output: z.string() } });
  const closed: string[] = [];
  const service = holder.implement({
    resources: ({ onStop }) => {
      onStop(() => closed.push('first'));
      onStop(() => closed.push('second'));
      return { word: 'pong' };
    },
    methods: { ping: (_input, ctx) => ctx.resources.word },
  });
  {
    await using app = await testApp([service]);
    assert.equal(await app.call(holder).ping(), 'pong');
  }
  assert.deepEqual(closed, ['second', 'first']);
  const failing = holder.implement({
    resources: (): { word: string } => {
      throw new Error('no such host');
    },
    methods: { ping: () => '' },
  });
  await assert.rejects(testApp([failing]), code('CONFIG', /resources of 'holder' could not be opened: no such host/));
});

test('config errors name the field and the variable, and never show a secret', async () => {
  const needy = contract('needy', { ping: {} });
  const service = needy.implement({
    config: z.object({ apiKey: secret(z.string().min(40)), retries: z.int() }),
    methods: { ping: () => {} },
  });
  await assert.rejects(
    testApp([service], { config: { needy: { apiKey: 'hunter2', retries: 'many' } } }),
    (thrown: TandemError) => {
      assert.equal(thrown.code, 'CONFIG');
      assert.match(thrown.message, /retries.*TANDEM_NEEDY_RETRIES/);
      assert.match(thrown.message, /apiKey.*TANDEM_NEEDY_API_KEY/);
      assert.doesNotMatch(thrown.message, /hunter2/);
      return true;
    },
  );
});

test('two services of one name, and a schema that JSON cannot carry, are refused at start', async () => {
  const one = contract('one', { a: {} }).implement({ methods: { a: () => {} } });
  const twin = contract('one', { b: {} }).implement({ methods: { b: () => {} } });
  await assert.rejects(testApp([one, twin]), code('CONFIG', /two services are named 'one'/));
  const dated = contract('dated', { at: { input: z.object({ when: z.date() }) } }).implement({
    methods: { at: () => {} },
  });
  await assert.rejects(testApp([dated]), code('UNSUPPORTED', /when.*z\.iso\.datetime/));
});

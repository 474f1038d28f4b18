import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { advance, type Handle, openTestGateway, type stock } from '../gateway/fixture.test.ts';
import { createClient } from './index.ts';

async function within(handle: Handle, run: (url: string) => Promise<void>): Promise<void> {
  const gateway = await openTestGateway(handle);
  try {
    await run(gateway.url);
  } finally {
    await gateway.close(0);
  }
}

test('errors are typed: declared ones with data, system ones with issues and outcome', () =>
  within(
    (_service, method) => {
      if (method === 'reserve') throw new DeclaredError('outOfStock', 409, { left: 1 });
      throw new TandemError('INVALID', 'no', { details: { issues: [{ path: 'n', message: 'bad' }] } });
    },
    async url => {
      const client = createClient({ url });
      await assert.rejects(client.call<typeof stock>('stock').reserve({ sku: 'a', qty: 1 }), {
        name: 'DeclaredError',
        code: 'outOfStock',
        data: { left: 1 },
      });
      const answer = await client.try<typeof stock>('stock').reserve({ sku: 'a', qty: 1 });
      assert.ok(!answer.ok && answer.error.code === 'outOfStock' && answer.error.data.left === 1);
      await assert.rejects(client.call<typeof stock>('stock').count({ n: 1 }), {
        code: 'INVALID',
        outcome: 'not-done',
        details: { issues: [{ path: 'n', message: 'bad' }] },
      });
    },
  ));

test('an answer has its meta', () =>
  within(
    () => 7,
    async url => {
      const answer = await createClient({ url }).try<typeof stock>('stock').count({ n: 1 }, { idempotencyKey: 'k1' });
      assert.ok(answer.ok);
      assert.equal(answer.value, 7);
      assert.deepEqual(answer.meta, {
        level: 'eventual',
        degraded: false,
        staleness: { entries: 2, ms: 7 },
        instance: 'stock-1',
        requestId: 'k1',
      });
    },
  ));

test('what parallel calls have seen is all carried by the next', () =>
  within(
    (_service, _method, input, options) => {
      const { n } = input as { n: number };
      if (n === 9) return options.session.toForm()?.positions.length ?? 0;
      advance(options, `state/stock/${n}`, 5);
      return n;
    },
    async url => {
      const calls = createClient({ url }).call<typeof stock>('stock');
      await Promise.all([0, 1, 2, 3].map(n => calls.count({ n })));
      assert.equal(await calls.count({ n: 9 }), 4);
      assert.equal(await calls.count({ n: 9 }), 4);
    },
  ));

test('a session that is over is told once, and the next call begins a new one', () =>
  within(
    (_service, _method, input, options) => {
      const { n } = input as { n: number };
      if (n === 2) throw new TandemError('LOG_LOST', 'gone', { details: { session: 'over' } });
      if (n === 3) return options.session.toForm()?.positions.length ?? 0;
      advance(options, 'state/stock/1', 5);
      return n;
    },
    async url => {
      const calls = createClient({ url }).call<typeof stock>('stock');
      await calls.count({ n: 1 });
      assert.equal(await calls.count({ n: 3 }), 1);
      await assert.rejects(calls.count({ n: 2 }), { code: 'LOG_LOST' });
      assert.equal(await calls.count({ n: 3 }), 0);
    },
  ));

test('a lost connection is tried once more with the same key, and says that it is a repeat', () =>
  within(
    () => 3,
    async url => {
      const seen: Headers[] = [];
      const flaky: typeof fetch = (to, init) => {
        seen.push(new Headers(init?.headers));
        return seen.length % 2 === 1 ? Promise.reject(new TypeError('reset')) : fetch(to, init);
      };
      const calls = createClient({ url, fetch: flaky }).call<typeof stock>('stock');
      assert.equal(await calls.get({ sku: 'a' }), 3);
      assert.equal(seen[0]!.get('idempotency-key'), seen[1]!.get('idempotency-key'));
      assert.equal(seen[1]!.get('tandem-repeat'), '1');
      await assert.rejects(calls.count({ n: 1 }), { code: 'INTERRUPTED', outcome: 'unknown' });
    },
  ));

test('a stream is an async iterable, and its errors are thrown in the loop', () =>
  within(
    async function* (_service, _method, input) {
      yield 1;
      yield 2;
      if ((input as { sku: string }).sku === 'bad') throw new TandemError('UNAVAILABLE', 'gone');
    } as Handle,
    async url => {
      const calls = createClient({ url }).call<typeof stock>('stock');
      const items: number[] = [];
      for await (const item of calls.live({ sku: 'a' })) items.push(item);
      assert.deepEqual(items, [1, 2]);
      await assert.rejects(
        async () => {
          for await (const _ of calls.live({ sku: 'bad' }));
        },
        { code: 'UNAVAILABLE' },
      );
    },
  ));

test('timeout, signal, fallback and close end a call', () =>
  within(
    () => new Promise(() => {}),
    async url => {
      const client = createClient({ url });
      const calls = client.call<typeof stock>('stock');
      await assert.rejects(calls.count({ n: 1 }, { timeout: '20ms' }), {
        code: 'DEADLINE_EXCEEDED',
        outcome: 'unknown',
      });
      const left = new AbortController();
      const canceled = calls.count({ n: 1 }, { signal: left.signal });
      left.abort();
      await assert.rejects(canceled, { code: 'CANCELED' });
      const tries = client.try<typeof stock>('stock');
      const answer = await tries.count({ n: 1 }, { timeout: '20ms', fallback: () => 0 });
      assert.ok(answer.ok && answer.value === 0 && answer.meta.degraded);
      const open = calls.count({ n: 1 });
      client.close();
      await assert.rejects(open, { code: 'CLOSED' });
    },
  ));

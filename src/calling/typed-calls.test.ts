import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeclaredError, TandemError } from '../core/errors.ts';
import type { Registry } from '../naming/registry.ts';
import type { OutgoingCall } from './outgoing.ts';
import { derivedRequestId } from './request-id.ts';
import { typedCalls } from './typed-calls.ts';

function recorder(fail?: () => unknown) {
  const asked: { name: string; options: OutgoingCall }[] = [];
  const registry = { descriptor: () => undefined } as unknown as Registry;
  const caller = {
    registry,
    async call(service: string, method: string, _input: unknown, options: OutgoingCall = {}) {
      asked.push({ name: `${service}.${method}`, options });
      if (fail) throw fail();
      return {
        value: 42,
        meta: { level: undefined, degraded: false, staleness: undefined, instance: 'i', requestId: 'r' },
      };
    },
    async *stream() {},
  };
  return { asked, caller };
}
// biome-ignore lint/suspicious/noExplicitAny: the types are the contract's business, tested with it
type Loose = any;

test('try never throws for an answer: declared and system errors become answers with their outcome', async () => {
  const declared = typedCalls(recorder(() => new DeclaredError('outOfStock', 409, { left: 2 })).caller);
  const one = await (declared.try('stock') as Loose).reserve({ sku: 'x' });
  assert.deepEqual(
    [one.ok, one.error.code, one.error.data, one.outcome],
    [false, 'outOfStock', { left: 2 }, 'not-done'],
  );
  const system = typedCalls(recorder(() => new TandemError('INTERRUPTED', 'gone')).caller);
  const two = await (system.try('stock') as Loose).reserve({ sku: 'x' });
  assert.deepEqual([two.ok, two.error.code, two.outcome], [false, 'INTERRUPTED', 'unknown']);
});

test('nested request ids are the same when the handler runs again, and differ among equal calls', async () => {
  const runOnce = async (): Promise<(string | undefined)[]> => {
    const { asked, caller } = recorder();
    const calls = typedCalls(caller, { requestId: 'parent', born: 5 });
    await (calls.call('stock') as Loose).reserve({ sku: 'x' });
    await (calls.call('stock') as Loose).reserve({ sku: 'x' });
    await (calls.call('stock') as Loose).get({ sku: 'x' });
    assert.ok(asked.every(({ options }) => options.born === 5));
    return asked.map(({ options }) => options.requestId);
  };
  const first = await runOnce();
  assert.deepEqual(await runOnce(), first);
  assert.equal(new Set(first).size, 3);
});

test('no two different tuples derive from the same text', () => {
  assert.notEqual(derivedRequestId('a', 'bc', '', 0), derivedRequestId('ab', 'c', '', 0));
  assert.notEqual(derivedRequestId('a', 'b', '1', 0), derivedRequestId('a', 'b', '', 10));
});

test('options reach the call, and the parent gives what they do not', async () => {
  const { asked, caller } = recorder();
  const controller = new AbortController();
  const calls = typedCalls(caller, { deadline: 99, traceparent: 't', signal: controller.signal });
  await (calls.call('stock') as Loose).get(
    { sku: 'x' },
    { timeout: '250ms', consistency: 'strong', idempotencyKey: 'k', hedge: '10ms' },
  );
  const { options } = asked[0]!;
  assert.deepEqual(
    [
      options.deadline,
      options.timeoutMs,
      options.consistency,
      options.requestId,
      options.hedgeMs,
      options.traceparent,
      options.born,
    ],
    [99, 250, 'strong', 'k', 10, 't', undefined],
  );
  assert.equal(options.signal, controller.signal);
});

test('what call gives is no promise by accident', async () => {
  const stock = typedCalls(recorder().caller).call('stock');
  assert.equal(await stock, stock);
});

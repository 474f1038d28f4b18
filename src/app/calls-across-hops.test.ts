/** What a call hands down to the calls that its handler makes: the time that is left, its end, its priority. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract, type Service, stream, type TandemError } from '../index.ts';
import { testApp } from '../simulation/test-app.ts';

const third = contract('third', {
  wait: { timeout: '30s', output: z.number() },
  left: { timeout: '30s', output: z.number() },
  count: { output: stream(z.number()) },
});
const second = contract('second', {
  wait: { timeout: '30s', output: z.number() },
  left: { timeout: '30s', output: z.array(z.number()) },
  double: { input: stream(z.number()), output: stream(z.number()) },
});
const first = contract('first', {
  wait: { timeout: '30s', output: z.number() },
  left: { timeout: '30s', output: z.array(z.number()) },
});

interface Seen {
  readonly aborted: string[];
  started: number;
}

function chain(seen: Seen): Service[] {
  const aborts = (name: string, signal: AbortSignal): Promise<number> =>
    new Promise((_, reject) => {
      seen.started++;
      signal.addEventListener('abort', () => {
        seen.aborted.push(`${name} ${(signal.reason as TandemError).code}`);
        reject(signal.reason);
      });
    });
  return [
    third.implement({
      methods: {
        wait: (_, ctx) => aborts('third', ctx.signal),
        left: (_, ctx) => ctx.deadline.remainingMs,
        count: async function* (_, ctx) {
          try {
            for (let i = 0; ; i++) yield i;
          } finally {
            seen.aborted.push(`count ended, ${ctx.signal.aborted}`);
          }
        },
      },
    }),
    second.implement({
      methods: {
        wait: (_, ctx) => ctx.call(third).wait(),
        left: async (_, ctx) => {
          const mine = ctx.deadline.remainingMs;
          await ctx.try(third).wait(undefined, { timeout: '100ms' });
          return [mine, await ctx.call(third).left()];
        },
        double: async function* (numbers) {
          for await (const number of numbers) yield number * 2;
        },
      },
    }),
    first.implement({
      methods: {
        wait: (_, ctx) => ctx.call(second).wait(),
        left: async (_, ctx) => [ctx.deadline.remainingMs, ...(await ctx.call(second).left())],
      },
    }),
  ];
}

test('each hop has the time that is left of the first, not its own timeout', async () => {
  await using app = await testApp(chain({ aborted: [], started: 0 }));
  const left = await app.call(first).left(undefined, { timeout: '400ms' });
  assert.equal(left.length, 3);
  assert.ok(left[0]! <= 400 && left[0]! > 300, `${left}`);
  assert.ok(left[1]! > 300 && left[2]! <= 300 && left[2]! > 200, `100 ms pass at the second: ${left}`);
});

test('the deadline of the first ends the handler two hops away, at that time', async () => {
  const seen: Seen = { aborted: [], started: 0 };
  await using app = await testApp(chain(seen));
  const before = app.clock.now();
  await assert.rejects(app.call(first).wait(undefined, { timeout: '300ms' }), { code: 'DEADLINE_EXCEEDED' });
  await app.clock.advance('100ms');
  assert.ok(app.clock.now() - before < 1000, 'not the 30 s of its own timeout');
  assert.equal(seen.started, 1);
  assert.match(seen.aborted.join(), /^third (DEADLINE_EXCEEDED|CANCELED)$/);
});

test('cancelling the first aborts the signal of the handler two hops away', async () => {
  const seen: Seen = { aborted: [], started: 0 };
  await using app = await testApp(chain(seen));
  const cancel = new AbortController();
  const call = assert.rejects(app.call(first).wait(undefined, { signal: cancel.signal }), { code: 'CANCELED' });
  while (seen.started === 0) await app.clock.advance('1ms');
  assert.deepEqual(seen.aborted, []);
  cancel.abort();
  await call;
  await app.clock.advance('50ms');
  assert.deepEqual(seen.aborted, ['third CANCELED']);
});

test('a stream that its reader leaves ends at its source; items flow both ways at once', async () => {
  const seen: Seen = { aborted: [], started: 0 };
  await using app = await testApp(chain(seen));
  let read = 0;
  for await (const number of app.call(third).count()) {
    assert.equal(number, read++);
    if (read === 5) break;
  }
  await app.clock.advance('50ms');
  assert.equal(seen.aborted.length, 1);
  const back: number[] = [];
  async function* numbers(): AsyncGenerator<number> {
    for (let i = 1; i <= 5; i++) {
      yield i;
      // The next goes out only when the answer to this one has come.
      while (back.length < i) await app.clock.advance('1ms');
    }
  }
  for await (const number of app.call(second).double(numbers())) back.push(number);
  assert.deepEqual(back, [2, 4, 6, 8, 10]);
});

const busy = contract('busy', {
  plain: { input: z.object({ by: z.string() }), output: z.null() },
});
const asking = contract('asking', {
  report: { priority: 'optional', output: z.null() },
  list: { output: z.null() },
  checkOut: { priority: 'critical', output: z.null() },
});

test('what waits at a busy method is let in by the priority of what it is for, also a hop away', async () => {
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const busyService = busy.implement({
    methods: {
      plain: {
        concurrency: 1,
        handler: async ({ by }) => {
          order.push(by);
          await gate.promise;
          return null;
        },
      },
    },
  });
  const askingService = asking.implement({
    methods: {
      report: (_, ctx) => ctx.call(busy).plain({ by: 'report' }),
      list: (_, ctx) => ctx.call(busy).plain({ by: 'list' }),
      checkOut: (_, ctx) => ctx.call(busy).plain({ by: 'checkOut' }),
    },
  });
  await using app = await testApp([busyService, askingService]);
  const calls = [app.call(busy).plain({ by: 'first' })];
  await app.clock.advance('20ms');
  for (const method of ['report', 'list'] as const) {
    calls.push(app.call(asking)[method]());
    await app.clock.advance('20ms');
  }
  // Two may wait: this one pushes the optional one out, which is told so and comes again.
  calls.push(app.call(asking).checkOut());
  await app.clock.advance('20ms');
  gate.resolve();
  await Promise.all(calls);
  assert.deepEqual(order, ['first', 'checkOut', 'list', 'report']);
});

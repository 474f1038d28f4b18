import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { contract } from '../contract/contract.ts';
import { describeService } from '../contract/describe.ts';
import { topic } from '../contract/topic.ts';
import { seededRandom } from '../core/random.ts';
import type { AnySchema } from '../core/schema.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { checkTopics } from './topic-catalog.ts';

const base = z.object({ id: z.string(), n: z.int() });

function setUp(lostAnswerChance = 0) {
  const clock = virtualClock();
  const random = seededRandom(1);
  const model = engineModel({ clock, random, lostAnswerChance });
  const { log } = model.connect(clock);
  const start = (schema: AnySchema, options: { service?: string; compatibility?: 'none' } = {}): Promise<void> => {
    const { service = 's', ...rest } = options;
    const events = topic('orders.placed', schema, { key: 'id' as never, ...rest });
    const descriptor = describeService(
      contract(service, {}).implement({ methods: {}, subscriptions: { on: { topic: events, handler: () => {} } } }),
    );
    return checkTopics({ descriptor, log, clock, random, deadline: clock.monotonic() + 10_000 });
  };
  return { clock, model, start };
}

test('a version that the log could not hold beside the others is refused with the field, the reason and what to do', async () => {
  const { clock, model, start } = setUp();
  await clock.complete(start(base));
  const refused = start(base.extend({ email: z.string() }));
  refused.catch(() => {});
  await assert.rejects(clock.complete(refused), {
    code: 'CONFIG',
    message:
      /service 's': topic orders\.placed\.email: old events cannot be read: the field is needed, but not written; compared with what 's' started with at 2026-01-01T00.*optional or have a default.*'orders\.placed\.v2'.*compatibility: 'none'/,
  });
  assert.equal(model.entries('catalog/topics').length, 1, 'it left no trace');
});

test('a version is compared with all before it, not only the last', async () => {
  const { clock, start } = setUp();
  await clock.complete(start(base.extend({ extra: z.string().optional() })));
  await clock.complete(start(base));
  await assert.rejects(clock.complete(start(base.extend({ extra: z.int().optional() }))), /orders\.placed\.extra/);
});

test('one that is known starts again, also after newer ones, and notes nothing', async () => {
  const { clock, model, start } = setUp();
  await clock.complete(start(base));
  await clock.complete(start(base.extend({ extra: z.string().optional() })));
  await clock.complete(start(base));
  assert.equal(model.entries('catalog/topics').length, 2);
});

test('a change that is let pass begins anew: later versions are compared with it', async () => {
  const { clock, start } = setUp();
  const renamed = z.object({ id: z.string(), count: z.int() });
  await clock.complete(start(base));
  await assert.rejects(clock.complete(start(renamed)), { code: 'CONFIG' });
  await clock.complete(start(renamed, { compatibility: 'none' }));
  await clock.complete(start(renamed));
  await assert.rejects(clock.complete(start(base.extend({ more: z.int() }))), { code: 'CONFIG' });
});

test('of two that start at once with versions that exclude each other one is refused, through lost answers too', async () => {
  for (const lost of [0, 0.3]) {
    const { clock, start } = setUp(lost);
    const both = Promise.allSettled([
      start(z.object({ id: z.string(), a: z.int() })),
      start(z.object({ id: z.string(), b: z.int() })),
    ]);
    const settled = await clock.complete(both);
    assert.deepEqual(settled.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as z from 'zod';
import { topic } from '../contract/topic.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import type { Engine, Log } from '../log/engine.ts';
import { pack } from '../replication/codec.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { Cursor } from './cursor.ts';
import { countDeadLetters, type DeadLetter, redrive } from './dead-letters.ts';
import { decodeEvent, encodeEvent } from './event.ts';
import { type DeliveryForm, deliver, Slots, type SubscriptionDefinition } from './subscription.ts';

const clock = virtualClock();
const random = seededRandom(1);
const orders = topic('orders', z.object({ id: z.string() }), { key: 'id', partitions: 1 });
const subscription: SubscriptionDefinition = {
  name: 'book',
  topic: orders,
  key: 'id',
  attemptsMax: 3,
  onDead: 'skip',
  from: 'earliest',
};

async function withLetters(
  numbers: readonly number[],
): Promise<{ engine: Engine; log: Log; topicEvents: () => number[] }> {
  const model = engineModel({ clock, random });
  const engine = model.connect(clock);
  const { log } = engine;
  const letter = (number: number): DeadLetter => ({
    subscription: 'shop.book',
    topic: 'orders',
    partitions: 1,
    key: 'k',
    event: { id: 'k', number },
    error: { code: 'INTERNAL', message: 'no' },
    attempts: 3,
    source: 'shop.book:orders:0/1',
    number,
    at: 0,
  });
  const bodies = numbers.map(number =>
    encodeEvent({
      source: 'state/shop/0#i',
      number,
      key: 'k',
      body: pack(letter(number)),
      at: 0,
      traceparent: undefined,
    }),
  );
  await clock.complete(log.append('topic/dead.shop.book/0', 'any', bodies, { deadline: clock.monotonic() + 1000 }));
  const topicEvents = (): number[] => {
    const cursor = new Cursor({ position: 0, generation: 1, sources: {} });
    return model.entries('topic/orders/0').flatMap((body, i) => {
      const event = decodeEvent(body);
      return cursor.take(i + 1, event) ? [event.number] : [];
    });
  };
  return { engine, log, topicEvents };
}
const options = (engine: Engine) => ({
  engine,
  service: 'shop',
  subscription: 'book',
  clock,
  random,
  deadline: clock.monotonic() + 60_000,
  resume: async () => assert.fail('nothing is parked'),
});

test('a redrive that fails before it removed the letters, and is repeated, brings each event once', async () => {
  const { engine, log, topicEvents } = await withLetters([1, 2, 2, 3]);
  let broken = true;
  const failing: Engine = {
    ...engine,
    log: {
      ...log,
      trim: (...given) => (broken ? Promise.reject(new TandemError('UNAVAILABLE', 'away')) : log.trim(...given)),
    },
  };
  await assert.rejects(clock.complete(redrive(options(failing))), { code: 'UNAVAILABLE' });
  broken = false;
  assert.equal(await clock.complete(redrive(options(failing))), 3);
  assert.deepEqual(topicEvents(), [1, 2, 3]);
  assert.equal(await clock.complete(countDeadLetters(options(engine))), 0);
});

test('a limited redrive takes the oldest and leaves the others', async () => {
  const { engine, topicEvents } = await withLetters([1, 2, 3]);
  assert.equal(await clock.complete(redrive({ ...options(engine), limit: 2 })), 2);
  assert.deepEqual(topicEvents(), [1, 2]);
  assert.equal(await clock.complete(countDeadLetters(options(engine))), 1);
});

const nothing = silentMeter.counter('');
const event = { source: 's', number: 1, key: 'k', body: pack({ id: 'k' }), at: 0, traceparent: undefined };

function delivered(send: (form: DeliveryForm) => Promise<'handled' | 'dead'>, attempt = 1): Promise<boolean> {
  const never = new AbortController().signal;
  const fixed = { source: 'g', subscription, slots: new Slots(1), clock, random, logger: silentLogger };
  const counters = { retried: nothing, died: nothing, handled: nothing, parked: nothing };
  const at = { generation: 1, position: 1, attempt };
  return deliver({ ...fixed, ...counters, send, whole: async event => event }, event, at, never, never);
}

test('an outage, however long, is no try of the event', async () => {
  const attempts: number[] = [];
  const done = delivered(async ({ attempt, dead }) => {
    assert.equal(dead, undefined);
    attempts.push(attempt);
    if (attempts.length <= 50) throw new TandemError(attempts.length % 2 ? 'UNAVAILABLE' : 'MOVED', 'away');
    return 'handled';
  });
  assert.equal(await clock.complete(done), true);
  assert.equal(attempts.at(-1), 1);
});

test('a broken connection and a missed deadline are tries: such an event may be what broke it', async () => {
  const forms: DeliveryForm[] = [];
  const done = delivered(async form => {
    forms.push(form);
    if (form.dead) return 'dead';
    throw new TandemError(forms.length === 1 ? 'INTERRUPTED' : 'DEADLINE_EXCEEDED', 'gone');
  });
  assert.equal(await clock.complete(done), true);
  assert.deepEqual(
    forms.map(({ attempt }) => attempt),
    [1, 2, 3, 3],
  );
  assert.equal(forms.at(-1)?.dead?.code, 'DEADLINE_EXCEEDED');
});

test('giving up is itself repeated until it is durable, without running the handler again', async () => {
  let givingUp = 0;
  const done = delivered(async form => {
    assert(form.dead, 'the handler ran though the event was used up');
    if (++givingUp < 4) throw new TandemError('INTERRUPTED', 'gone');
    return 'dead';
  }, 4);
  assert.equal(await clock.complete(done), true);
  assert.equal(givingUp, 4);
});

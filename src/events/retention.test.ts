import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topic } from '../contract/topic.ts';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import type { EngineOptions, Log } from '../log/engine.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { encodeEvent } from './event.ts';
import { Order } from './fixture.test.ts';
import { LargeEvents } from './large-events.ts';
import { topicLog } from './publisher.ts';
import { openRetention, retentionIntervalMs } from './retention.ts';

const answerMs = 1000;
const eventBytes = 512 * 1024;

/** Ten events a minute apart in a topic of one partition, on a log where each step takes a second. */
async function backlog(retention: { age?: `${number}m`; bytes?: number }) {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1), delayMsMax: 0 });
  const engine = model.connect(clock);
  const { log } = engine;
  const placed = topic('orders.placed', Order, { key: 'id', partitions: 1, retention });
  const name = topicLog(placed.name, 0);
  for (let number = 1; number <= 10; number++) {
    const event = {
      source: 's',
      number,
      key: 'a',
      body: new Uint8Array(eventBytes),
      at: clock.now(),
      traceparent: undefined,
    };
    await clock.complete(log.append(name, 'any', [encodeEvent(event)], { deadline: clock.monotonic() + 1000 }));
    await clock.advance(60_000);
  }
  let steps = 0;
  const slowly = async <T>({ deadline }: EngineOptions, step: () => Promise<T>): Promise<T> => {
    steps++;
    await sleep(clock, answerMs);
    if (clock.monotonic() > deadline) throw new TandemError('DEADLINE_EXCEEDED', 'too slow');
    return step();
  };
  const slow: Log = {
    ...log,
    info: (at, options) => slowly(options, () => log.info(at, options)),
    read: (at, from, bytesMax, options) => slowly(options, () => log.read(at, from, bytesMax, options)),
    trim: (at, before, options) => slowly(options, () => log.trim(at, before, options)),
  };
  const opened = openRetention({
    topics: [placed],
    keyspace: { partitionOf: () => 0, isWriter: () => true },
    engine: { ...engine, log: slow },
    large: new LargeEvents({ engine, clock, random: seededRandom(1) }),
    clock,
    logger: silentLogger,
  });
  return {
    clock,
    close: () => opened.close(),
    steps: () => steps,
    first: async () => (await clock.complete(log.info(name, { deadline: clock.monotonic() + 1000 }))).first,
  };
}

test('a backlog that takes longer to read through than the engine has for one answer is dropped by age', async () => {
  const { clock, close, steps, first } = await backlog({ age: '3m' });
  await clock.advance(retentionIntervalMs + 20_000);
  assert.equal(await first(), 10, 'the newest is two minutes old at the look, the one before it three');
  assert.ok(steps() * answerMs > limits.engineTimeoutMs, `only ${steps()} steps`);
  close();
});

test('and by bytes', async () => {
  const { clock, close, steps, first } = await backlog({ bytes: 1.5 * eventBytes });
  await clock.advance(retentionIntervalMs + 20_000);
  assert.equal(await first(), 10);
  assert.ok(steps() * answerMs > limits.engineTimeoutMs, `only ${steps()} steps`);
  close();
});

test('an instance that stops reads no further through a backlog', async () => {
  const { clock, close, steps, first } = await backlog({ age: '3m' });
  await clock.advance(retentionIntervalMs + 2500);
  const before = steps();
  close();
  await clock.advance(2 * retentionIntervalMs);
  assert.equal(steps(), before);
  assert.equal(await first(), 1);
});

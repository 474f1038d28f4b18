import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../core/logger.ts';
import { silentMeter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { pack } from '../replication/codec.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import type { CursorRow } from './cursor.ts';
import { encodeEvent, type StoredEvent } from './event.ts';
import { Floors } from './floors.ts';
import { type EventPlace, outstandingMax, Reader } from './reader.ts';

const event = (number: number, key: string): Uint8Array =>
  encodeEvent({ source: 's', number, key, body: pack({ number }), at: 0, traceparent: undefined });

type Deliver = (event: StoredEvent, at: EventPlace, signal: AbortSignal, cancel: AbortSignal) => Promise<boolean>;

function setup(count: number, keyOf: (n: number) => string = n => `k${n}`) {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const engine = model.connect(clock);
  const state: { row: CursorRow | undefined } = { row: undefined };
  const fill = async (): Promise<void> => {
    const bodies = Array.from({ length: count }, (_, i) => event(i + 1, keyOf(i + 1)));
    await clock.complete(engine.log.append('topic/t/0', 'any', bodies, { deadline: clock.monotonic() + 1000 }));
  };
  const lag = {
    value: 0,
    set(value: number) {
      lag.value = value;
    },
  };
  const open = (deliver: Deliver) => {
    const own = clock.process();
    const reader = new Reader({
      topicLog: 'topic/t/0',
      group: 'g.s',
      from: 'earliest',
      log: model.connect(own).log,
      deliver,
      openCursor: async first => {
        state.row ??= await first();
        return state.row;
      },
      saveCursor: async row => {
        state.row = row;
      },
      lag,
      stopped: silentMeter.gauge(''),
      clock: own,
      random: seededRandom(1),
      logger: silentLogger,
    });
    return { own, reader };
  };
  return { clock, engine, state, fill, open, lag };
}

test('a reader takes no more than its bound ahead of an event that is stuck, and the lag shows the rest', async () => {
  const { clock, fill, open, lag, state } = setup(3000);
  await fill();
  const handled = new Set<number>();
  const stuck: Deliver = (_, { position }) => {
    handled.add(position);
    return position === 1 ? new Promise(() => {}) : Promise.resolve(true);
  };
  const { reader } = open(stuck);
  await clock.advance(5000);
  assert(handled.size <= outstandingMax);
  assert.equal(lag.value, 3000);
  assert.equal(state.row?.position, 0);
  await clock.complete(reader.close());
});

test('close waits a grace for what is being handled, then drops it, and stores what is done', async () => {
  const { clock, fill, open, state } = setup(3);
  await fill();
  let cancelled = false;
  const { reader } = open((_, { position }, __, cancel) => {
    if (position < 3) return Promise.resolve(true);
    return new Promise(resolve =>
      cancel.addEventListener('abort', () => {
        cancelled = true;
        resolve(false);
      }),
    );
  });
  await clock.advance(100);
  const before = clock.monotonic();
  await clock.complete(reader.close(300));
  assert(cancelled);
  assert(clock.monotonic() - before < 700);
  assert.equal(state.row?.position, 2);
  assert.equal(state.row?.starts, undefined, 'a clean end is no sign of a crash');
});

test('an event that kills its process is found out and counted: others are handled, and it reaches its attempts', async () => {
  const { clock, fill, open, state } = setup(20);
  await fill();
  const handled = new Set<number>();
  const attempts: number[] = [];
  for (let lives = 0; lives < 12 && handled.size < 20; lives++) {
    const { own } = open(async (_, { position, attempt }) => {
      if (position === 7) {
        attempts.push(attempt);
        if (attempt <= 5) {
          own.kill();
          return new Promise(() => {});
        }
      }
      handled.add(position);
      return true;
    });
    await clock.advance(2000);
  }
  assert.deepEqual(
    [...handled].sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  assert.deepEqual(attempts.slice(-5), [2, 3, 4, 5, 6], 'beyond its attempts it comes to be given up');
  await clock.advance(2000);
  assert.equal(state.row?.position, 20);
  assert.equal(state.row?.trying, undefined);
});

test('a partition stays touched until a floor reached its last delivery, and a failing floor is tried again', async () => {
  const clock = virtualClock();
  const raised: [number, number][] = [];
  let failing = true;
  const floors = new Floors({
    raise: async (partition, number) => {
      if (failing) throw new Error('away');
      raised.push([partition, number]);
    },
    touched: [5],
    clock,
    logger: silentLogger,
  });
  floors.touch(1, 10);
  floors.touch(2, 30);
  floors.stored(20);
  await clock.settle();
  assert.deepEqual(raised, [], 'nothing is due yet');
  await clock.advance(60_000);
  floors.stored(20);
  await clock.settle();
  assert.deepEqual([...floors.partitions()].sort(), [1, 2, 5]);
  failing = false;
  await clock.advance(6000);
  floors.stored(20);
  await clock.settle();
  assert.deepEqual(raised.sort(), [
    [1, 20],
    [2, 20],
    [5, 20],
  ]);
  assert.deepEqual(floors.partitions(), [2]);
});

test('many deliveries to one partition bring its floor forward', async () => {
  const clock = virtualClock();
  const raised: number[] = [];
  const raise = async (_: number, number: number): Promise<void> => void raised.push(number);
  const floors = new Floors({ raise, touched: [], clock, logger: silentLogger });
  for (let n = 1; n <= 600; n++) floors.touch(0, n);
  floors.stored(550);
  await clock.settle();
  assert.deepEqual(raised, [550]);
});

test('a reader passes over what barriers leave in the log, at its end too', async () => {
  const { clock, engine, state, fill, open, lag } = setup(3);
  const got: number[] = [];
  const { reader } = open(async ({ number }) => {
    got.push(number);
    return true;
  });
  const barrier = (): Promise<unknown> =>
    clock.complete(engine.log.append('topic/t/0', 'any', [new Uint8Array(0)], { deadline: clock.monotonic() + 1000 }));
  await barrier();
  await fill();
  await barrier();
  await clock.advance(3000);
  assert.deepEqual(got, [1, 2, 3]);
  assert.equal(state.row?.position, 5);
  assert.equal(lag.value, 0);
  await clock.complete(reader.close());
});

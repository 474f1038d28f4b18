import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { seededRandom } from '../core/random.ts';
import { pack } from '../replication/codec.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import type { EmittedBatch, EmittedEvent } from '../state/keyspace.ts';
import { Cursor } from './cursor.ts';
import { decodeEvent } from './event.ts';
import { Relay } from './relay.ts';

const emittedEvent = (position: number, index: number): EmittedEvent => ({
  position,
  index,
  topic: 'orders',
  partitions: 1,
  key: `k${position % 3}`,
  body: pack({ position, index }),
  time: 0,
  traceparent: undefined,
});

/** A state log that others append to, the stored position, and what may be trimmed. */
function outbox(model: ReturnType<typeof engineModel>, clock: ReturnType<typeof virtualClock>, seed: number) {
  const entries: EmittedEvent[][] = [];
  const state = { entries, saved: 0, freed: 0, saves: 0 };
  const open = (own = clock.process()) => ({
    own,
    relay: new Relay({
      source: () => 'state/shop/0#i',
      engine: model.connect(own),
      async *emitted(from: number, signal: AbortSignal): AsyncGenerator<EmittedBatch> {
        for (let next = from; !signal.aborted; ) {
          if (entries.length < next) {
            await sleep(own, 5, signal);
            continue;
          }
          const through = entries.length;
          yield { through, events: entries.slice(next - 1, through).flat() };
          next = through + 1;
        }
      },
      onSent: () => {},
      loadPosition: async () => state.saved,
      savePosition: async position => {
        await sleep(own, 1);
        state.saves++;
        state.saved = Math.max(state.saved, position);
      },
      onRelayed: position => {
        assert(position <= state.saved, 'the log was freed past what is stored');
        state.freed = position;
      },
      clock: own,
      random: seededRandom(seed),
      logger: silentLogger,
    }),
  });
  return { state, open };
}

/** What a reader takes, as [position, index] of the source. */
function taken(bodies: readonly Uint8Array[]): number[] {
  const cursor = new Cursor({ position: 0, generation: 1, sources: {} });
  return bodies.flatMap((body, i) => {
    const event = decodeEvent(body);
    const done = cursor.take(i + 1, event);
    done?.();
    return done ? [event.number] : [];
  });
}

for (let seed = 1; seed <= 5; seed++) {
  test(`relays that crash and repeat, through lost answers: a reader takes each event once, in order (seed ${seed})`, async () => {
    const clock = virtualClock();
    const random = seededRandom(seed);
    const model = engineModel({ clock, random, lostAnswerChance: 0.2 });
    const { state, open } = outbox(model, clock, seed);
    let { relay, own } = open();
    for (let position = 1; position <= 200; position++) {
      state.entries.push(Array.from({ length: random.below(4) }, (_, index) => emittedEvent(position, index)));
      await clock.advance(random.below(20));
      if (position % 40 !== 0) continue;
      own.kill();
      void relay.close();
      ({ relay, own } = open());
    }
    const all = state.entries.flat().map(({ position, index }) => position * 65_536 + index);
    for (let i = 0; i < 200 && taken(model.entries('topic/orders/0')).length < all.length; i++)
      await clock.advance(200);
    assert.deepEqual(taken(model.entries('topic/orders/0')), all);
    await clock.advance(5000);
    assert(state.saves < 200, 'the position is stored now and then, not each time');
    assert(state.saved > 150);
    await clock.complete(relay.close());
  });
}

test('a batch of more events than a topic lets wait goes through', async () => {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const { state, open } = outbox(model, clock, 1);
  state.entries.push(Array.from({ length: 20_000 }, (_, index) => emittedEvent(1, index)));
  const { relay } = open();
  for (let i = 0; i < 100 && model.entries('topic/orders/0').length < 20_000; i++) await clock.advance(50);
  assert.equal(model.entries('topic/orders/0').length, 20_000);
  await clock.complete(relay.close());
});

test('entries without events do not make the position be stored again and again, but free the log in the end', async () => {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const { state, open } = outbox(model, clock, 1);
  const { relay } = open();
  for (let i = 0; i < 2500; i++) {
    state.entries.push([]);
    if (i % 100 === 0) await clock.advance(100);
  }
  await clock.advance(2000);
  assert(state.freed >= 1500);
  assert(state.saves <= 3);
  await clock.complete(relay.close());
});

test('close is prompt while the engine does not answer', async () => {
  const clock = virtualClock();
  const model = engineModel({ clock, random: seededRandom(1) });
  const { state, open } = outbox(model, clock, 1);
  state.entries.push([emittedEvent(1, 0)]);
  model.stop();
  const { relay } = open();
  await clock.advance(100);
  const before = clock.monotonic();
  await clock.complete(relay.close());
  assert(clock.monotonic() - before < 100);
});

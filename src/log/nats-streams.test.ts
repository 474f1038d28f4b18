import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock as clock } from '../core/clock.ts';
import { silentLogger } from '../core/logger.ts';
import { systemRandom as random } from '../core/random.ts';
import type { NatsContext } from './nats-append.ts';
import { NatsStreams } from './nats-streams.ts';

/** What is warned of after logs began one after the other in an account that has so many streams. */
async function warnings(streams: number): Promise<object[]> {
  const warned: object[] = [];
  const manager = {
    streams: {
      info: () => Promise.reject(Object.assign(new Error('stream not found'), { name: 'StreamNotFoundError' })),
      add: () => Promise.resolve({}),
    },
    getAccountInfo: () => Promise.resolve({ streams }),
  };
  const context = {
    link: { address: { app: 'shop' }, replicas: 1, connected: true, manager },
    logger: { ...silentLogger, warn: (_: string, fields: object) => warned.push(fields) },
    clock,
    random,
    stopped: new AbortController().signal,
    entryBytesMax: 1_000_000,
  } as unknown as NatsContext;
  const made = new NatsStreams(context);
  for (const log of ['a', 'b', 'c']) {
    await made.ensure(log, true, { deadline: clock.monotonic() + 5000 });
    await new Promise(done => setImmediate(done));
  }
  return warned;
}

test('an account with more than a few hundred streams is warned of once by each process', async () => {
  assert.deepEqual(await warnings(300), []);
  assert.deepEqual(await warnings(301), [{ streams: 301 }]);
});

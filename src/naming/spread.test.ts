// How soon a caller knows who came, is ready, drains or left, through the engine's bus as processes use it: over links, with
// the gathering of many beats into one message, among forty that beat all the time.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linkDialer } from '../communication/link-dialer.ts';
import { openLinkServer } from '../communication/link-server.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { startBeatsInLoop } from '../failure-detection/beats-in-loop.ts';
import type { Bus } from '../log/engine.ts';
import { engineAnswerer } from '../log/engine-answerer.ts';
import { connectEngine } from '../log/remote-engine.ts';
import { engineModel } from '../simulation/engine.ts';
import { simulatedNetwork } from '../simulation/network.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { openRegistry } from './open-registry.ts';

const promiseMs = 250;

test('a caller knows within 250 ms who comes, is ready, drains and leaves, among forty others', async () => {
  const clock = virtualClock();
  const random = seededRandom(11);
  const network = simulatedNetwork({ clock, random });
  const model = engineModel({ clock, random });
  const address = 'sim://engine';
  const transports = [network.host('engine').transport];
  const answer = engineAnswerer(model.connect(clock), clock);
  await openLinkServer({ transports, address, answer, clock, random, logger, meter });
  const busOf = (name: string): Bus => {
    const dialer = linkDialer({ transports: [network.host(name).transport], clock, random, logger, meter });
    return connectEngine({ dialer, address, clock, random, logger }).bus;
  };
  const state = { ready: false, draining: false };
  const start = (name: string, read = () => ({ ready: true, draining: false })) => {
    const identity = { id: `${name}-x`, role: 'instance' as const, service: 'stock', node: 'n', zone: 'z', weight: 1 };
    const rest = { pid: 1, address: `sim://${name}`, descriptorHash: '' };
    return startBeatsInLoop({
      bus: busOf(name),
      clock,
      identity: { ...identity, ...rest },
      read: () => ({ ...read(), inflight: 0, partitions: [] }),
    });
  };
  const describe = () => Promise.reject(new Error('nobody asks'));
  const registry = openRegistry({ bus: busOf('caller'), describe, clock, random, logger });
  for (let index = 0; index < 40; index++) {
    start(`crowd-${index}`);
    await clock.advance(random.below(20));
  }
  await clock.advance(2000);
  assert.equal(registry.instances('stock').length, 40);

  let slowestMs = 0;
  const known = async (what: string, holds: () => boolean): Promise<void> => {
    const began = clock.monotonic();
    await clock.complete(registry.until(holds, what, began + 5000));
    slowestMs = Math.max(slowestMs, clock.monotonic() - began);
    assert.ok(clock.monotonic() - began < promiseMs, `${what} took ${clock.monotonic() - began} ms`);
    await clock.advance(random.below(700));
  };
  for (let round = 0; round < 10; round++) {
    const name = `new-${round}`;
    const member = () => registry.member(`${name}-x`);
    Object.assign(state, { ready: false, draining: false });
    const beats = start(name, () => state);
    await known('who comes', () => member() !== undefined);
    state.ready = true;
    beats.changed();
    await known('who is ready', () => member()?.beat.ready === true);
    state.draining = true;
    beats.changed();
    await known('who drains', () => member()?.beat.draining === true);
    await beats.close();
    await known('who left', () => member()?.verdict === 'dead');
  }
  // It went through the wire: nothing is known in no time.
  assert.ok(slowestMs > 0.1, `${slowestMs} ms`);
});

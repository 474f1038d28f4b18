import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connection } from '../communication/transport.ts';
import { seededRandom } from '../core/random.ts';
import { type NetworkOptions, simulatedNetwork } from './network.ts';
import { type VirtualClock, virtualClock } from './virtual-clock.ts';

interface Heard {
  bytes: number[];
  closed: boolean;
  error: Error | undefined;
  at: number;
}

function hear(connection: Connection, clock: VirtualClock): Heard {
  const heard: Heard = { bytes: [], closed: false, error: undefined, at: 0 };
  connection.onData = bytes => void heard.bytes.push(...bytes);
  connection.onClose = error => {
    assert.equal(heard.closed, false, 'onClose came twice');
    heard.closed = true;
    heard.error = error;
    heard.at = clock.monotonic();
  };
  return heard;
}

async function pair(options: Partial<NetworkOptions> = {}, seed = 1) {
  const clock = virtualClock({ monotonicMs: 0 });
  const network = simulatedNetwork({ clock, random: seededRandom(seed), ...options });
  const a = network.host('a');
  const b = network.host('b');
  let far: Connection | undefined;
  let farHeard: Heard | undefined;
  await b.transport.listen('sim://b', connection => {
    far = connection;
    farHeard = hear(connection, clock);
  });
  const near = a.transport.connect('sim://b');
  const nearHeard = hear(near, clock);
  await clock.advance(10_000);
  return { clock, network, a, b, near, nearHeard, far: far!, farHeard: farHeard! };
}

test('connecting to nobody is refused, through a cut it times out', async () => {
  const { clock, network, a, b } = await pair({ cutTimeoutMs: 300 });
  const refused = hear(a.transport.connect('sim://nobody'), clock);
  network.cut('a', 'b');
  const cut = hear(a.transport.connect('sim://b'), clock);
  await clock.advance(100);
  assert.match(String(refused.error), /refused/);
  assert.equal(cut.closed, false);
  await clock.advance(300);
  assert.match(String(cut.error), /timed out/);
  await assert.rejects(
    b.transport.listen('sim://b', () => {}),
    /taken/,
  );
  assert.throws(() => a.transport.connect('tcp://b:1'), /not a simulated address/);
});

test('bytes arrive in order, whatever the delays, and the end after them', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const { clock, near, nearHeard, farHeard, far, network } = await pair({ slowChance: 0.3, delayMsMax: 50 }, seed);
    const sent: number[] = [];
    for (let i = 0; i < 100; i++) {
      near.write(Uint8Array.of(i, i + 1, i + 2));
      sent.push(i, i + 1, i + 2);
    }
    far.write(Uint8Array.of(9));
    near.end();
    near.write(Uint8Array.of(99));
    await clock.advance(60_000);
    assert.deepEqual(farHeard.bytes, sent, `seed ${seed}`);
    assert.deepEqual([farHeard.closed, farHeard.error, nearHeard.closed], [true, undefined, true]);
    assert.equal(network.connections, 0);
  }
});

test('a connection that breaks loses a tail and never a middle, and both ends hear of it', async () => {
  let lost = 0;
  for (let seed = 0; seed < 50; seed++) {
    const { clock, near, nearHeard, farHeard } = await pair({ breakChance: 0.05 }, seed);
    const sent: number[] = [];
    for (let i = 0; i < 100; i++) {
      near.write(Uint8Array.of(i));
      sent.push(i);
      if (i % 10 === 0) await clock.advance(0.5);
    }
    await clock.advance(10_000);
    assert.deepEqual(farHeard.bytes, sent.slice(0, farHeard.bytes.length), `seed ${seed}`);
    if (farHeard.bytes.length === 100) continue;
    lost++;
    assert.ok(nearHeard.error && farHeard.error, `seed ${seed}`);
  }
  assert.ok(lost > 30);
});

test('what a cut holds back comes when it heals, unless it lasts too long', async () => {
  const { clock, network, near, nearHeard, farHeard } = await pair({ cutTimeoutMs: 1000 });
  network.cut('a', 'b');
  near.write(Uint8Array.of(1));
  await clock.advance(900);
  assert.deepEqual(farHeard.bytes, []);
  network.heal();
  await clock.advance(10);
  assert.deepEqual(farHeard.bytes, [1]);
  network.cut('*', 'b', { oneWay: true });
  near.write(Uint8Array.of(2));
  await clock.advance(1100);
  assert.match(String(nearHeard.error), /timed out/);
  assert.equal(farHeard.closed, false);
  network.heal();
  await clock.advance(10);
  assert.deepEqual(farHeard.bytes, [1]);
  assert.match(String(farHeard.error), /reset/);
  assert.equal(network.connections, 0);
});

test('a full pipe says so and says when there is room', async () => {
  const { clock, near, far, farHeard } = await pair();
  let drained = 0;
  near.onDrain = () => void drained++;
  far.pause();
  let written = 0;
  while (near.write(new Uint8Array(1000))) written++;
  await clock.advance(1000);
  assert.equal(drained, 0);
  assert.ok(farHeard.bytes.length <= 1000);
  far.resume();
  await clock.advance(1000);
  assert.equal(farHeard.bytes.length, (written + 1) * 1000);
  assert.equal(drained, 1);
});

test('a killed process closes its connections, one without power is silent, a stopped one hears later', async () => {
  const killed = await pair();
  killed.b.crash();
  await killed.clock.advance(10);
  assert.match(String(killed.nearHeard.error), /reset/);
  assert.equal(killed.farHeard.closed, false, 'the dead hear nothing');
  assert.equal(killed.network.connections, 0);
  const again = hear(killed.a.transport.connect('sim://b'), killed.clock);
  await killed.clock.advance(10);
  assert.match(String(again.error), /refused/);
  killed.network.host('b');

  const silent = await pair({ cutTimeoutMs: 500 });
  silent.b.crash({ silent: true });
  await silent.clock.advance(1000);
  assert.equal(silent.nearHeard.closed, false);
  silent.near.write(Uint8Array.of(1));
  await silent.clock.advance(600);
  assert.match(String(silent.nearHeard.error), /timed out/);

  const stopped = await pair();
  stopped.b.pause();
  stopped.near.write(Uint8Array.of(1));
  await stopped.clock.advance(1000);
  assert.deepEqual(stopped.farHeard.bytes, []);
  stopped.b.resume();
  await stopped.clock.advance(10);
  assert.deepEqual(stopped.farHeard.bytes, [1]);
});

test('the same seed takes the same steps', async () => {
  const story = async (): Promise<string> => {
    const { clock, near, far, farHeard, nearHeard } = await pair({ breakChance: 0.01, slowChance: 0.2 }, 42);
    for (let i = 0; i < 50; i++) {
      near.write(Uint8Array.of(i));
      far.write(Uint8Array.of(i));
      await clock.advance(1);
    }
    return JSON.stringify([farHeard, nearHeard]);
  };
  assert.equal(await story(), await story());
});

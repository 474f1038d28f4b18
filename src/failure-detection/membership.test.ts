import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import type { Beat } from './beat.ts';
import { decodeBeat, encodeBeat } from './beat-form.ts';
import { Membership } from './membership.ts';
import { PhiDetector } from './phi.ts';

function beat(more: Partial<Beat> = {}): Beat {
  return {
    id: 'inventory-3-aaa',
    role: 'instance',
    service: 'inventory',
    node: 'n1',
    zone: 'z',
    weight: 1,
    pid: 7,
    address: 'tcp://127.0.0.1:1',
    startedAt: 100,
    sequence: 1,
    sentAt: 5,
    ready: true,
    draining: false,
    mainLoopSilentMs: 0,
    load: { inflight: 2, cpu: 0.5, memoryBytes: 1e6, loopDelayMs: 3 },
    descriptorHash: 'h',
    partitions: [{ partition: 5, ready: true, epoch: 9, position: 123 }],
    entryFormat: 1,
    ...more,
  };
}

/** Beats of one process from `fromMs` to `toMs`, looking in between as a registry does. */
function live(membership: Membership, fromMs: number, toMs: number, more: Partial<Beat> = {}): void {
  for (let now = fromMs; now <= toMs; now += 125) {
    if ((now - fromMs) % 250 === 0) membership.heard(beat({ sequence: now, ...more }), now);
    membership.look(now);
  }
}
const verdict = (membership: Membership, id = 'inventory-3-aaa') => membership.member(id)?.verdict;
/** The others are silent; the observer still hears its own beats. */
function silence(membership: Membership, fromMs: number, toMs: number): void {
  for (let now = fromMs; now <= toMs; now += 125) {
    membership.heard(beat({ id: 'gateway-1-own', role: 'gateway', sequence: now }), now);
    membership.look(now);
  }
}
/** Nothing comes over the bus, not even the observer's own beats. */
function stillness(membership: Membership, fromMs: number, toMs: number): void {
  for (let now = fromMs; now <= toMs; now += 125) membership.look(now);
}

test('phi grows with silence and forgives irregular beats more', () => {
  const options = { expectedMs: 250, deviationMsMin: 100, samples: 100 };
  const steady = new PhiDetector(options, 0);
  const shaky = new PhiDetector(options, 0);
  const random = seededRandom(4);
  let at = 0;
  for (let i = 1; i <= 100; i++) {
    steady.heard(i * 250);
    at += 100 + random.next() * 600;
    shaky.heard(at);
  }
  assert.ok(steady.phi(25_000 + 250) < 1);
  assert.ok(steady.phi(25_000 + 900) > 8);
  assert.ok(shaky.phi(at + 900) < steady.phi(25_000 + 900));
  assert.ok(Number.isFinite(steady.phi(1e9)) && steady.phi(1e9) > 100);
});

test('a silent process becomes suspect, then dead within about a second, then forgotten', () => {
  const membership = new Membership(0);
  live(membership, 0, 10_000);
  assert.equal(verdict(membership), 'alive');
  silence(membership, 10_125, 10_750);
  assert.equal(verdict(membership), 'suspect');
  silence(membership, 10_875, 11_125);
  assert.equal(verdict(membership), 'dead');
  silence(membership, 11_250, 80_000);
  assert.equal(membership.member('inventory-3-aaa'), undefined);
  assert.deepEqual(
    membership.members().map(member => member.beat.id),
    ['gateway-1-own'],
  );
});

test('a broken link makes it suspect at once and dead after little silence; a beat clears it', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  assert.equal(membership.broken('inventory-3-aaa', 5010), true);
  assert.equal(verdict(membership), 'suspect');
  membership.heard(beat({ sequence: 9000 }), 5100);
  assert.equal(verdict(membership), 'alive');
  membership.broken('inventory-3-aaa', 5110);
  silence(membership, 5125, 5625);
  assert.equal(verdict(membership), 'dead');
});

test('a refused connection is death at once, and a beat that was on its way no life', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  membership.broken('inventory-3-aaa', 5010);
  assert.equal(membership.refused('inventory-3-aaa', 5011), true);
  assert.equal(verdict(membership), 'dead');
  membership.heard(beat({ sequence: 9000 }), 5015);
  assert.equal(verdict(membership), 'dead');
  silence(membership, 5125, 6000);
  assert.equal(verdict(membership), 'dead');
});

test('who beats although it refused is alive, and its refusals prove nothing any more', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  membership.refused('inventory-3-aaa', 5010);
  membership.heard(beat({ sequence: 9000 }), 5250);
  assert.equal(verdict(membership), 'alive');
  membership.refused('inventory-3-aaa', 5260);
  assert.equal(verdict(membership), 'suspect');
  membership.heard(beat({ sequence: 9001 }), 5500);
  assert.equal(verdict(membership), 'alive');
  membership.refused('inventory-3-aaa', 5510);
  silence(membership, 5625, 6125);
  assert.equal(verdict(membership), 'dead', 'silence counts as with any broken link');
});

test('without the bus nobody dies, and afterwards everyone has time to be heard again', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  membership.connection(false, 5010);
  stillness(membership, 5125, 60_000);
  assert.equal(verdict(membership), 'alive');
  membership.connection(true, 60_010);
  silence(membership, 60_125, 60_400);
  assert.equal(verdict(membership), 'alive');
  silence(membership, 60_500, 62_000);
  assert.equal(verdict(membership), 'dead');
});

test('an observer that hears not even itself is cut off: nobody dies, whatever the evidence', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  silence(membership, 4875, 5000);
  stillness(membership, 5125, 30_000);
  membership.broken('inventory-3-aaa', 30_010);
  stillness(membership, 30_125, 60_000);
  assert.equal(verdict(membership), 'suspect');
  assert.notEqual(verdict(membership, 'gateway-1-own'), 'dead');
  silence(membership, 60_010, 60_400);
  assert.equal(verdict(membership), 'suspect', 'the stillness was not its silence');
  silence(membership, 60_500, 62_000);
  assert.equal(verdict(membership), 'dead');
});

test('a pause of the observer itself is no silence of others', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  membership.look(15_000);
  assert.equal(verdict(membership), 'alive');
  // What waited in the socket may be read before the timer looks; then the pause must not count twice.
  membership.heard(beat({ sequence: 9000 }), 30_000);
  membership.look(30_000);
  silence(membership, 30_125, 31_500);
  assert.equal(verdict(membership), 'dead');
});

test('a farewell is dead at once and stays so', () => {
  const membership = new Membership(0);
  live(membership, 0, 1000);
  membership.left('inventory-3-aaa', 1010);
  assert.equal(verdict(membership), 'dead');
  membership.heard(beat({ sequence: 1e6 }), 1020);
  assert.equal(verdict(membership), 'dead');
});

test('a main loop that is busy is slow, one that hangs is stuck, and both are not dead', () => {
  const membership = new Membership(0);
  live(membership, 0, 1000, { mainLoopSilentMs: 600 });
  assert.equal(verdict(membership), 'slow');
  membership.heard(beat({ sequence: 5000, mainLoopSilentMs: 4000 }), 1250);
  assert.equal(verdict(membership), 'stuck');
  membership.heard(beat({ sequence: 5001 }), 1500);
  assert.equal(verdict(membership), 'alive');
});

test('a new process in the slot of a silent one speeds up its death, but not while that one still beats', () => {
  const membership = new Membership(0);
  live(membership, 0, 5000);
  silence(membership, 5125, 5375);
  membership.heard(beat({ id: 'inventory-3-bbb', startedAt: 200 }), 5510);
  membership.look(5510);
  assert.equal(verdict(membership), 'dead');
  const roll = new Membership(0);
  live(roll, 0, 5000);
  roll.heard(beat({ id: 'inventory-3-bbb', startedAt: 200 }), 5010);
  roll.heard(beat({ sequence: 9999 }), 5100);
  roll.look(5110);
  assert.equal(verdict(roll), 'alive');
});

test('only what moves calls counts as a change; late beats of the past are ignored', () => {
  const membership = new Membership(0);
  assert.equal(membership.heard(beat(), 0), true);
  assert.equal(membership.heard(beat({ sequence: 2, load: { ...beat().load, inflight: 99 } }), 250), false);
  assert.equal(membership.member('inventory-3-aaa')!.beat.load.inflight, 99);
  assert.equal(
    membership.heard(beat({ sequence: 3, partitions: [{ partition: 5, ready: true, epoch: 9, position: 999 }] }), 500),
    false,
  );
  assert.equal(membership.heard(beat({ sequence: 4, ready: false }), 750), true);
  assert.equal(membership.heard(beat({ sequence: 5, ready: false, doors: ['http://10.0.0.1:1'] }), 760), true);
  assert.equal(membership.heard(beat({ sequence: 2, ready: true }), 800), false);
  assert.equal(membership.member('inventory-3-aaa')!.beat.ready, false);
});

test('a beat survives the wire, and garbage is no beat', () => {
  assert.deepEqual(decodeBeat(encodeBeat(beat())), beat());
  const gateway = beat({ doors: ['http://10.0.0.1:3000', 'https://[fd00::1]:3443'] });
  assert.deepEqual(decodeBeat(encodeBeat(gateway)), gateway);
  const random = seededRandom(11);
  const good = encodeBeat(beat());
  for (let i = 0; i < 2000; i++) {
    const bytes = Uint8Array.from({ length: random.below(80) }, () => random.below(256));
    decodeBeat(bytes);
    const bent = good.slice(0, random.below(good.length));
    if (bent.length > 0) bent[random.below(bent.length)] = random.below(256);
    decodeBeat(bent);
  }
});

test('who has just begun to hear beats, or was cut off, does not know everybody yet', () => {
  const membership = new Membership(0);
  assert.equal(membership.knowsAll(60_000), false, 'nothing was ever heard');
  live(membership, 60_000, 61_250);
  assert.equal(membership.knowsAll(61_250), false);
  live(membership, 61_500, 62_000);
  assert.equal(membership.knowsAll(62_000), true);
  stillness(membership, 62_125, 63_500);
  assert.equal(membership.knowsAll(63_500), false, 'cut off');
  live(membership, 63_500, 64_500);
  assert.equal(membership.knowsAll(64_500), false, 'others may still be on their way back');
  live(membership, 64_750, 65_500);
  assert.equal(membership.knowsAll(65_500), true);
  membership.connection(false, 65_500);
  membership.connection(true, 65_600);
  live(membership, 65_600, 66_000);
  assert.equal(membership.knowsAll(66_000), false, 'the bus was lost');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { every } from '../core/clock.ts';
import { seededRandom } from '../core/random.ts';
import { engineModel } from '../simulation/engine.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { claimIdentity } from './cluster-identity.ts';

for (const barrierAppends of [false, true]) {
  test(`a second app of another secret is refused, and takes over only on purpose, while the first does not run (${barrierAppends ? 'barriers that append' : 'barriers that read'})`, async () => {
    const clock = virtualClock();
    const engine = engineModel({ clock, random: seededRandom(1), barrierAppends }).connect(clock);
    const claim = (secret: string, claims = false): Promise<void> =>
      clock.complete(claimIdentity(engine, 'shop', secret, claims, clock));
    await claim('ours');
    await claim('ours');
    const beats = every(clock, 250, () => engine.bus.publish('beat.inventory-1-abc', Buffer.from('beat')));
    await clock.advance(300);
    await assert.rejects(claim('theirs', true), {
      code: 'CONFIG',
      message: /another secret runs.*'shop'.*app=NAME.*TANDEM_SECRET/,
    });
    await claim('ours');
    beats.cancel();
    await clock.advance(300);
    await assert.rejects(claim('theirs'), { code: 'CONFIG', message: /has its data.*--claim/ });
    await claim('theirs', true);
    const again = every(clock, 250, () => engine.bus.publish('beat.inventory-1-def', Buffer.from('beat')));
    await clock.advance(300);
    await assert.rejects(claim('ours'), { code: 'CONFIG' });
    again.cancel();
  });
}

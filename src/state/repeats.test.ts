/** A refusal is an answer to a request like any other: what was answered may not happen after all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeEntry } from '../replication/entry.ts';
import { type Rows, rig } from './fixture.test.ts';

const ofUsers = (body: Uint8Array): boolean => decodeEntry(body).writes.some(([table]) => table === 'stock');

/** Takes three if there are three. */
const take = (tx: Rows): boolean => {
  const stock = tx.stock.get('a') ?? 0;
  if (stock < 3) return false;
  tx.stock.put('a', stock - 3);
  return true;
};

for (const barrierAppends of [false, true]) {
  test(`a repeated request that is refused elsewhere does not happen when its first try lands late (${barrierAppends ? 'barriers that append' : 'barriers that read'})`, async () => {
    const world = rig({ barrierAppends });
    const [x, y] = await world.start('x', 'y');
    await world.clock.complete(() => world.transact(x!, tx => tx.stock.put('a', 0)));
    await world.clock.advance(100);
    let release: (() => Promise<unknown>) | undefined;
    world.hooks.set('x', next => ({
      append: (name, expected, bodies, options) => {
        if (release || !ofUsers(bodies[0]!)) return next.append(name, expected, bodies, options);
        // On its way for a long time, as one that waits in a socket of an engine that is paused.
        release = () => next.append(name, expected, bodies, options);
        return new Promise(() => {});
      },
    }));
    void world.transact(x!, tx => tx.stock.put('a', 5)).catch(() => {});
    void world.transact(x!, take, { id: 'order-1', inputHash: 'h' }).catch(() => {});
    await world.clock.advance(5);
    assert.ok(release, 'both are on their way in one entry');
    x!.kill();
    const took = await world.clock.complete(() =>
      world.transact(y!, take, { id: 'order-1', inputHash: 'h', repeated: true }),
    );
    await world.clock.complete(() =>
      Promise.race([release!(), new Promise(done => world.clock.after(100, () => done(0)))]),
    );
    await world.clock.advance(1000);
    const left = await world.clock.complete(world.read(y!, 'a'));
    assert.equal(took, false);
    assert.ok(left !== 2, 'answered that it was not taken, and taken');
  });
}

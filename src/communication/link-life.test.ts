/** A connection's life: meeting a peer of other versions, keeping it alive, coming back to it, going in order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Channel, SendOptions } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { silentLogger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { virtualClock } from '../simulation/virtual-clock.ts';
import { frameType } from './frame.ts';
import { linkDialer } from './link-dialer.ts';
import { openLinkServer } from './link-server.ts';
import { memoryTransport } from './memory.ts';
import { frame, helloFrame, listen } from './raw-peer.test.ts';
import type { Connection, Transport } from './transport.ts';

const address = 'memory://server';
const withinOf = (clock: Clock, ms = 60_000): SendOptions => ({ deadline: clock.monotonic() + ms });

/** Records what is said at any level. */
function recorder(): { logger: Logger; said: string[] } {
  const said: string[] = [];
  const say = (message: string, fields: object = {}): void => void said.push(`${message} ${JSON.stringify(fields)}`);
  const logger = { ...silentLogger, debug: say, info: say, warn: say, error: say };
  return { logger, said };
}

test('an answering end tells a caller of other versions its own, ends the connection, and records which did not meet', async () => {
  const transport = memoryTransport();
  const clock = virtualClock();
  const { logger, said } = recorder();
  const parts = { transports: [transport], clock, random: seededRandom(1), logger, meter };
  await openLinkServer({ ...parts, address, answer: () => ({ body: 1 }) });
  const caller = transport.connect(address);
  let ended = false;
  caller.onClose = () => {
    ended = true;
  };
  const frames = listen(caller);
  caller.write(helloFrame(7, 9));
  await clock.settle();
  assert.deepEqual(
    frames.map(({ type, content }) => [type, content.toString('hex')]),
    [[frameType.hello, '544e444d0101']],
  );
  assert.ok(ended);
  assert.match(said.join('\n'), /speaks versions 7 to 9 of the link protocol, and this end 1 to 1/);
});

test('with a peer of more versions the highest that both know is spoken, and what its hello says beyond is ignored', async () => {
  const transport = memoryTransport();
  const clock = virtualClock();
  await transport.listen(address, far => {
    listen(far, ({ type, id }) => {
      const hello = Buffer.concat([helloFrame(1, 9).subarray(9), Buffer.from('later fields')]);
      if (type === frameType.hello) far.write(frame(frameType.hello, 0, hello));
      else if (type === frameType.call) far.write(frame(frameType.reply, id, Buffer.from([0, 42])));
    });
  });
  const dialer = linkDialer({ transports: [transport], clock, random: seededRandom(1), logger: silentLogger, meter });
  assert.deepEqual(await dialer.dial(address).call('any', null, withinOf(clock)), { body: 42 });
  await dialer.close();
});

test('a silent peer is asked whether it lives, and given up when it says nothing; one that answers is kept', async () => {
  for (const answers of [true, false]) {
    const transport = memoryTransport();
    const clock = virtualClock();
    let pings = 0;
    await transport.listen(address, far => {
      listen(far, ({ type, id }) => {
        if (type === frameType.hello) far.write(helloFrame());
        if (type !== frameType.ping) return;
        pings++;
        if (answers) far.write(frame(frameType.pong, id));
      });
    });
    const dialer = linkDialer({ transports: [transport], clock, random: seededRandom(1), logger: silentLogger, meter });
    let told = 'waits';
    const call = dialer.dial(address).call('any', null, withinOf(clock));
    call.catch((error: TandemError) => {
      told = `${error.code} ${error.outcome} ${error.message}`;
    });
    await clock.advance(15_000);
    assert.equal(told, 'waits');
    await clock.advance(30_000);
    if (answers) {
      assert.equal(told, 'waits');
      assert.ok(pings >= 2);
    } else {
      assert.equal(pings, 1);
      assert.match(told, /^INTERRUPTED unknown .*silent for 20000 ms/);
    }
    await dialer.close();
  }
});

test('a dead address is dialled in growing, jittered pauses, the same for a seed; nobody waits for it, and it is found again', async () => {
  const attemptsOf = async (seed: number): Promise<{ at: number[]; refusedAtOnce: number }> => {
    const clock = virtualClock();
    const inner = memoryTransport();
    const at: number[] = [];
    const transport: Transport = {
      ...inner,
      connect: to => {
        at.push(clock.monotonic());
        return inner.connect(to);
      },
    };
    const parts = { transports: [transport], clock, random: seededRandom(seed), logger: silentLogger, meter };
    const dialer = linkDialer(parts);
    let refusedAtOnce = 0;
    const ask = (): Promise<void> =>
      dialer
        .dial(address)
        .call('any', null, withinOf(clock))
        .then(
          () => {},
          (error: TandemError) => {
            assert.deepEqual([error.code, error.outcome], ['UNAVAILABLE', 'not-done']);
            if (/a moment ago/.test(error.message)) refusedAtOnce++;
          },
        );
    for (let ms = 0; ms < 8000; ms += 5) {
      await ask();
      await clock.advance(5);
    }
    const server = await openLinkServer({ ...parts, address, answer: () => ({ body: 'back' }) });
    await clock.advance(1000);
    assert.deepEqual(await dialer.dial(address).call('any', null, withinOf(clock)), { body: 'back' });
    const found = at.length;
    await server.close();
    await clock.settle();
    // A connection that was there is forgiven its failures: the next try is at once.
    await ask();
    assert.equal(at.length, found + 1);
    await dialer.close();
    return { at: at.slice(0, found - 1), refusedAtOnce };
  };
  const first = await attemptsOf(1);
  assert.deepEqual(await attemptsOf(1), first, 'a seed repeats');
  assert.notDeepEqual((await attemptsOf(2)).at, first.at);
  const gaps = first.at.slice(1).map((ms, i) => ms - first.at[i]!);
  for (const [i, gap] of gaps.entries()) assert.ok(gap <= Math.min(1000, 2 ** (i + 1)) + 10, `pause ${i} is ${gap} ms`);
  assert.ok(
    gaps.some(gap => gap > 200),
    `pauses grow: ${gaps}`,
  );
  assert.ok(new Set(gaps.slice(-8)).size > 4, `pauses are jittered: ${gaps}`);
  assert.ok(first.refusedAtOnce > 1000);
});

test('after a goaway running calls and streams end well, new calls go to a new connection, and the old one closes', async () => {
  const transport = memoryTransport();
  const clock = virtualClock();
  const accepted: Connection[] = [];
  const watched: Transport = {
    ...transport,
    listen: (at, accept) =>
      transport.listen(at, connection => {
        accepted.push(connection);
        accept(connection);
      }),
  };
  const parts = { transports: [watched], clock, random: seededRandom(1), logger: silentLogger, meter };
  const gate = Promise.withResolvers<void>();
  const old = await openLinkServer({
    ...parts,
    address,
    answer: async function* () {
      yield 'first';
      await gate.promise;
      yield 'last';
    } as never,
  });
  const dialer = linkDialer(parts);
  const channel: Channel = dialer.dial(address);
  let closed = '';
  channel.onClose(end => {
    closed = end;
  });
  const items = channel.stream('items', null, withinOf(clock))[Symbol.asyncIterator]();
  assert.equal((await items.next()).value, 'first');
  const closing = old.close(5000);
  await clock.settle();
  await openLinkServer({ ...parts, address, answer: () => ({ body: 'new' }) });
  assert.deepEqual(await dialer.dial(address).call('any', null, withinOf(clock)), { body: 'new' });
  assert.equal(closed, '');
  gate.resolve();
  assert.equal((await items.next()).value, 'last');
  assert.equal((await items.next()).done, true);
  await closing;
  await clock.settle();
  assert.equal(closed, 'lost');
  assert.equal(accepted.length, 2);
  await assert.rejects(
    channel.call('any', null, withinOf(clock)),
    (error: TandemError) => error instanceof TandemError && error.outcome === 'not-done',
  );
  await dialer.close();
});

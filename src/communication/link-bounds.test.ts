/** What a peer can make this end hold: calls, bodies, answers, items, connections. Each has a bound. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Answerer, Channel, SendOptions } from '../core/channel.ts';
import { systemClock as clock } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { frameType, streamWindowBytes } from './frame.ts';
import { linkDialer } from './link-dialer.ts';
import { openLinkServer } from './link-server.ts';
import { memoryTransport } from './memory.ts';
import { callFrame, frame, helloFrame, listen, readValue, valueBytes } from './raw-peer.test.ts';
import type { Transport } from './transport.ts';

const address = 'memory://server';
const within = (more: Partial<SendOptions> = {}): SendOptions => ({ deadline: clock.monotonic() + 5000, ...more });
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));
const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await turn();
};
const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'ok',
    error => `${error.code} ${error.outcome}`,
  );

async function serve(transport: Transport, answer: Answerer): Promise<{ dial(): Channel; close(): Promise<void> }> {
  const parts = { transports: [transport], clock, random: seededRandom(1), logger, meter };
  const server = await openLinkServer({ ...parts, address, answer });
  const dialer = linkDialer(parts);
  return {
    dial: () => dialer.dial(address),
    close: async () => {
      await dialer.close();
      await server.close();
    },
  };
}

test('calls that a peer does not read are refused before they are sent, once 16 MB wait', async () => {
  const transport = memoryTransport();
  await transport.listen(address, far => {
    listen(far, ({ type }) => {
      if (type !== frameType.hello) return;
      far.write(helloFrame());
      far.pause();
    });
  });
  const dialer = linkDialer({ transports: [transport], clock, random: seededRandom(1), logger, meter });
  const channel = dialer.dial(address);
  const body = Buffer.alloc(1_048_576);
  const calls: Promise<string>[] = [];
  for (let i = 0; i < 64; i++) {
    calls.push(codeOf(channel.call('take', body, within())));
    await turn();
  }
  await dialer.close();
  const told = await Promise.all(calls);
  const refused = told.filter(each => each === 'OVERLOADED not-done').length;
  // What the other calls were told depends on whether their bytes had left.
  assert.ok(refused >= 40, `${refused} of 64: ${[...new Set(told)]}`);
});

test('a peer that does not read its answers gets small errors in their place, and others are served', async () => {
  const transport = memoryTransport();
  const { dial, close } = await serve(transport, ({ method }) => ({
    body: method === 'big' ? Buffer.alloc(1_048_576) : 1,
  }));
  const stranger = transport.connect(address);
  const frames = listen(stranger);
  stranger.write(helloFrame());
  await turn();
  stranger.pause();
  // In one chunk: what comes later is not even read.
  const asks = [callFrame(0, 'big', null)];
  for (let id = 1; id < 200; id++) asks.push(frame(frameType.call, id, Buffer.from([0, 0, 0, 0, 0, 255, 255, 0xc0])));
  stranger.write(Buffer.concat(asks));
  await turns(5);
  assert.deepEqual(await dial().call('small', null, within()), { body: 1 });
  stranger.resume();
  await turns(20);
  const answered = frames.filter(({ type }) => type === frameType.reply).length;
  const errors = frames.filter(({ type }) => type === frameType.error).map(({ content }) => readValue(content));
  assert.equal(answered + errors.length, 199 + 1);
  assert.ok(answered < 24, `${answered} answers of 1 MiB waited`);
  for (const error of errors) assert.equal((error as { code: string }).code, 'OVERLOADED');
  await close();
});

test('bodies of running calls take at most 64 MiB; optional calls are refused first, critical ones last', async () => {
  const { dial, close } = await serve(memoryTransport(), () => new Promise(() => {}));
  const channel = dial();
  const body = Buffer.alloc(4_194_304);
  const order: string[] = [];
  const send = async (priority: 'critical' | 'default' | 'optional', count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      void codeOf(channel.call('hold', body, within({ priority }))).then(told => order.push(`${priority} ${told}`));
      await turns(2);
    }
  };
  await send('optional', 12);
  assert.deepEqual(order, ['optional OVERLOADED not-done'], 'eleven of 4 MiB are 70 %');
  await send('default', 4);
  assert.deepEqual(order.slice(1), ['default OVERLOADED not-done'], 'fourteen are 90 %');
  await send('critical', 2);
  assert.deepEqual(order.slice(2), ['critical OVERLOADED not-done']);
  await close();
});

test('a body of many small maps is charged for what it takes, not for its bytes', async () => {
  const { dial, close } = await serve(memoryTransport(), () => new Promise(() => {}));
  const body = Array.from({ length: 200_000 }, () => ({}));
  const calls = Array.from({ length: 6 }, () => codeOf(dial().call('hold', body, within())));
  assert.equal(await Promise.race(calls), 'OVERLOADED not-done');
  await close();
});

test('a stream is held back at both ends while its reader is slow, whichever way it goes', async () => {
  const item = Buffer.alloc(16_384);
  const itemsMax = streamWindowBytes / item.length + 2;
  const gate = Promise.withResolvers<void>();
  let taken = 0;
  const { dial, close } = await serve(memoryTransport(), async function* ({ items }: { items: AsyncIterable<Buffer> }) {
    yield 'opened';
    await gate.promise;
    for await (const _ of items) taken++;
    yield 'read';
  } as unknown as Answerer);
  let made = 0;
  async function* source(): AsyncIterable<Buffer> {
    for (; made < 100; made++) yield item;
  }
  const answers = dial().stream('upload', null, within(), source())[Symbol.asyncIterator]();
  assert.equal((await answers.next()).value, 'opened');
  await turns(50);
  assert.ok(made <= itemsMax, `${made} items were made for a reader that took none`);
  gate.resolve();
  assert.equal((await answers.next()).value, 'read');
  assert.deepEqual([made, taken], [100, 100]);
  await close();
});

test('a peer that sends more items than it was granted is cut off', async () => {
  const transport = memoryTransport();
  const { close } = await serve(transport, () => new Promise(() => {}));
  const stranger = transport.connect(address);
  const ended = new Promise(resolve => {
    stranger.onClose = resolve;
  });
  listen(stranger);
  stranger.write(helloFrame());
  stranger.write(callFrame(0, 'upload', null, 0, 0b1100));
  const item = frame(frameType.item, 0, valueBytes(Buffer.alloc(65_536)));
  for (let i = 0; i < 8; i++) stranger.write(item);
  await ended;
  await close();
});

test('of many streams none adds to a connection that is full', async () => {
  const transport = memoryTransport();
  let made = 0;
  const { close } = await serve(transport, async function* () {
    for (;;) {
      made++;
      yield Buffer.alloc(131_072);
      await turn();
    }
  } as unknown as Answerer);
  const stranger = transport.connect(address);
  listen(stranger);
  stranger.write(helloFrame());
  await turn();
  stranger.pause();
  stranger.write(callFrame(0, 'endless', null, 0, 0b100));
  // The name was given once; the others use its number.
  for (let id = 1; id < 500; id++) {
    stranger.write(frame(frameType.call, id, Buffer.from([0b100, 0, 0, 0, 0, 255, 255, 0xc0])));
    await turn();
  }
  assert.ok(made < 40, `${made} items of 128 KiB were made for a peer that reads nothing`);
  stranger.destroy();
  await close();
});

test('connections beyond the limit are closed at once, and those that exist go on', async () => {
  const transport = memoryTransport();
  const { dial, close } = await serve(transport, () => ({ body: 'here' }));
  const channel = dial();
  await channel.call('ask', null, within());
  const strangers = Array.from({ length: limits.connectionsMax }, () => {
    const stranger = transport.connect(address);
    return new Promise<boolean>(resolve => {
      stranger.onClose = () => resolve(true);
      setImmediate(() => setImmediate(() => resolve(false)));
    });
  });
  const closed = (await Promise.all(strangers)).filter(Boolean).length;
  assert.equal(closed, 1);
  assert.deepEqual(await channel.call('ask', null, within()), { body: 'here' });
  await close();
});

test('an answering end that sends garbage ends its own calls in a clear error, and nothing else', async () => {
  const transport = memoryTransport();
  const chance = seededRandom(7);
  const good = await serve(transport, ({ body }) => ({ body }));
  const types = Object.values(frameType);
  await transport.listen('memory://garbage', far => {
    listen(far, ({ type, id }) => {
      if (type === frameType.hello && chance.next() < 0.9) far.write(helloFrame());
      const noise = Buffer.from(Array.from({ length: chance.below(60) }, () => chance.below(256)));
      const answer = frame(types[chance.below(types.length)]!, chance.next() < 0.8 ? id : chance.below(5), noise);
      for (let at = 0; at < answer.length; at += 3) far.write(answer.subarray(at, at + 3));
      if (chance.next() < 0.2) far.write(noise);
    });
  });
  const told = new Set<string>();
  for (let round = 0; round < 200; round++) {
    const dialer = linkDialer({ transports: [transport], clock, random: chance, logger, meter });
    const channel = dialer.dial('memory://garbage');
    const calls = [
      codeOf(channel.call('ask', round, { deadline: clock.monotonic() + 30 })),
      codeOf(
        channel
          .stream('ask', round, { deadline: clock.monotonic() + 30 })
          [Symbol.asyncIterator]()
          .next(),
      ),
    ];
    if (round % 20 === 0) assert.deepEqual(await good.dial().call('echo', round, within()), { body: round });
    else await turns(2);
    await dialer.close();
    for (const each of await Promise.all(calls)) told.add(each);
  }
  for (const each of told) assert.match(each, /^(ok|[A-Z_]+ (not-done|unknown))$/);
  assert.ok(told.size > 2, `${[...told]}`);
  await good.close();
});

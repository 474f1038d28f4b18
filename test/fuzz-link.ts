/**
 * The link for the fuzzer: conversations of a caller, well-formed and not, and a client of ours beside them. Half of the
 * mutants get lengths that fit, so that what is in the frames is reached; the answering end has methods of each kind.
 */
import assert from 'node:assert/strict';
import { linkDialer } from '../src/communication/link-dialer.ts';
import { openLinkServer } from '../src/communication/link-server.ts';
import { callFrame, frame, helloFrame, valueBytes } from '../src/communication/raw-peer.test.ts';
import { tcpTransport } from '../src/communication/tcp.ts';
import type { Answerer, Incoming } from '../src/core/channel.ts';
import { systemClock as clock } from '../src/core/clock.ts';
import { DeclaredError, TandemError } from '../src/core/errors.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { type FuzzProtocol, overTcp, type Sample } from './fuzz-protocol.ts';

const transports = [tcpTransport()];
const [call, cancel, item, end, credit, ping] = [2, 5, 6, 7, 8, 9];

async function* counted(incoming: Incoming): AsyncGenerator<unknown> {
  let count = 0;
  for await (const each of incoming.items ?? []) yield [count++, each];
  for (; count < 5; count++) yield { count, text: 'x'.repeat(count * 100) };
}

const answer: Answerer = incoming => {
  switch (incoming.method) {
    case 'echo':
      return { body: incoming.body, meta: incoming.meta };
    case 'later':
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => resolve({ body: incoming.body }), 5);
        incoming.signal.addEventListener('abort', () => {
          clearTimeout(timer);
          reject(incoming.signal.reason);
        });
      });
    case 'declared':
      throw new DeclaredError('outOfStock', 409, { left: 1 });
    case 'stream':
      return counted(incoming);
    default:
      throw new TandemError('NOT_FOUND', `there is no ${incoming.method}`);
  }
};

const hello = helloFrame();
const body = {
  sku: 'chair',
  n: [1, -2, 300, 70_000, 5e9, -1.5, 2 ** 60],
  deep: [[[[{}]]]],
  blob: Buffer.alloc(40, 1),
  é: 'ü'.repeat(30),
};
const numbered = (id: number, number: number, flags: number, ...rest: Uint8Array[]): Buffer =>
  frame(call!, id, Buffer.concat([Buffer.from([flags, number >> 8, number, 0, 0, 1, 44]), ...rest]));
const granted = Buffer.from([0, 1, 0, 0]);

const conversations: Readonly<Record<string, readonly Uint8Array[]>> = {
  'a call': [hello, callFrame(0, 'echo', body)],
  'calls of a named method': [
    hello,
    callFrame(0, 'echo', 1),
    ...[1, 2, 3].map(id => numbered(id, 0, 0, valueBytes(body))),
  ],
  'meta and priority': [
    hello,
    numbered(0, 0, 0b11_0001, valueBytes('echo'), valueBytes({ requestId: 'r', hops: 1 }), valueBytes(body)),
  ],
  'a method that nobody numbers': [hello, numbered(0, 0xffff, 0b10_0000, valueBytes('later'), valueBytes(1))],
  'two methods': [hello, callFrame(0, 'echo', 1, 0), callFrame(1, 'later', 2, 1), numbered(2, 1, 0, valueBytes(3))],
  'a declared error': [hello, callFrame(5, 'declared', null)],
  'a slot used again': [hello, callFrame(0, 'later', 1), numbered(1 << 14, 0, 0, valueBytes(2))],
  cancelled: [hello, callFrame(0, 'later', 1), frame(cancel!, 0)],
  'a stream': [hello, callFrame(0, 'stream', null, 0, 0b100), frame(credit!, 0, granted)],
  'a stream with items': [
    hello,
    callFrame(0, 'stream', null, 0, 0b1100),
    frame(item!, 0, valueBytes(body)),
    frame(item!, 0, valueBytes(2)),
    frame(end!, 0),
  ],
  'a stream left': [hello, callFrame(0, 'stream', null, 0, 0b1100), frame(item!, 0, valueBytes(1)), frame(cancel!, 0)],
  'more items than granted': [
    hello,
    callFrame(0, 'later', null, 0, 0b1100),
    ...Array.from({ length: 9 }, () => frame(item!, 0, valueBytes(Buffer.alloc(40_000)))),
  ],
  pings: [hello, frame(ping!, 7), frame(ping!, 8), callFrame(0, 'echo', 1)],
  'frames for no call': [
    hello,
    frame(cancel!, 99),
    frame(credit!, 3, granted),
    frame(end!, 1),
    frame(item!, 1, valueBytes(1)),
    callFrame(0, 'echo', 1),
  ],
  'a type that is not known': [hello, frame(200, 0, valueBytes(1)), callFrame(0, 'echo', 1)],
  'a number that was never named': [hello, numbered(0, 3, 0, valueBytes(1))],
  'other versions': [helloFrame(7, 9)],
  'no hello': [callFrame(0, 'echo', 1)],
  'a long hello': [frame(1, 0, Buffer.concat([hello.subarray(9), Buffer.alloc(40)]))],
  'HTTP instead': [Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
  'a length over the limit': [hello, Buffer.from('ffffffff02', 'hex')],
  'half a large frame': [hello, Buffer.from('007fffff02', 'hex'), Buffer.alloc(3000)],
  'deeper than allowed': [hello, callFrame(0, 'echo', null).subarray(0, -1), Buffer.alloc(200, 0x91), Buffer.of(0xc0)],
  'more items than bytes': [hello, frame(call!, 0, Buffer.from('200000000003e8a46563686fddffffffff01', 'hex'))],
};

export const protocol: FuzzProtocol = {
  samples: Object.entries(conversations).map(([name, frames]): Sample => ({ name, bytes: Buffer.concat(frames) })),

  async serve() {
    const server = await openLinkServer({
      transports,
      address: 'tcp://127.0.0.1:0',
      answer,
      clock,
      random,
      logger,
      meter,
    });
    return { address: server.address, port: Number(server.address.split(':').at(-1)) };
  },

  /** A hello as it should be, and lengths that fit the bytes that are there. */
  mend(bytes) {
    const mended = Buffer.concat([hello, bytes.subarray(Math.min(bytes.length, hello.length))]);
    for (let at = hello.length; at + 4 <= mended.length; ) {
      const left = mended.length - at - 4;
      const length = mended.readUInt32BE(at);
      if (length < 5 || length > left) mended.writeUInt32BE(left, at);
      at += 4 + mended.readUInt32BE(at);
    }
    return mended;
  },

  attack: ({ port }, bytes, seeded) => overTcp(Number(port), bytes, seeded),

  async openClient({ address }) {
    const dialer = linkDialer({ transports, clock, random, logger, meter });
    const channel = dialer.dial(String(address));
    let count = 0;
    return {
      async ask() {
        const deadline = clock.monotonic() + 5000;
        const sent = { count: ++count, text: 'asked' };
        const [echoed, later] = await Promise.all([
          channel.call('echo', sent, { deadline, meta: count }),
          channel.call('later', sent, { deadline }),
        ]);
        assert.deepEqual([echoed, later], [{ body: sent, meta: count }, { body: sent }]);
        async function* items(): AsyncGenerator<number> {
          yield* [1, 2];
        }
        const back: unknown[] = [];
        for await (const each of channel.stream('stream', null, { deadline }, items())) back.push(each);
        assert.equal(back.length, 5);
        assert.deepEqual(back[1], [1, 2]);
      },
      close: () => dialer.close(),
    };
  },
};

/**
 * DNS for the fuzzer: the corpus of bad packets, and a resolver that must not notice. A case goes out as a datagram, over
 * TCP behind its right length, or over TCP as it is, so that its first bytes are its idea of a length.
 */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { decode } from 'dns-packet';
import { systemClock as clock } from '../src/core/clock.ts';
import { silentLogger as logger } from '../src/core/logger.ts';
import { silentMeter as meter } from '../src/core/meter.ts';
import { systemRandom as random } from '../src/core/random.ts';
import { openDnsServer } from '../src/naming/dns.ts';
import { badQueries, goodQueries, message, question } from './dns-corpus.ts';
import { dnsGateway, dnsMember, dnsRegistry } from './dns-registry.ts';
import { type FuzzProtocol, overTcp, overUdp } from './fuzz-protocol.ts';

const members = [...Array.from({ length: 24 }, (_, index) => dnsMember(index)), dnsGateway(1), dnsGateway(2)];
const service = question('stock.tandem.internal', 33);

export const protocol: FuzzProtocol = {
  samples: [...goodQueries, ...badQueries],

  async serve() {
    const registry = dnsRegistry(members);
    // Few connections, that others are pushed out, and a short patience, that slow ones are.
    const limits = { idleMs: 1000, connectionsMax: 16 };
    const { port } = await openDnsServer({ registry, zone: 'near', clock, random, logger, meter, port: 0, ...limits });
    return { port };
  },

  attack({ port }, bytes, seeded) {
    const manner = seeded.below(3);
    if (manner === 0) return overUdp(Number(port), bytes);
    return overTcp(Number(port), manner === 1 ? framed(bytes) : bytes, seeded);
  },

  async openClient({ port }) {
    const socket = createSocket('udp4');
    const stream = connect({ host: '127.0.0.1', port: Number(port), noDelay: true });
    await once(stream, 'connect');
    const lost = once(stream, 'close').then(() => Promise.reject(new Error('its TCP connection was closed')));
    lost.catch(() => {});
    const overStream = async (id: number): Promise<void> => {
      stream.write(framed(message({ id }, service)));
      let answer = Buffer.alloc(0);
      while (answer.length < 2 || answer.length < 2 + answer.readUInt16BE(0)) {
        const [bytes] = (await once(stream, 'data')) as [Buffer];
        answer = Buffer.concat([answer, bytes]);
      }
      const whole = decode(answer.subarray(2));
      assert.deepEqual([whole.id, whole.answers?.length], [id, 24]);
    };
    let id = 0;
    return {
      async ask() {
        id = (id + 1) & 0xffff;
        socket.send(message({ id }, service), Number(port), '127.0.0.1');
        const [datagram] = (await once(socket, 'message')) as [Buffer];
        const short = decode(datagram);
        assert.deepEqual([short.id, short.answers?.[0]?.type], [id, 'SRV']);
        await Promise.race([overStream(id), lost]);
      },
      close() {
        socket.close();
        stream.destroy();
      },
    };
  },
};

function framed(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from([bytes.length >> 8, bytes.length & 255, ...bytes]);
}

/** DNS for the fuzzer: the corpus as datagrams, and a resolver beside them that must not notice. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { decode } from 'dns-packet';
import { silentLogger } from '../src/core/logger.ts';
import type { Member } from '../src/failure-detection/beat.ts';
import { openDnsServer } from '../src/naming/dns.ts';
import { badQueries, goodQueries, message, question } from './dns-corpus.ts';
import { type FuzzProtocol, overUdp } from './fuzz-protocol.ts';

const members: Member[] = Array.from({ length: 24 }, (_, index) => ({
  beat: {
    id: `stock-${index}-x`,
    role: 'instance',
    service: 'stock',
    node: 'n',
    zone: 'z',
    weight: 1,
    pid: 1,
    address: `tcp://127.0.0.1:${4000 + index}`,
    startedAt: 1,
    sequence: 1,
    sentAt: 1,
    ready: true,
    draining: false,
    mainLoopSilentMs: 0,
    load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
    descriptorHash: 'h',
    partitions: [],
    entryFormat: 1,
  },
  verdict: 'alive',
  since: 0,
  clockAheadMs: 0,
}));

export const protocol: FuzzProtocol = {
  samples: [...goodQueries, ...badQueries],

  async serve() {
    const registry = {
      instances: (service: string) => (service === 'stock' ? members : []),
      members: () => members,
      services: () => ['stock'],
    };
    const { port } = await openDnsServer({ registry, logger: silentLogger, port: 0 });
    return { port };
  },

  attack: ({ port }, bytes) => overUdp(Number(port), bytes),

  async openClient({ port }) {
    const socket = createSocket('udp4');
    let id = 0;
    return {
      async ask() {
        id = (id + 1) & 0xffff;
        socket.send(message({ id }, question('stock.tandem.internal', 1)), Number(port), '127.0.0.1');
        const [bytes] = (await once(socket, 'message')) as [Buffer];
        const reply = decode(bytes);
        assert.deepEqual([reply.id, reply.answers?.[0]?.type], [id, 'A']);
      },
      close: () => void socket.close(),
    };
  },
};

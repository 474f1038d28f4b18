/**
 * The registry as DNS, over UDP and TCP on one port, so that `dig`, HAProxy, nginx and programs in any language find
 * instances and gateways. What is answered is in `dns-answer.ts`; here are only the sockets.
 */
import { createSocket, type Socket } from 'node:dgram';
import { createServer, isIPv6, type Server } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Closable } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import type { Counter, Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { type Carrier, type DnsRegistry, dnsAnswerer } from './dns-answer.ts';
import { DnsConnections } from './dns-connections.ts';

export const dnsDefaults = {
  /** IP address. */
  host: '127.0.0.1',
  /** For so long others keep an answer: as long as a person waits, and long enough that a busy resolver asks once a second. */
  ttlSeconds: 1,
  /** RFC 7766, 6.2.3 asks for seconds. A client that wants more connects again. */
  idleMs: 10_000,
  /** TCP connections. About 10 KB each. */
  connectionsMax: 256,
} as const;

export interface DnsServerOptions
  extends Partial<{ readonly [K in keyof typeof dnsDefaults]: K extends 'host' ? string : number }> {
  readonly registry: DnsRegistry;
  /** The failure zone of this process. */
  readonly zone: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  /** 0: the system's choice. */
  readonly port: number;
}

export interface DnsServer extends Closable {
  readonly address: string;
  readonly port: number;
  /** TCP connections now. */
  readonly connections: number;
}

/** Counter {carrier, code}. */
const metricName = 'tandem.dns.answers';
/** As `dig` says them (RFC 6895, 2.3). */
const codeNames = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
/** Replies that wait in this process because the system takes no more. */
const unsentBytesMax = 1_048_576;
/** Of the two sockets one may find a port taken that the other got from the system. */
const triesMax = 20;

/** @throws CONFIG when the address cannot be listened on. */
export async function openDnsServer(given: DnsServerOptions): Promise<DnsServer> {
  const options = { ...dnsDefaults, ...given };
  const { host, port, logger, meter } = options;
  const count = counting(meter);
  const answers = dnsAnswerer(options);
  const answer = (bytes: Uint8Array, from: string, carrier: Carrier): Uint8Array | undefined => {
    try {
      // Who comes over IPv4 to a socket of both kinds.
      const reply = answers(bytes, from.replace(/^::ffff:/, ''), carrier);
      if (reply) count(reply, carrier);
      return reply;
    } catch (cause) {
      logger.warn('a DNS question could not be answered', { from, error: cause });
      return undefined;
    }
  };
  const connections = new DnsConnections({ ...options, answer: (bytes, from) => answer(bytes, from, 'tcp') });
  // Half-open: who ends its side after the last question still gets the answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => connections.accept(socket));
  const socket = await bindBoth(server, host, port).catch(cause => {
    throw new TandemError(
      'CONFIG',
      `cannot listen for DNS on ${host}:${port}: ${(cause as Error).message}; name another address with --dns`,
      { cause },
    );
  });
  socket.on('error', cause => logger.warn('DNS socket', { message: cause.message }));
  server.on('error', cause => logger.warn('DNS socket', { message: cause.message }));
  socket.on('message', (bytes, from) => {
    const reply = answer(bytes, from.address, 'udp');
    if (!reply || socket.getSendQueueSize() > unsentBytesMax) return;
    // A reply that is lost is asked for again.
    socket.send(reply, from.port, from.address, () => {});
  });
  return {
    address: host,
    port: socket.address().port,
    get connections() {
      return connections.size;
    },
    close: async () => {
      const closed = [
        new Promise<void>(resolve => socket.close(() => resolve())),
        new Promise<void>(resolve => server.close(() => resolve())),
      ];
      connections.close();
      await Promise.all(closed);
    },
  };
}

/** Counts answers by how they went and what they say; BADVERS, whose upper bits stand elsewhere, as NOERROR. */
function counting(meter: Meter): (reply: Uint8Array, carrier: Carrier) => void {
  const counters = new Map<string, Counter>();
  return (reply, carrier) => {
    const code = reply[3]! & 15;
    const key = `${carrier} ${code}`;
    let counter = counters.get(key);
    if (!counter) {
      counter = meter.counter(metricName, { carrier, code: codeNames[code] ?? String(code) });
      counters.set(key, counter);
    }
    counter.add(1);
  };
}

async function bindBoth(server: Server, host: string, port: number): Promise<Socket> {
  for (let tries = 1; ; tries++) {
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' });
    try {
      await settled(socket, 'listening', () => socket.bind(port, host));
      await settled(server, 'listening', () => server.listen({ host, port: socket.address().port }));
      return socket;
    } catch (cause) {
      // Closing one that did not get its port throws.
      await new Promise<void>(resolve => socket.once('close', resolve).close()).catch(() => {});
      if (port !== 0 || tries >= triesMax) throw cause;
    }
  }
}

function settled(emitter: Socket | Server, event: string, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void) => (): void => {
      emitter.off(event, onEvent);
      emitter.off('error', onError);
      settle();
    };
    const onEvent = end(resolve);
    const onError = (cause: Error): void => end(() => reject(cause))();
    (emitter as Socket).once(event as 'listening', onEvent).once('error', onError);
    start();
  });
}

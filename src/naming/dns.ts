/**
 * The registry as DNS, so that `dig`, HAProxy, nginx and programs in any language find instances. Answers A and SRV for
 * `<service>.tandem.internal` and `_<service>._tcp.tandem.internal` with ready instances only (RFC 1035, RFC 2782).
 * Each instance also has a name of its own, `<id>.<service>.tandem.internal`, the target of its SRV record,
 * and its A record rides along. TTL is short, since an instance may go at any time. Garbage is answered with silence or FORMERR.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { type DecodedPacket, decode, encode, type Packet } from 'dns-packet';
import type { Closable } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import { answerQuestion, type DnsAnswers } from './dns-answers.ts';
import type { Registry } from './registry.ts';

export interface DnsServerOptions {
  readonly registry: Pick<Registry, 'instances' | 'services' | 'members'>;
  readonly logger: Logger;
  readonly host?: string;
  /** 0: the system's choice. */
  readonly port: number;
  readonly ttlSeconds?: number;
}

export interface DnsServer extends Closable {
  readonly address: string;
  readonly port: number;
}

/** What every resolver takes without EDNS (RFC 1035, 4.2.1). */
const datagramBytes = 512;
const datagramBytesMax = 1232;
const responseFlag = 0x8000;
const flags = { authoritative: 0x0400, truncated: 0x0200, recursionWanted: 0x0100 };
const codes = { ok: 0, formatError: 1, notImplemented: 4, noSuchName: 3, refused: 5 };

/** @throws the system's error when the port cannot be had (EADDRINUSE). */
export async function openDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const { registry, logger, host = '127.0.0.1', port, ttlSeconds = 1 } = options;
  const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4' });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, host, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  socket.on('error', cause => logger.warn('DNS socket', { message: cause.message }));
  socket.on('message', (bytes, from) => {
    try {
      const reply = answerPacket(bytes, question => answerQuestion(registry, question, ttlSeconds));
      if (reply) send(socket, reply, from);
    } catch (cause) {
      logger.warn('a DNS question could not be answered', { from: from.address, message: String(cause) });
    }
  });
  const bound = socket.address();
  return {
    address: bound.address,
    port: bound.port,
    close: () => new Promise<void>(resolve => socket.close(() => resolve())),
  };
}

function send(socket: Socket, reply: Uint8Array, { port, address }: RemoteInfo): void {
  socket.send(reply, port, address, () => {}); // a reply that is lost is asked for again
}

/** The answer to one datagram; undefined when it deserves none (too short, or itself an answer: never start a loop). */
export function answerPacket(
  bytes: Uint8Array,
  answer: (question: { name: string; type: string }) => DnsAnswers,
): Uint8Array | undefined {
  if (bytes.length < 12 || (bytes[2]! & 0x80) !== 0) return undefined;
  const id = (bytes[0]! << 8) | bytes[1]!;
  let query: DecodedPacket;
  try {
    query = decode(Buffer.from(bytes));
  } catch {
    return bare(id, codes.formatError);
  }
  if (((bytes[2]! >> 3) & 15) !== 0) return bare(id, codes.notImplemented);
  const question = query.questions?.[0];
  if (!question || query.questions?.length !== 1) return bare(id, codes.formatError);
  const { found, answers, additionals } = answer({ name: question.name, type: question.type });
  const wanted = (bytes[2]! & 1) !== 0 ? flags.recursionWanted : 0;
  const code = found === 'name' ? codes.ok : found === 'foreign' ? codes.refused : codes.noSuchName;
  const edns = query.additionals?.find(extra => extra.type === 'OPT') as { udpPayloadSize?: number } | undefined;
  const room = Math.min(datagramBytesMax, Math.max(datagramBytes, edns?.udpPayloadSize ?? datagramBytes));
  const packet: Packet = {
    type: 'response',
    id,
    flags: responseFlag | flags.authoritative | wanted | code,
    questions: [question],
    answers: [...answers],
    additionals: [...additionals],
  };
  return fitted(packet, room);
}

/** Extras go first, then answers with the truncated flag, until it fits into one datagram. */
function fitted(packet: Packet, room: number): Uint8Array {
  let bytes = encode(packet);
  if (bytes.length <= room) return bytes;
  bytes = encode({ ...packet, additionals: [] });
  const answers = [...(packet.answers ?? [])];
  while (bytes.length > room && answers.length > 0) {
    answers.pop();
    bytes = encode({ ...packet, flags: (packet.flags ?? 0) | flags.truncated, answers, additionals: [] });
  }
  return bytes;
}

function bare(id: number, code: number): Uint8Array {
  return encode({ type: 'response', id, flags: responseFlag | code });
}

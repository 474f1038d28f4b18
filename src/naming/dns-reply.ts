/**
 * Writing a DNS reply (RFC 1035, 4.1): names compressed, and cut to what the asker takes. What was asked for and does not fit sets TC, so
 * that the asker comes again over TCP; additional records are left out without it (RFC 2181, 9). Pure.
 */
import type { DnsHeader, DnsQuestion, Edns } from './dns-query.ts';

export type DnsData =
  /** A (4 bytes) or AAAA (16 bytes, RFC 3596). */
  | { readonly kind: 'address'; readonly bytes: Uint8Array }
  /** RFC 2782. */
  | {
      readonly kind: 'srv';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  /** Each string at most 255 bytes. */
  | { readonly kind: 'txt'; readonly strings: readonly string[] }
  | { readonly kind: 'ns'; readonly target: string }
  | { readonly kind: 'soa'; readonly server: string; readonly mailbox: string; readonly times: readonly number[] };

export interface DnsRecord {
  /** Undefined: the name that was asked for, spelt as it was. */
  readonly name?: string;
  readonly ttl: number;
  readonly data: DnsData;
}

export const recordTypes = {
  A: 1,
  NS: 2,
  SOA: 6,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;
export const replyCodes = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  noSuchName: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

export interface DnsReply {
  /** With EDNS up to 12 bits (RFC 6891, 6.1.3). */
  readonly code: number;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authorities: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

/** What we take in one datagram, and send without knowing better: it is not fragmented on any usual path (DNS flag day 2020). */
export const payloadBytes = 1232;
const flagBits = {
  response: 0x8000,
  opcode: 0x7800,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionWanted: 0x0100,
};
const messageBytesMax = 65_535;
const optBytes = 11;
/** Compression pointers have 14 bits. */
const pointerMax = 0x3fff;
const internet = 1;

/** A reply without any record, when there is no question that could be answered. */
export function bareReply({ id, flags }: DnsHeader, code: number): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, id);
  view.setUint16(2, flagBits.response | (flags & (flagBits.opcode | flagBits.recursionWanted)) | code);
  return bytes;
}

/** The reply as bytes, at most `room` of them; over TCP that is 65,535. */
export function writeReply(
  header: DnsHeader,
  question: DnsQuestion,
  edns: Edns | undefined,
  reply: DnsReply,
  room: number,
): Uint8Array {
  const writer = new Writer(Math.min(room, messageBytesMax) - (edns ? optBytes : 0), question);
  const answers = writer.section(reply.answers);
  const truncated = answers < reply.answers.length;
  const authorities = truncated ? 0 : writer.section(reply.authorities);
  const additionals = truncated ? 0 : writer.section(reply.additionals);
  if (edns) writer.opt(reply.code >> 4, edns.dnssecOk);
  const flags =
    flagBits.response |
    (header.flags & (flagBits.opcode | flagBits.recursionWanted)) |
    (reply.authoritative ? flagBits.authoritative : 0) |
    (truncated ? flagBits.truncated : 0) |
    (reply.code & 15);
  return writer.finish([header.id, flags, 1, answers, authorities, additionals + (edns ? 1 : 0)]);
}

/** Shared: a reply is written in one go and copied out. The record that turns out not to fit is at most so large. */
const scratch: Buffer = Buffer.allocUnsafe(messageBytesMax + 8192);

class Writer {
  readonly #room: number;
  /** Where names, and the ends of names, were written. */
  readonly #names = new Map<string, number>();
  #at: number;
  #fits = true;

  constructor(room: number, question: DnsQuestion) {
    this.#room = room;
    scratch.set(question.bytes, 12);
    this.#at = 12 + question.bytes.length;
    const labels = question.name === '' ? [] : question.name.split('.');
    for (let index = 0, offset = 12; index < labels.length; index++) {
      this.#names.set(labels.slice(index).join('.'), offset);
      // The length as it was sent: a dot inside a label is two characters in the name.
      offset += 1 + scratch[offset]!;
    }
  }

  /** Writes as many as fit; gives how many. */
  section(records: readonly DnsRecord[]): number {
    let count = 0;
    for (const record of records) {
      const begin = this.#at;
      if (this.#fits) this.#record(record);
      if (!this.#fits || this.#at > this.#room) {
        // Names of it that were remembered are never used: nothing with a name comes after.
        this.#at = begin;
        this.#fits = false;
        break;
      }
      count++;
    }
    return count;
  }

  #record({ name, ttl, data }: DnsRecord): void {
    if (name === undefined) this.#word(0xc00c);
    else this.#name(name, true);
    this.#word(typeOf(data));
    this.#word(internet);
    this.#long(ttl);
    const lengthAt = this.#at;
    this.#at += 2;
    this.#data(data);
    scratch.writeUInt16BE(this.#at - lengthAt - 2, lengthAt);
  }

  #data(data: DnsData): void {
    if (data.kind === 'address') {
      scratch.set(data.bytes, this.#at);
      this.#at += data.bytes.length;
    } else if (data.kind === 'srv') {
      this.#word(data.priority);
      this.#word(data.weight);
      this.#word(data.port);
      // Not compressed: RFC 2782.
      this.#name(data.target, false);
    } else if (data.kind === 'txt') {
      for (const text of data.strings) {
        const length = scratch.write(text, this.#at + 1, 255);
        scratch[this.#at] = length;
        this.#at += 1 + length;
      }
    } else if (data.kind === 'ns') this.#name(data.target, true);
    else {
      this.#name(data.server, true);
      this.#name(data.mailbox, true);
      for (const time of data.times) this.#long(time);
    }
  }

  #name(name: string, compress: boolean): void {
    const labels = name.split('.');
    for (let index = 0; index < labels.length; index++) {
      const rest = labels.slice(index).join('.');
      const known = this.#names.get(rest);
      if (known !== undefined && compress) {
        this.#word(0xc000 | known);
        return;
      }
      if (known === undefined && this.#at <= pointerMax) this.#names.set(rest, this.#at);
      const length = scratch.write(labels[index]!, this.#at + 1, 63, 'latin1');
      scratch[this.#at] = length;
      this.#at += 1 + length;
    }
    scratch[this.#at++] = 0;
  }

  opt(codeAbove: number, dnssecOk: boolean): void {
    scratch[this.#at++] = 0;
    this.#word(recordTypes.OPT);
    this.#word(payloadBytes);
    this.#word(codeAbove << 8);
    this.#word(dnssecOk ? 0x8000 : 0);
    this.#word(0);
  }

  finish(header: readonly number[]): Uint8Array {
    header.forEach((value, index) => void scratch.writeUInt16BE(value, index * 2));
    return Uint8Array.from(scratch.subarray(0, this.#at));
  }

  #word(value: number): void {
    this.#at = scratch.writeUInt16BE(value, this.#at);
  }

  #long(value: number): void {
    this.#at = scratch.writeUInt32BE(value >>> 0, this.#at);
  }
}

export function typeOf(data: DnsData): number {
  if (data.kind === 'address') return data.bytes.length === 4 ? recordTypes.A : recordTypes.AAAA;
  return { srv: recordTypes.SRV, txt: recordTypes.TXT, ns: recordTypes.NS, soa: recordTypes.SOA }[data.kind];
}

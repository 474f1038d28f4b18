/**
 * Reading a DNS query (RFC 1035, 4.1; EDNS: RFC 6891). Pure. Only what an authoritative server needs is kept; the rest is walked over to see that it
 * is well-formed. No compression pointer is ever followed: before the question's name there is no other name that it
 * could point to, and names behind it are only skipped, so there is no loop to be caught in.
 */

export interface DnsQuestion {
  /** In lower case (RFC 4343), without the last dot; the root is the empty text. A dot inside a label is written `\.`, as no name of ours is. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** As it was sent, to be sent back: askers compare the mixed case of the name. */
  readonly bytes: Uint8Array;
}

export interface Edns {
  /** What the asker takes in one datagram. */
  readonly payloadBytes: number;
  readonly version: number;
  /** DO (RFC 3225): to be copied into the reply. */
  readonly dnssecOk: boolean;
}

export interface DnsHeader {
  readonly id: number;
  /** The second word: QR, opcode, AA, TC, RD, RA, code. */
  readonly flags: number;
}

export type DnsQuery =
  | {
      readonly kind: 'query';
      readonly header: DnsHeader;
      readonly question: DnsQuestion;
      readonly edns: Edns | undefined;
    }
  /** Answered with this code (RFC 1035, 4.1.1) and nothing else. */
  | { readonly kind: 'refused'; readonly header: DnsHeader; readonly code: number }
  /** Too short to have an id, or itself an answer: two servers must never talk each other into a loop. */
  | { readonly kind: 'silence' };

export const headerBytes = 12;
const labelBytesMax = 63;
const nameBytesMax = 255;
const optType = 41;
const codes = { formatError: 1, notImplemented: 4 };

export function readQuery(bytes: Uint8Array): DnsQuery {
  if (bytes.length < headerBytes) return { kind: 'silence' };
  const header = { id: word(bytes, 0), flags: word(bytes, 2) };
  if ((header.flags & 0x8000) !== 0) return { kind: 'silence' };
  if (((header.flags >> 11) & 15) !== 0) return { kind: 'refused', header, code: codes.notImplemented };
  return readQuestion(bytes, header) ?? { kind: 'refused', header, code: codes.formatError };
}

/** Undefined when it is malformed. */
function readQuestion(bytes: Uint8Array, header: DnsHeader): DnsQuery | undefined {
  // More than one question was never defined (RFC 9619).
  if (word(bytes, 4) !== 1) return undefined;
  const labels: string[] = [];
  let at = headerBytes;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > labelBytesMax) return undefined;
    at += 1 + length;
    if (at > bytes.length || at - headerBytes > nameBytesMax) return undefined;
    if (length === 0) break;
    labels.push(labelText(bytes.subarray(at - length, at)));
  }
  if (at + 4 > bytes.length) return undefined;
  const question: DnsQuestion = {
    name: labels.join('.'),
    type: word(bytes, at),
    class: word(bytes, at + 2),
    bytes: bytes.subarray(headerBytes, at + 4),
  };
  at += 4;
  const plain = word(bytes, 6) + word(bytes, 8);
  let edns: Edns | undefined;
  for (let number = 0, count = plain + word(bytes, 10); number < count; number++) {
    const owner = at;
    at = afterName(bytes, at);
    const end = at + 10 + (at + 10 <= bytes.length ? word(bytes, at + 8) : 0);
    if (at < 0 || at + 10 > bytes.length || end > bytes.length) return undefined;
    if (word(bytes, at) === optType) {
      // One, in the additional section, of the root (RFC 6891, 6.1.1).
      if (edns || number < plain || bytes[owner] !== 0 || !areOptions(bytes.subarray(at + 10, end))) return undefined;
      edns = { payloadBytes: word(bytes, at + 2), version: bytes[at + 5]!, dnssecOk: (bytes[at + 6]! & 0x80) !== 0 };
    }
    at = end;
  }
  if (at !== bytes.length) return undefined;
  return { kind: 'query', header, question, edns };
}

function labelText(label: Uint8Array): string {
  return Buffer.from(label.buffer, label.byteOffset, label.length)
    .toString('latin1')
    .toLowerCase()
    .replaceAll('.', '\\.');
}

/** Where the name ends that begins at `at`; negative when it does not. A pointer must point back, as it has been compressed from what was written before. */
function afterName(bytes: Uint8Array, at: number): number {
  for (let next = at; next - at <= nameBytesMax; ) {
    const length = bytes[next];
    if (length === undefined) return -1;
    if (length === 0) return next + 1;
    if (length >= 0xc0) return next + 2 <= bytes.length && (word(bytes, next) & 0x3fff) < at ? next + 2 : -1;
    if (length > labelBytesMax) return -1;
    next += 1 + length;
  }
  return -1;
}

/** Pairs of code and length (RFC 6891, 6.1.2). None of them means anything to us. */
function areOptions(data: Uint8Array): boolean {
  let at = 0;
  while (at + 4 <= data.length) at += 4 + word(data, at + 2);
  return at === data.length;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

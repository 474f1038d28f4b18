/** DNS messages, well-formed and malformed, each with a name that says what is wrong with it. Built by hand, byte by byte: a library would not write them. */
import type { Sample } from './fuzz-protocol.ts';

interface Header {
  readonly id?: number;
  readonly flags?: number;
  /** Questions, answers, authorities, additionals, as the header claims. */
  readonly counts?: readonly [number, number, number, number];
}

const text = new TextEncoder();

export function message(
  { id = 0x1234, flags = 0x0100, counts = [1, 0, 0, 0] }: Header,
  ...parts: number[][]
): Uint8Array {
  const words = [id, flags, ...counts].flatMap(word => [word >> 8, word & 255]);
  return Uint8Array.from([...words, ...parts.flat()]);
}

/** `stock.tandem.internal` as labels with the root at the end. */
export function labels(name: string): number[] {
  return [...name.split('.').flatMap(label => [label.length, ...text.encode(label)]), 0];
}

export function question(name: string, type: number, dnsClass = 1): number[] {
  return [...labels(name), type >> 8, type & 255, dnsClass >> 8, dnsClass & 255];
}

/** RFC 6891, 6.1.2. */
export function opt(
  payloadBytes: number,
  version = 0,
  data: readonly number[] = [],
  claimed: number = data.length,
): number[] {
  return [0, 0, 41, payloadBytes >> 8, payloadBytes & 255, 0, version, 0, 0, claimed >> 8, claimed & 255, ...data];
}

const stock = 'stock.tandem.internal';
const types = { A: 1, NS: 2, SOA: 6, TXT: 16, AAAA: 28, SRV: 33, ANY: 255 };
const withOpt = [1, 0, 0, 1] as const;
/** Where the question's name begins. */
const first = [0xc0, 12];

/** Each is answered without an error. */
export const goodQueries: readonly Sample[] = [
  ...Object.entries(types).map(([name, type]) => ({
    name: `${name} of a service`,
    bytes: message({}, question(stock, type)),
  })),
  { name: 'mixed case (0x20)', bytes: message({}, question('StOcK.taNDem.INTernal', 1)) },
  { name: 'SRV by its RFC 2782 name', bytes: message({}, question('_stock._tcp.tandem.internal', 33)) },
  { name: 'EDNS, large payload', bytes: message({ counts: withOpt }, question(stock, 33), opt(4096)) },
  { name: 'EDNS, payload 0', bytes: message({ counts: withOpt }, question(stock, 33), opt(0)) },
  {
    name: 'EDNS with a cookie',
    bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 0, [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])),
  },
  { name: 'the zone itself', bytes: message({}, question('tandem.internal', 6)) },
];

/** None may be answered with records, and none may do anything else. */
export const badQueries: readonly Sample[] = [
  { name: 'nothing', bytes: new Uint8Array(0) },
  { name: 'one byte', bytes: Uint8Array.of(0) },
  { name: 'eleven bytes of a header', bytes: message({}).subarray(0, 11) },
  { name: 'a header that promises a question', bytes: message({}) },
  { name: 'zero bytes', bytes: new Uint8Array(64) },
  { name: 'ones', bytes: new Uint8Array(64).fill(0xff) },
  { name: 'no question', bytes: message({ counts: [0, 0, 0, 0] }) },
  { name: 'two questions', bytes: message({ counts: [2, 0, 0, 0] }, question(stock, 1), question(stock, 28)) },
  { name: '65535 questions claimed', bytes: message({ counts: [65535, 0, 0, 0] }, question(stock, 1)) },
  { name: '65535 of everything claimed', bytes: message({ counts: [1, 65535, 65535, 65535] }, question(stock, 1)) },
  { name: 'an answer claimed that is not there', bytes: message({ counts: [1, 1, 0, 0] }, question(stock, 1)) },
  { name: 'an additional record claimed that is not there', bytes: message({ counts: withOpt }, question(stock, 1)) },
  { name: 'bytes behind the end', bytes: message({}, question(stock, 1), [0]) },
  { name: 'a response', bytes: message({ flags: 0x8180 }, question(stock, 1)) },
  { name: 'a response with an error', bytes: message({ flags: 0x8183 }, question(stock, 1)) },
  { name: 'opcode IQUERY', bytes: message({ flags: 0x0800 }, question(stock, 1)) },
  { name: 'opcode STATUS', bytes: message({ flags: 0x1000 }, question(stock, 1)) },
  { name: 'opcode NOTIFY', bytes: message({ flags: 0x2000 }, question(stock, 6)) },
  { name: 'opcode UPDATE', bytes: message({ flags: 0x2800 }, question(stock, 6)) },
  { name: 'class CHAOS', bytes: message({}, question('version.bind', 16, 3)) },
  { name: 'class HESIOD', bytes: message({}, question(stock, 1, 4)) },
  { name: 'class 0', bytes: message({}, question(stock, 1, 0)) },
  { name: 'class NONE', bytes: message({}, question(stock, 1, 254)) },
  { name: 'a zone transfer (AXFR)', bytes: message({}, question('tandem.internal', 252)) },
  { name: 'a zone transfer (IXFR)', bytes: message({}, question('tandem.internal', 251)) },
  { name: 'a foreign name', bytes: message({}, question('example.org', 1)) },
  { name: 'the root', bytes: message({}, [0, 0, 1, 0, 1]) },
  { name: 'a name that ends in nothing', bytes: message({}, [5, 115, 116]) },
  { name: 'a question without class', bytes: message({}, [...labels(stock), 0, 1]) },
  { name: 'a question without type', bytes: message({}, labels(stock)) },
  {
    name: 'a label of 64 bytes',
    bytes: message({}, [64, ...Array<number>(64).fill(97), ...labels(stock), 0, 1, 0, 1]),
  },
  { name: 'a label that says 191', bytes: message({}, [191, ...labels(stock), 0, 1, 0, 1]) },
  {
    name: 'a name of 256 bytes',
    bytes: message({}, [...Array.from({ length: 4 }, () => [63, ...Array<number>(63).fill(97)]).flat(), 0, 0, 1, 0, 1]),
  },
  {
    name: 'a name of 4000 bytes',
    bytes: message({}, [...Array.from({ length: 2000 }, () => [1, 97]).flat(), 0, 0, 1, 0, 1]),
  },
  { name: 'a pointer to itself', bytes: message({}, [...first, 0, 1, 0, 1]) },
  { name: 'a pointer forward', bytes: message({}, [0xc0, 20, 0, 1, 0, 1, 0, 0, 0]) },
  { name: 'a pointer into the header', bytes: message({}, [0xc0, 0, 0, 1, 0, 1]) },
  { name: 'a pointer beyond the end', bytes: message({}, [0xff, 0xff, 0, 1, 0, 1]) },
  { name: 'half a pointer', bytes: message({}, [0xc0]) },
  { name: 'two pointers in a circle', bytes: message({}, [1, 97, 0xc0, 16, 1, 98, ...first, 0, 1, 0, 1]) },
  { name: 'a label and a pointer back to it', bytes: message({}, [1, 97, ...first, 0, 1, 0, 1]) },
  {
    name: 'a chain of pointers',
    bytes: message({}, [...Array.from({ length: 120 }, (_, at) => [0xc0, 12 + at * 2]).flat(), 0, 1, 0, 1]),
  },
  { name: 'label type 01', bytes: message({}, [0x41, 1, ...labels(stock), 0, 1, 0, 1]) },
  { name: 'label type 10', bytes: message({}, [0x81, 1, ...labels(stock), 0, 1, 0, 1]) },
  { name: 'OPT cut short', bytes: message({ counts: withOpt }, question(stock, 1), opt(1232).slice(0, 7)) },
  {
    name: 'OPT whose length lies',
    bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 0, [1, 2], 4000)),
  },
  {
    name: 'OPT with half an option',
    bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 0, [0, 10, 0])),
  },
  {
    name: 'an option whose length lies',
    bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 0, [0, 10, 255, 255, 1])),
  },
  { name: 'two OPTs', bytes: message({ counts: [1, 0, 0, 2] }, question(stock, 1), opt(1232), opt(4096)) },
  { name: 'OPT that has a name', bytes: message({ counts: withOpt }, question(stock, 1), [1, 97, ...opt(1232)]) },
  { name: 'EDNS version 1', bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 1)) },
  { name: 'EDNS version 255', bytes: message({ counts: withOpt }, question(stock, 1), opt(1232, 255)) },
  {
    name: 'a record whose length lies',
    bytes: message({ counts: [1, 1, 0, 0] }, question(stock, 1), [...first, 0, 1, 0, 1, 0, 0, 0, 1, 255, 255, 1]),
  },
  {
    name: 'a record whose name points forward',
    bytes: message({ counts: [1, 1, 0, 0] }, question(stock, 1), [0xc1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0]),
  },
  {
    name: 'labels of bytes that are no text',
    bytes: message({}, [4, 0, 0xff, 0xfe, 46, ...labels('tandem.internal'), 0, 1, 0, 1]),
  },
  {
    name: 'a label with dots in it',
    bytes: message({}, [5, 115, 46, 46, 46, 46, ...labels('tandem.internal'), 0, 1, 0, 1]),
  },
  { name: 'a label that spells the zone', bytes: message({}, [21, ...text.encode(stock), 0, 0, 1, 0, 1]) },
  { name: 'an empty message before a query', bytes: Uint8Array.from([0, 0, ...message({}, question(stock, 1))]) },
  { name: 'HTTP', bytes: text.encode('GET / HTTP/1.1\r\nHost: tandem.internal\r\n\r\n') },
  { name: 'TLS hello', bytes: Uint8Array.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, ...Array<number>(64).fill(7)]) },
];

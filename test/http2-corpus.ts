/** HTTP/2 as bytes: connections that are as they should be, and those that break each rule of RFC 9113 and 7541 that a client can break, or lean on what a server must bear. */
import type { Sample } from './fuzz-protocol.ts';

export const preface: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const none = Buffer.alloc(0);

export const kind = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  window: 8,
  continuation: 9,
} as const;
const endStream = 1;
const endHeaders = 4;
const padded = 8;

export function frame(type: number, flags: number, stream: number, payload: Buffer = none): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A field as HPACK writes one without index and Huffman. */
function field(name: string, value: string): Buffer {
  return Buffer.concat([
    Buffer.from([0]),
    lengthOf(name),
    Buffer.from(name),
    lengthOf(value),
    Buffer.from(value, 'latin1'),
  ]);
}
function lengthOf(text: string): Buffer {
  const bytes = Buffer.byteLength(text, 'latin1');
  if (bytes < 127) return Buffer.from([bytes]);
  const parts = [127];
  let left = bytes - 127;
  for (; left >= 128; left >>= 7) parts.push((left & 127) | 128);
  return Buffer.from([...parts, left]);
}
const fields = (...pairs: [string, string][]): Buffer => Buffer.concat(pairs.map(pair => field(...pair)));
const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * index);
  return bytes;
};

/** GET, http, host x: indexed where the static table has it. */
const get = (path: string): Buffer =>
  Buffer.concat([Buffer.from([0x82, 0x86, 0x04]), lengthOf(path), Buffer.from(path), Buffer.from([0x01, 1, 0x78])]);
const post = (path: string): Buffer => Buffer.concat([Buffer.from([0x83]), get(path).subarray(1)]);
const json = fields(['content-type', 'application/json']);
const both = endStream | endHeaders;
const hello = Buffer.concat([preface, frame(kind.settings, 0, 0), frame(kind.settings, 1, 0)]);
const talk = (...frames: Buffer[]): Buffer => Buffer.concat([hello, ...frames]);
const times = (count: number, make: (index: number) => Buffer): Buffer[] =>
  Array.from({ length: count }, (_, i) => make(i));
const streamAt = (index: number): number => 2 * index + 1;
const asked = (id = 1, path = '/stock/a'): Buffer => frame(kind.headers, both, id, get(path));

const good: Readonly<Record<string, Buffer>> = {
  get: talk(asked()),
  'get that is Huffman coded': talk(
    frame(kind.headers, both, 1, Buffer.from('828684418cf1e3c2e5f23a6ba0ab90f4ff', 'hex')),
  ),
  many: talk(...times(20, i => asked(streamAt(i)))),
  head: talk(frame(kind.headers, both, 1, Buffer.concat([fields([':method', 'HEAD']), get('/stock/a').subarray(1)]))),
  post: talk(
    frame(kind.headers, endHeaders, 1, Buffer.concat([post('/call/stock/count'), json])),
    frame(kind.data, endStream, 1, Buffer.from('{"n":1}')),
  ),
  'post in pieces, padded': talk(
    frame(kind.headers, endHeaders | padded, 1, Buffer.concat([Buffer.from([3]), post('/hook'), Buffer.alloc(3)])),
    ...times(5, i => frame(kind.data, padded, 1, Buffer.from([2, i, i, i, 0, 0]))),
    frame(kind.data, endStream, 1),
  ),
  'headers in pieces': talk(
    frame(kind.headers, endStream, 1, get('/stock/a').subarray(0, 4)),
    frame(kind.continuation, endHeaders, 1, get('/stock/a').subarray(4)),
  ),
  events: talk(asked(1, '/stock/a/live'), frame(kind.window, 0, 1, u32(100))),
  'large answer': talk(
    asked(1, '/stock/large'),
    frame(kind.window, 0, 0, u32(1_000_000)),
    frame(kind.window, 0, 1, u32(1_000_000)),
  ),
  trailers: talk(
    frame(kind.headers, endHeaders, 1, post('/hook')),
    frame(kind.data, 0, 1, Buffer.from('x')),
    frame(kind.headers, both, 1, fields(['x-trailer', '1'])),
  ),
  'dynamic table': talk(
    frame(
      kind.headers,
      both,
      1,
      Buffer.concat([get('/stock/a'), Buffer.from([0x40, 3]), Buffer.from('x-a'), Buffer.from([1, 0x62])]),
    ),
    frame(kind.headers, both, 3, Buffer.concat([get('/stock/a'), Buffer.from([0xbe])])),
  ),
  'ping and priority': talk(
    frame(kind.ping, 0, 0, Buffer.alloc(8)),
    frame(kind.priority, 0, 1, Buffer.from([0, 0, 0, 0, 15])),
    asked(3),
  ),
  cancel: talk(asked(1, '/stock/a/live'), frame(kind.reset, 0, 1, u32(8))),
  goodbye: talk(asked(), frame(kind.goaway, 0, 0, u32(0, 0))),
};

/** An entry of the dynamic table as large as it takes, named again and again: few bytes in, many out. */
const bomb = Buffer.concat([
  get('/stock/a'),
  Buffer.from([0x40, 1, 0x78]),
  lengthOf('y'.repeat(4000)),
  Buffer.from('y'.repeat(4000)),
  Buffer.alloc(10_000, 0xbe),
]);

const bad: Readonly<Record<string, Buffer>> = {
  'half a preface': preface.subarray(0, 10),
  'a preface and no settings': Buffer.concat([preface, asked()]),
  'HTTP/1.1 in its place': Buffer.from('PRI * HTTP/1.1\r\nhost: x\r\n\r\n'),
  'headers on stream 0': talk(asked(0)),
  'an even stream': talk(asked(2)),
  'a stream that goes back': talk(asked(5), asked(3)),
  'data on a stream that is none': talk(frame(kind.data, 0, 9, Buffer.from('x'))),
  'data on stream 0': talk(frame(kind.data, 0, 0, Buffer.from('x'))),
  'data after the end': talk(asked(), frame(kind.data, 0, 1, Buffer.from('x'))),
  'a window grown by nothing': talk(asked(), frame(kind.window, 0, 1, u32(0)), frame(kind.window, 0, 0, u32(0))),
  'a window that overflows': talk(frame(kind.window, 0, 0, u32(0x7fffffff)), frame(kind.window, 0, 0, u32(0x7fffffff))),
  'a window of three bytes': talk(frame(kind.window, 0, 0, Buffer.from([0, 0, 1]))),
  'settings of five bytes': talk(frame(kind.settings, 0, 0, Buffer.alloc(5))),
  'settings on a stream': talk(frame(kind.settings, 0, 1)),
  'an acknowledgement with a payload': talk(frame(kind.settings, 1, 0, Buffer.alloc(6))),
  'settings out of range': talk(frame(kind.settings, 0, 0, Buffer.from('000480000000000500000001000300000000', 'hex'))),
  'a ping of seven bytes': talk(frame(kind.ping, 0, 0, Buffer.alloc(7))),
  'a push by a client': talk(frame(kind.push, endHeaders, 1, Buffer.concat([u32(2), get('/')]))),
  'a reset of what is none': talk(frame(kind.reset, 0, 7, u32(8))),
  'a reset of three bytes': talk(asked(), frame(kind.reset, 0, 1, Buffer.alloc(3))),
  'a stream that hangs on itself': talk(frame(kind.priority, 0, 1, Buffer.from([0, 0, 0, 1, 1]))),
  'more padding than frame': talk(frame(kind.headers, both | padded, 1, Buffer.concat([Buffer.from([255]), get('/')]))),
  'a frame of no known kind': talk(frame(0x7f, 0xff, 1, Buffer.alloc(100)), asked()),
  'a frame that is too large': talk(frame(kind.data, 0, 1, Buffer.alloc(20_000))),
  'a length and no bytes': talk(Buffer.from('ffffff000000000001', 'hex')),
  'a continuation of nothing': talk(frame(kind.continuation, endHeaders, 1, get('/'))),
  'another frame amid headers': talk(frame(kind.headers, 0, 1, get('/')), frame(kind.ping, 0, 0, Buffer.alloc(8))),
  'headers without end': talk(
    frame(kind.headers, endStream, 1, get('/')),
    ...times(500, () => frame(kind.continuation, 0, 1, field('x', 'y'.repeat(50)))),
  ),
  'empty continuations': talk(
    frame(kind.headers, endStream, 1, get('/')),
    ...times(2000, () => frame(kind.continuation, 0, 1)),
  ),
  'an index out of the table': talk(frame(kind.headers, both, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]))),
  'index 0': talk(frame(kind.headers, both, 1, Buffer.from([0x80]))),
  'a table that is too large': talk(
    frame(kind.headers, both, 1, Buffer.concat([Buffer.from([0x3f, 0xff, 0xff, 0x7f]), get('/')])),
  ),
  'Huffman that is none': talk(
    frame(kind.headers, both, 1, Buffer.from('82868404' + '8fffffffffffffffffffffffffffffff', 'hex')),
  ),
  'a header bomb': talk(frame(kind.headers, both, 1, bomb)),
  'a thousand fields': talk(
    frame(kind.headers, both, 1, Buffer.concat([get('/stock/a'), ...times(1000, () => field('a', ''))])),
  ),
  'upper case': talk(frame(kind.headers, both, 1, Buffer.concat([get('/'), field('X-Upper', '1')]))),
  'connection and transfer-encoding': talk(
    frame(
      kind.headers,
      both,
      1,
      Buffer.concat([get('/'), fields(['connection', 'close'], ['transfer-encoding', 'chunked'])]),
    ),
  ),
  'no path': talk(frame(kind.headers, both, 1, Buffer.from([0x82, 0x86, 0x01, 1, 0x78]))),
  'an empty path': talk(frame(kind.headers, both, 1, get(''))),
  'two paths': talk(frame(kind.headers, both, 1, Buffer.concat([get('/a'), fields([':path', '/b'])]))),
  'a pseudo-field after fields': talk(
    frame(kind.headers, both, 1, fields(['a', 'b'], [':method', 'GET'], [':path', '/'], [':scheme', 'http'])),
  ),
  'an unknown pseudo-field': talk(frame(kind.headers, both, 1, Buffer.concat([get('/'), fields([':x', '1'])]))),
  'line ends in a value': talk(
    frame(kind.headers, both, 1, Buffer.concat([get('/stock/a'), fields(['x-a', 'b\r\nc: d'])])),
  ),
  'a path with line ends': talk(frame(kind.headers, both, 1, get('/a HTTP/1.1\r\nhost: y\r\n\r\nGET /b'))),
  connect: talk(frame(kind.headers, both, 1, fields([':method', 'CONNECT'], [':authority', 'a:1']))),
  'a length that lies, short': talk(
    frame(kind.headers, endHeaders, 1, Buffer.concat([post('/hook'), fields(['content-length', '2'])])),
    frame(kind.data, endStream, 1, Buffer.from('four')),
  ),
  'a length that lies, long': talk(
    frame(kind.headers, endHeaders, 1, Buffer.concat([post('/hook'), fields(['content-length', '20'])])),
    frame(kind.data, endStream, 1, Buffer.from('four')),
  ),
  'two lengths': talk(
    frame(
      kind.headers,
      both,
      1,
      Buffer.concat([post('/hook'), fields(['content-length', '0'], ['content-length', '5'])]),
    ),
  ),
  'rapid reset': talk(
    ...times(600, i => Buffer.concat([asked(streamAt(i), '/stock/slow'), frame(kind.reset, 0, streamAt(i), u32(8))])),
  ),
  'too many streams': talk(...times(600, i => asked(streamAt(i), '/stock/slow'))),
  'a flood of pings': talk(...times(3000, () => frame(kind.ping, 0, 0, Buffer.alloc(8)))),
  'a flood of settings': talk(...times(3000, () => frame(kind.settings, 0, 0, Buffer.from('000300000064', 'hex')))),
  'a flood of empty data': talk(
    frame(kind.headers, endHeaders, 1, post('/hook')),
    ...times(3000, () => frame(kind.data, 0, 1)),
  ),
  'a flood of priorities': talk(
    ...times(3000, i => frame(kind.priority, 0, streamAt(i), Buffer.from([0, 0, 0, 0, 1]))),
  ),
  'a flood of resets of nothing': talk(asked(5999), ...times(1000, i => frame(kind.reset, 0, streamAt(i), u32(0)))),
  'no room to answer in': Buffer.concat([
    preface,
    frame(kind.settings, 0, 0, Buffer.from('000400000000', 'hex')),
    ...times(100, i => asked(streamAt(i), '/stock/large')),
  ]),
  'room that is taken away': talk(
    asked(1, '/stock/large'),
    frame(kind.settings, 0, 0, Buffer.from('000400000000', 'hex')),
    asked(3),
  ),
  'a goodbye that is none': talk(frame(kind.goaway, 0, 0, Buffer.alloc(3)), asked()),
  garbage: talk(Buffer.from(Array.from({ length: 500 }, (_, i) => (i * 73) & 255))),
};

const sampleOf = ([name, bytes]: [string, Buffer]): Sample => ({ name, bytes });
export const goodConnections: readonly Sample[] = Object.entries(good).map(sampleOf);
export const badConnections: readonly Sample[] = Object.entries(bad).map(sampleOf);

/**
 * Not a test itself: bytes that are no request, or one that two parsers could read in two ways (RFC 9110, RFC 9112). Each door must answer
 * once, with an error, and end the connection; nothing of it may reach anybody. The tail is what a smuggler wants to be read as a request.
 */
const tail = 'GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n';
const post = 'POST /p HTTP/1.1\r\nhost: a\r\n';
const get = 'GET /p HTTP/1.1\r\nhost: a\r\n';

/** What any door refuses. */
export const badRequests: Readonly<Record<string, string>> = {
  // Two ways to say how long a body is (RFC 9112, 6.1 and 6.3).
  'length, then chunked': `${post}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${tail}`,
  'chunked, then length': `${post}transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n${tail}`,
  'two lengths that differ': `${post}content-length: 0\r\ncontent-length: 40\r\n\r\n${tail}`,
  'two equal lengths': `${post}content-length: 5\r\ncontent-length: 5\r\n\r\nhello${tail}`,
  'a list of lengths': `${post}content-length: 5, 5\r\n\r\nhello${tail}`,
  'a length with a sign': `${post}content-length: +5\r\n\r\nhello${tail}`,
  'a negative length': `${post}content-length: -1\r\n\r\n${tail}`,
  'a length in hex': `${post}content-length: 0x5\r\n\r\nhello${tail}`,
  'an empty length': `${post}content-length: \r\n\r\n${tail}`,
  'a length beyond all numbers': `${post}content-length: 99999999999999999999\r\n\r\n${tail}`,
  'a length with a space within': `${post}content-length: 1 0\r\n\r\n${tail}`,
  'chunked twice': `${post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${tail}`,
  'chunked, then identity': `${post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n${tail}`,
  'identity alone': `${post}transfer-encoding: identity\r\n\r\n${tail}`,
  'a disguised chunked': `${post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n${tail}`,
  'chunked in quotes': `${post}transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n${tail}`,
  'chunked behind a vertical tab': `${post}transfer-encoding: \vchunked\r\n\r\n0\r\n\r\n${tail}`,
  // Fields (RFC 9112, 5).
  'a space before the colon': `${post}content-length : 5\r\n\r\nhello${tail}`,
  'a tab before the colon': `${post}transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n${tail}`,
  'a space before the first field': `POST /p HTTP/1.1\r\n host: a\r\n\r\n`,
  'a folded field': `${get}x-a: b\r\n content-length: 6\r\n\r\n`,
  'a field folded by a tab': `${get}x-a: b\r\n\tc\r\n\r\n`,
  'a field without a name': `${get}: b\r\n\r\n`,
  'a field without a colon': `${get}x-a\r\n\r\n`,
  'a NUL in a name': `${get}x\0a: b\r\n\r\n`,
  'a NUL in a value': `${get}x-a: b\0c\r\n\r\n`,
  'a bare CR in a value': `${get}x-a: b\rcontent-length: 5\r\n\r\n`,
  'a bare LF after a field': `${get}x-a: b\ncontent-length: 5\r\n\r\n`,
  'bare LFs only': `POST /p HTTP/1.1\nhost: a\ncontent-length: 0\n\n${tail}`,
  'a control character in a value': `${get}x-a: b\x01\r\n\r\n`,
  'a name in brackets': `${get}(x): b\r\n\r\n`,
  'a name outside of ASCII': `${get}x-\xe4: b\r\n\r\n`,
  // Start line (RFC 9112, 3).
  'no verb': ' /p HTTP/1.1\r\nhost: a\r\n\r\n',
  'no target': 'GET HTTP/1.1\r\nhost: a\r\n\r\n',
  'no version': 'GET /p\r\nhost: a\r\n\r\n',
  'HTTP/0.9': 'GET /p\r\n\r\n',
  'an unknown minor version': 'GET /p HTTP/1.9\r\nhost: a\r\n\r\n',
  'a version of two digits': 'GET /p HTTP/1.10\r\nhost: a\r\n\r\n',
  'a version in small letters': 'GET /p http/1.1\r\nhost: a\r\n\r\n',
  'another protocol': 'GET /p ICY/1.1\r\nhost: a\r\n\r\n',
  'two spaces': 'GET  /p HTTP/1.1\r\nhost: a\r\n\r\n',
  'a tab for a space': 'GET\t/p HTTP/1.1\r\nhost: a\r\n\r\n',
  'a space within the target': 'GET /p q HTTP/1.1\r\nhost: a\r\n\r\n',
  'a NUL in the target': 'GET /p\0 HTTP/1.1\r\nhost: a\r\n\r\n',
  'a verb that is no token': 'GE{T /p HTTP/1.1\r\nhost: a\r\n\r\n',
  'a relative target': 'GET p HTTP/1.1\r\nhost: a\r\n\r\n',
  // Host (RFC 9112, 3.2).
  'no host': 'GET /p HTTP/1.1\r\n\r\n',
  'two hosts': 'GET /p HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n',
  'two equal hosts': 'GET /p HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n',
  'an absolute URI of another host': 'GET http://b/p HTTP/1.1\r\nhost: a\r\n\r\n',
  // Chunks (RFC 9112, 7.1).
  'a chunk size in 0x': `${post}transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n${tail}`,
  'a chunk size with a sign': `${post}transfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n${tail}`,
  'a negative chunk': `${post}transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n${tail}`,
  'an empty chunk size': `${post}transfer-encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n${tail}`,
  'a chunk size beyond all numbers': `${post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello${tail}`,
  'a chunk longer than it says': `${post}transfer-encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n${tail}`,
  'a chunk size that ends with a bare LF': `${post}transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n${tail}`,
  'a chunk that ends with a bare LF': `${post}transfer-encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n${tail}`,
  // Too much.
  'a head over the limit': `${get}x: ${'y'.repeat(20_000)}\r\n\r\n`,
  // Not HTTP.
  'a TLS hello': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
  'an SSH hello': 'SSH-2.0-OpenSSH_9.2\r\n\r\n',
};

/** What a proxy refuses, besides. */
export const badForProxies: Readonly<Record<string, string>> = {
  'chunked in HTTP/1.0': 'POST /p HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  CONNECT: 'CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n',
  'an asterisk': 'OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n',
  'a fragment': 'GET /p#q HTTP/1.1\r\nhost: a\r\n\r\n',
  'a host that is too long': `GET /p HTTP/1.1\r\nhost: ${'a'.repeat(1000)}\r\n\r\n`,
  'a host with a path': 'GET /p HTTP/1.1\r\nhost: a/b\r\n\r\n',
  'a host with a user': 'GET /p HTTP/1.1\r\nhost: u@a\r\n\r\n',
  'a host with a space': 'GET /p HTTP/1.1\r\nhost: a b\r\n\r\n',
  'an absolute URI of another scheme': 'GET ftp://a/p HTTP/1.1\r\nhost: a\r\n\r\n',
  'bytes outside of ASCII in the target': 'GET /\xe4 HTTP/1.1\r\nhost: a\r\n\r\n',
  'an unknown expectation': `${post}expect: 200-ok\r\ncontent-length: 5\r\n\r\nhello`,
  'a long target': `GET /${'y'.repeat(9000)} HTTP/1.1\r\nhost: a\r\n\r\n`,
  'many fields': `${get}${'x: y\r\n'.repeat(300)}\r\n`,
  'a trailer that frames': `${post}transfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 5\r\n\r\n${tail}`,
  'a folded trailer': `${post}transfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n z\r\n\r\n${tail}`,
  'a flood of chunk extension': `${post}transfer-encoding: chunked\r\n\r\n5;${'x'.repeat(2000)}\r\nhello\r\n0\r\n\r\n${tail}`,
  'a flood of tiny chunks': `${post}transfer-encoding: chunked\r\n\r\n${`1;${'x'.repeat(900)}\r\ny\r\n`.repeat(100)}0\r\n\r\n`,
};

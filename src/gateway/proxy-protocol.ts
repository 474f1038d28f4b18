/**
 * The PROXY protocol (haproxy.org, proxy-protocol.txt), both versions: whom a connection is for, said by a proxy of TCP before any byte of the client. Read
 * only where it is expected: who may connect without a proxy could say anything.
 */

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** Of version 1, line end included. */
const lineBytesMax = 107;
/** Of version 2: addresses and whatever a proxy adds (TLS details, an endpoint's id). */
const headerBytesMax = 4096;
const isIp = process.getBuiltinModule('node:net').isIP;

export interface ProxyHeader {
  readonly length: number;
  /** Undefined for what the proxy does on its own behalf (health checks) and for sockets without an address. */
  readonly address: string | undefined;
}

export function readProxyHeader(bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  const begins = Math.min(bytes.length, signature.length);
  if (bytes.subarray(0, begins).equals(signature.subarray(0, begins)))
    return begins < signature.length ? 'more' : readBinary(bytes);
  return readLine(bytes);
}

function readBinary(bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  if (bytes.length < 16) return 'more';
  const command = bytes[12]! & 0x0f;
  const length = 16 + bytes.readUInt16BE(14);
  if (bytes[12]! >> 4 !== 2 || command > 1 || length > headerBytesMax) return 'bad';
  if (bytes.length < length) return 'more';
  const family = bytes[13]! >> 4;
  if (command === 0 || (family !== 1 && family !== 2)) return { length, address: undefined };
  if (family === 1) return length < 28 ? 'bad' : { length, address: bytes.subarray(16, 20).join('.') };
  if (length < 52) return 'bad';
  const parts = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(16 + 2 * index).toString(16));
  return { length, address: shortest(parts.join(':')) };
}

function readLine(bytes: Buffer): ProxyHeader | 'more' | 'bad' {
  const text = bytes.toString('latin1', 0, lineBytesMax);
  const end = text.indexOf('\r\n');
  if (end < 0) return 'PROXY '.startsWith(text.slice(0, 6)) && text.length < lineBytesMax ? 'more' : 'bad';
  const [word, family, source, target, sourcePort, targetPort, ...more] = text.slice(0, end).split(' ');
  if (word !== 'PROXY') return 'bad';
  const length = end + 2;
  if (family === 'UNKNOWN') return { length, address: undefined };
  const version = family === 'TCP4' ? 4 : family === 'TCP6' ? 6 : -1;
  const isPort = (port: string | undefined): boolean => /^\d{1,5}$/.test(port ?? '');
  const isWell = isIp(source ?? '') === version && isIp(target ?? '') === version && more.length === 0;
  return isWell && isPort(sourcePort) && isPort(targetPort) ? { length, address: shortest(source!) } : 'bad';
}

/** As everybody writes it: the same client must not have two names. */
function shortest(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}

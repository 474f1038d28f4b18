/**
 * Who a request is from. The other end of the connection is, unless it is a proxy that is trusted: then what it says counts, read from the right, past each hop that is
 * trusted too. Further left anybody may have written anything. One field counts, the one that the proxies are known to write: of two, a client could send the other.
 */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TandemError } from '../core/errors.ts';

export type ForwardedField = 'x-forwarded-for' | 'forwarded';

export interface Client {
  readonly address: string | undefined;
  /** As the client sees it. */
  readonly scheme: 'http' | 'https';
}

const { BlockList, isIP } = process.getBuiltinModule('node:net');
/** Said by the PROXY protocol; found again through TLS and HTTP/2, whose sockets pass on what they do not know. */
const peer = Symbol('peer');
type WithPeer = { [peer]?: string };
const hopsMax = 32;
const knownMax = 1024;

export function notePeer(socket: Socket, address: string): void {
  (socket as WithPeer)[peer] = address;
}

export function copyPeer(from: Socket, to: Socket): void {
  const address = (from as WithPeer)[peer];
  if (address !== undefined) (to as WithPeer)[peer] = address;
}

const named: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16', 'fc00::/7', 'fe80::/10'],
};

/** Whether an address is one of `ranges`: addresses, `10.0.0.0/8`, `loopback`, `private`. @throws CONFIG. */
export function addressSet(ranges: readonly string[]): (address: string) => boolean {
  if (ranges.length === 0) return () => false;
  const list = new BlockList();
  for (const range of ranges.flatMap(range => named[range] ?? [range])) {
    const [address = '', bits] = range.split('/');
    const version = isIP(address);
    const whole = version === 4 ? 32 : 128;
    const length = bits === undefined ? whole : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
    if (version === 0 || length < 0 || length > whole)
      throw new TandemError(
        'CONFIG',
        `'${range}' is no range of addresses; write for example 10.0.0.0/8, ::1, loopback or private`,
      );
    list.addSubnet(address, length, version === 4 ? 'ipv4' : 'ipv6');
  }
  // Proxies are few and ask always.
  const known = new Map<string, boolean>();
  return address => {
    let is = known.get(address);
    if (is === undefined) {
      const version = isIP(address);
      is = version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6');
      if (known.size >= knownMax) known.clear();
      known.set(address, is);
    }
    return is;
  };
}

export function clientOf(
  request: IncomingMessage,
  trusts: (address: string) => boolean,
  field: ForwardedField,
): Client {
  let socket: (Socket & WithPeer) | undefined;
  let direct: string | undefined;
  let scheme: Client['scheme'] = 'http';
  try {
    // Of a connection that has ended, HTTP/2 has no socket any more, and throws.
    socket = request.socket as Socket & WithPeer;
    direct = plain(socket[peer] ?? socket.remoteAddress);
    if ('encrypted' in socket && socket.encrypted === true) scheme = 'https';
  } catch {
    return { address: undefined, scheme };
  }
  if (direct === undefined || !trusts(direct)) return { address: direct, scheme };
  const told = field === 'forwarded' ? fromForwarded(request) : fromXForwarded(request);
  if (told.scheme) scheme = told.scheme;
  let address = direct;
  for (let index = told.hops.length - 1; index >= 0 && trusts(address); index--) {
    const hop = told.hops[index]!;
    if (isIP(hop) === 0) break;
    address = hop;
  }
  return { address, scheme };
}

interface Told {
  readonly hops: readonly string[];
  readonly scheme: Client['scheme'] | undefined;
}

function fromXForwarded({ headers }: IncomingMessage): Told {
  const hops = lastOf(headers['x-forwarded-for'], ',').map(nodeOf);
  const [scheme] = lastOf(headers['x-forwarded-proto'], ',').slice(-1);
  return { hops, scheme: schemeOf(scheme) };
}

function fromForwarded({ headers }: IncomingMessage): Told {
  const elements = lastOf(headers.forwarded, ',');
  const parameter = (element: string, name: string): string => {
    const pair = element.split(';').find(each => each.trim().toLowerCase().startsWith(`${name}=`));
    return pair === undefined ? '' : pair.slice(pair.indexOf('=') + 1).trim();
  };
  return {
    hops: elements.map(element => nodeOf(parameter(element, 'for'))),
    scheme: schemeOf(parameter(elements.at(-1) ?? '', 'proto')),
  };
}

function lastOf(value: string | string[] | undefined, separator: string): string[] {
  if (value === undefined) return [];
  const text = Array.isArray(value) ? value.join(',') : value;
  return text
    .split(separator)
    .slice(-hopsMax)
    .map(part => part.trim());
}

function schemeOf(text = ''): Client['scheme'] | undefined {
  const scheme = text.replaceAll('"', '').toLowerCase();
  return scheme === 'https' || scheme === 'http' ? scheme : undefined;
}

/** An address out of what proxies write: with a port, in quotes, in brackets. */
function nodeOf(text: string): string {
  const bare = text.replace(/^"(.*)"$/, '$1');
  const bracketed = /^\[([^\]]*)\](?::\d+)?$/.exec(bare);
  if (bracketed) return bracketed[1]!;
  return plain(/^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(bare)?.[1] ?? bare)!;
}

/** Without the prefix that IPv4 has on a port that listens to both. */
function plain(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

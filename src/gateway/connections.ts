/**
 * What comes in on a gateway's port goes to whom it is for. A line of the PROXY protocol (where proxies are said to send it) is read first; then TLS
 * ends here, when there is a certificate; then HTTP/2 (agreed on in TLS, or known beforehand: RFC 9113, 3.3) goes to its server, and the rest to that of HTTP/1.1.
 */
import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { copyPeer, notePeer } from './client-address.ts';
import { firstBytes } from './first-bytes.ts';
import type { Http2Sessions } from './http2-server.ts';
import { readProxyHeader } from './proxy-protocol.ts';
import type { TlsDoor } from './tls-door.ts';

/** No method of HTTP/1.1 begins so: three bytes are enough to tell. */
const preface = 'PRI';
/** A handshake record of TLS; no text begins so. */
const handshake = 0x16;
const plainHint =
  'HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nThis port speaks HTTPS: write https:// instead of http://\n';

export interface ConnectionOptions {
  readonly clock: Clock;
  /** For the first bytes of a connection. */
  readonly headersTimeoutMs: number;
  readonly http2: Http2Sessions;
  readonly tls: TlsDoor | undefined;
  /** Whether a connection of this address begins with the PROXY protocol; undefined: nobody's does. */
  readonly proxied: ((address: string) => boolean) | undefined;
}

export interface Connections {
  /** Takes no new requests: connections end when those under way have. */
  drain(): void;
  destroy(): void;
}

export function acceptConnections(server: Server, options: ConnectionOptions): Connections {
  const { clock, headersTimeoutMs, http2, tls, proxied } = options;
  const sockets = new Set<Socket>();
  const undecided = { clock, timeoutMs: headersTimeoutMs, sockets };
  const listeners = server.listeners('connection') as ((socket: Socket) => void)[];
  const acceptHttp1 = (socket: Socket): void => {
    for (const accept of listeners) accept.call(server, socket);
  };
  let closing = false;

  const acceptPlain = (socket: Socket): void =>
    firstBytes(socket, undecided, bytes => {
      const begins = bytes.toString('latin1', 0, preface.length);
      if (begins !== preface) return preface.startsWith(begins) ? undefined : { next: () => acceptHttp1(socket) };
      return { next: () => http2.accept(socket) };
    });
  tls?.onSecure((inside, outside) => {
    sockets.delete(outside);
    copyPeer(outside, inside);
    if (closing) inside.destroy();
    else if (inside.alpnProtocol === 'h2') http2.accept(inside);
    else acceptHttp1(inside);
  });
  const acceptTls = (socket: Socket, door: TlsDoor): void =>
    firstBytes(socket, undecided, bytes => ({
      next: () => {
        socket.on('error', () => {});
        if (bytes[0] !== handshake) {
          socket.end(plainHint, () => socket.destroy());
          return;
        }
        sockets.add(socket.once('close', () => sockets.delete(socket)));
        door.accept(socket);
      },
    }));
  const accept = (socket: Socket): void => (tls ? acceptTls(socket, tls) : acceptPlain(socket));

  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    if (closing) socket.destroy();
    else if (!proxied) accept(socket);
    else if (!proxied(socket.remoteAddress ?? '')) socket.destroy();
    else
      firstBytes(socket, undecided, bytes => {
        const header = readProxyHeader(bytes);
        if (header === 'more') return undefined;
        if (header === 'bad') return { next: () => void socket.destroy() };
        if (header.address !== undefined) notePeer(socket, header.address);
        return { skip: header.length, next: () => accept(socket) };
      });
  });

  return {
    drain() {
      closing = true;
      for (const socket of sockets) socket.destroy();
      http2.drain();
      tls?.close();
    },
    destroy() {
      for (const socket of sockets) socket.destroy();
      http2.destroy();
    },
  };
}

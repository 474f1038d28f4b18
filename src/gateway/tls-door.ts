/**
 * TLS on the gateway's port, with HTTP/2 by ALPN. The certificate is read again when its files change (certbot, cert-manager), without a connection
 * being lost: open ones keep what they agreed on. A pair that does not fit together is told of, and the one before stays.
 */
import { readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Server, TLSSocket } from 'node:tls';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';

export interface TlsFiles {
  /** The certificate with its chain, in PEM. */
  readonly cert: string;
  /** Its private key, in PEM. */
  readonly key: string;
}

export interface TlsDoor {
  /** Begins the handshake. */
  accept(socket: Socket): void;
  /** Handshakes that are done: the connection inside, and the one that carries it. */
  onSecure(take: (inside: TLSSocket, outside: Socket) => void): void;
  close(): void;
}

export interface TlsDoorOptions {
  readonly files: TlsFiles;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly handshakeTimeoutMs: number;
  /** How often the files are looked at. */
  readonly reloadMs: number;
}

interface Pair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

const dayMs = 86_400_000;
/** Certificates are renewed a month before their end; later than this, something is wrong. */
const warnDays = 14;

/** @throws CONFIG when the pair cannot be read, or is none. */
export function openTlsDoor(options: TlsDoorOptions): TlsDoor {
  const { files, clock, logger, handshakeTimeoutMs, reloadMs } = options;
  const tls = process.getBuiltinModule('node:tls');
  const { X509Certificate } = process.getBuiltinModule('node:crypto');
  const check = (pair: Pair): Pair => {
    try {
      tls.createSecureContext(pair);
    } catch (cause) {
      throw new TandemError(
        'CONFIG',
        `the certificate ${files.cert} and the key ${files.key} do not work together: ${(cause as Error).message}`,
        { cause },
      );
    }
    const { validTo: until, validToDate } = new X509Certificate(pair.cert);
    const days = Math.floor((validToDate.getTime() - clock.now()) / dayMs);
    if (days < warnDays)
      logger.warn(days < 0 ? `the certificate ${files.cert} has expired` : `the certificate ${files.cert} ends soon`, {
        until,
        days,
      });
    return pair;
  };
  let stamp = stampOf(files);
  const ALPNProtocols = ['h2', 'http/1.1'];
  const server: Server = tls.createServer({
    ...check(read(files)),
    ALPNProtocols,
    handshakeTimeout: handshakeTimeoutMs,
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  const reading = every(clock, reloadMs, () => {
    const now = stampOf(files);
    if (now === stamp) return;
    stamp = now;
    try {
      server.setSecureContext(check(read(files)));
      logger.info(`the certificate ${files.cert} was read again`);
    } catch (error) {
      logger.error('a new certificate cannot be used; the one before stays', { error });
    }
  });
  const byConnection = new Map<string, Socket>();
  return {
    accept(socket) {
      const key = keyOf(socket);
      byConnection.set(key, socket);
      socket.once('close', () => byConnection.delete(key));
      server.emit('connection', socket);
    },
    onSecure(take) {
      server.on('secureConnection', socket => {
        socket.on('error', () => {});
        const outside = byConnection.get(keyOf(socket));
        if (outside) take(socket, outside);
        else socket.destroy();
      });
    },
    close() {
      reading.cancel();
    },
  };
}

function keyOf({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

function read({ cert, key }: TlsFiles): Pair {
  const one = (what: string, path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (cause) {
      throw new TandemError('CONFIG', `the ${what} ${path} cannot be read: ${(cause as Error).message}`, { cause });
    }
  };
  return { cert: one('certificate', cert), key: one('key', key) };
}

/** What changes when a file is written or replaced, also through a link. */
function stampOf({ cert, key }: TlsFiles): string {
  return [cert, key]
    .map(path => {
      const found = statSync(path, { throwIfNoEntry: false });
      return found ? `${found.ino}.${found.size}.${found.mtimeMs}` : 'none';
    })
    .join();
}

/**
 * TCP under mutual TLS 1.3: both ends show a certificate that the app's own authority issued, and the one who dials also
 * checks that it is for the host that it dialled. Whoever has no such certificate is turned away before a byte of the link
 * is read, with a record at both ends. Certificates that change on disk count for new connections; existing ones live on.
 */
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { listening, NodeSocket } from './node-socket.ts';
import { joinHostPort, parseHostPort } from './tcp.ts';
import { readTlsFiles, type TlsFiles, tlsFilesVersion, tlsProblem } from './tls-files.ts';
import type { Transport } from './transport.ts';

export interface TlsTransportOptions {
  /** Holds `ca.crt`, `tls.crt` and `tls.key`. */
  readonly directory: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const handshakeTimeoutMs = 3000;
/** Between two looks at whether the files changed. */
const lookEveryMs = 1000;
/** Strangers must not fill the disk with records of themselves: at most one in this time, with a count of the others. */
const recordEveryMs = 1000;
const common = { minVersion: 'TLSv1.3', ALPNProtocols: ['tandem-link'] } as const;

/** @throws CONFIG when the files are not fit. */
export function tlsTransport(options: TlsTransportOptions): Transport {
  const { clock } = options;
  // Loaded by those who use it alone.
  const tls = process.getBuiltinModule('node:tls');
  const credentials = new Credentials(options);
  const recordRefusal = refusals(options);

  return {
    scheme: 'tls',
    listen(address, accept) {
      const { host, port } = parseHostPort('tls', address);
      const server = tls.createServer({
        ...common,
        ...credentials.current.files,
        requestCert: true,
        // Looked at below: Node would end the connection without saying why.
        rejectUnauthorized: false,
        handshakeTimeout: handshakeTimeoutMs,
        noDelay: true,
      });
      server.maxConnections = limits.connectionsMax;
      let context = credentials.current;
      server.prependListener('connection', socket => {
        // Node keeps what was asked for once: it is wanted when the connection is gone.
        void socket.remoteAddress;
        const newest = credentials.look();
        if (newest === context) return;
        context = newest;
        server.setSecureContext({ ...common, ...newest.files });
      });
      server.on('secureConnection', socket => {
        const peer = peerOf(socket);
        // A string, whatever its type says: the code of OpenSSL's verdict.
        if (!socket.authorized) {
          recordRefusal(peer, reasonOf(String(socket.authorizationError), socket));
          socket.destroy();
          return;
        }
        accept(new NodeSocket(socket, peer));
      });
      server.on('tlsClientError', (cause, socket) => {
        const peer = peerOf(socket);
        recordRefusal(peer, cause.message === 'socket hang up' ? hungUp : cause.message);
        socket.destroy();
      });
      const actual = (): string => `tls://${joinHostPort(host, (server.address() as AddressInfo).port)}`;
      return listening(server, address, () => server.listen({ host, port, backlog: 1024 }), actual);
    },
    connect(address) {
      const { host, port } = parseHostPort('tls', address);
      const { context, files } = credentials.look();
      const socket = tls.connect({ ...common, host, port, secureContext: context });
      socket.setNoDelay(true);
      // The other end's verdict on us comes after our own on it, as the end of the connection.
      const explain = (error: Error | undefined): Error | undefined => {
        const code = (error as NodeJS.ErrnoException | undefined)?.code;
        if (code === 'ECONNREFUSED') return error;
        const problem = tlsProblem(files, clock.now());
        const told = problem ? new Error(`${problem}${error ? ` (${error.message})` : ''}`, { cause: error }) : error;
        if (problem || isVerdict(code))
          options.logger.warn('a link over TLS was not made', { to: address, reason: told?.message });
        return told;
      };
      return new NodeSocket(socket, address, explain);
    },
  };
}

interface Current {
  readonly files: TlsFiles;
  readonly context: SecureContext;
}

/** The files as they were last fit to use. */
class Credentials {
  readonly #o: TlsTransportOptions;
  #version: string;
  #lookedAtMs: number;
  current: Current;

  constructor(options: TlsTransportOptions) {
    this.#o = options;
    this.#lookedAtMs = options.clock.monotonic();
    this.#version = tlsFilesVersion(options.directory);
    this.current = this.#load();
  }

  /** Reads them again when they changed. While what lies there is not fit, the former ones go on, and a record says so. */
  look(): Current {
    const { clock, directory, logger } = this.#o;
    const now = clock.monotonic();
    if (now - this.#lookedAtMs < lookEveryMs) return this.current;
    this.#lookedAtMs = now;
    const version = tlsFilesVersion(directory);
    if (version === this.#version) return this.current;
    this.#version = version;
    try {
      this.current = this.#load();
      logger.info('new certificates of the link are in use', {
        directory,
        until: this.current.files.certificate.validTo,
      });
    } catch (cause) {
      logger.error('the certificates of the link changed, and the new ones are not fit; the former go on', {
        message: TandemError.from(cause).message,
      });
    }
    return this.current;
  }

  #load(): Current {
    const files = readTlsFiles(this.#o.directory);
    const { ca, cert, key } = files;
    const tls = process.getBuiltinModule('node:tls');
    return { files, context: tls.createSecureContext({ ca, cert, key, minVersion: common.minVersion }) };
  }
}

function refusals({ clock, logger }: TlsTransportOptions): (peer: string, reason: string) => void {
  let saidAtMs = -Infinity;
  let unsaid = 0;
  return (peer, reason) => {
    const now = clock.monotonic();
    if (now - saidAtMs < recordEveryMs) {
      unsaid++;
      return;
    }
    logger.warn('a link over TLS was refused', { peer, reason, ...(unsaid > 0 && { othersSince: unsaid }) });
    saidAtMs = now;
    unsaid = 0;
  };
}

const hungUp =
  'it ended the connection before it showed a certificate; if it is one of ours, it does not accept our own';

function peerOf(socket: TLSSocket): string {
  // The socket below, where the one above has forgotten it. (No documented way leads there.)
  const { remoteAddress = 'unknown', remotePort = 0 } =
    socket.remoteAddress === undefined ? ((socket as { _parent?: Socket })._parent ?? socket) : socket;
  return `tls://${joinHostPort(remoteAddress, remotePort)}`;
}

function reasonOf(verdict: string, socket: TLSSocket): string {
  const { subject, valid_to: validTo } = socket.getPeerCertificate();
  if (!subject) return 'it shows no certificate';
  return `its certificate (CN=${subject.CN}, until ${validTo}) is not accepted: ${verdict}`;
}

/** Whether the certificates, not the line, ended it. */
function isVerdict(code: string | undefined): boolean {
  return code !== undefined && /CERT|VERIFY|SIGN|SSL|TLS/.test(code);
}

/**
 * What the link needs of a network: ordered bytes both ways, backpressure, and the news of an end. Small on purpose, so
 * that a simulated network stands in for a real one; every transport passes `transport.contract-suite.ts`.
 */
import { TandemError } from '../core/errors.ts';

export interface Connection {
  /** The other end's address, for records. */
  readonly peer: string;
  /** Bytes that came, in order. Set before anything can come (in the turn of `connect` or `accept`). */
  onData: (bytes: Uint8Array) => void;
  /** Called after `write` said false, once there is room again. */
  onDrain: () => void;
  /** Called once, never inside `connect`, `write` or `destroy`. The error says why, when it was not an orderly end. */
  onClose: (error?: Error) => void;
  /**
   * Takes the bytes, which must not change afterwards. False: it took them, but more should wait for `onDrain`.
   * May be called before the connection is made; ignored after its end.
   */
  write(bytes: Uint8Array): boolean;
  /** Holds `onData` back, and in time the other end's writes. A chunk under way may still come. */
  pause(): void;
  resume(): void;
  /** Ends the connection after what was written has gone out. */
  end(): void;
  /** Ends the connection now. */
  destroy(): void;
}

export interface Listener {
  /** Where it listens really: with the port or name that was chosen when the address left it open. */
  readonly address: string;
  /** Takes no more connections. Those that exist live on. */
  close(): Promise<void>;
}

export interface Transport {
  /** Without `://`: `tcp`, `tls`, `unix`, `memory`. */
  readonly scheme: string;
  /** @throws CONFIG when the address is taken or not valid. */
  listen(address: string, accept: (connection: Connection) => void): Promise<Listener>;
  /** Returns at once; a failure to connect is an `onClose` with an error. @throws CONFIG when the address is not valid. */
  connect(address: string): Connection;
}

/** What `onClose` gets when nobody listens at the address: from a socket, or made by `refusal`. Only the kernel there can say so, hence no process lives there. */
export function isRefusal(error: Error | undefined): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  // ENOENT: a socket file that is gone.
  return code === 'ECONNREFUSED' || code === 'ENOENT';
}

export function refusal(address: string): Error {
  return Object.assign(new Error(`connection refused: nobody listens on ${address}`), { code: 'ECONNREFUSED' });
}

export function schemeOf(address: string): string {
  const end = address.indexOf('://');
  if (end <= 0)
    throw new TandemError(
      'CONFIG',
      `'${address}' is not an address; write tcp://host:port, tls://host:port, unix:///path or memory://name`,
    );
  return address.slice(0, end);
}

/** @throws CONFIG when no transport speaks the address's scheme. */
export function transportFor(transports: readonly Transport[], address: string): Transport {
  const scheme = schemeOf(address);
  const found = transports.find(transport => transport.scheme === scheme);
  if (found) return found;
  const hint =
    scheme === 'tls' ? '; its app runs with --link-tls: set TANDEM_LINK_TLS to the directory of certificates' : '';
  throw new TandemError(
    'CONFIG',
    `no transport for '${address}'; there are ${transports.map(t => t.scheme).join(', ')}${hint}`,
  );
}

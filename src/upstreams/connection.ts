/** One connection to an upstream: it serves one request at a time. Bytes that nobody asked for end it. */
import type { Socket } from 'node:net';

/** Who has the connection for now. */
export interface ConnectionUser {
  onConnect(): void;
  onBytes(bytes: Buffer): void;
  /** What was written has gone. */
  onDrain(): void;
  /** @param cause Undefined when the upstream closed in good order. */
  onClose(cause: Error | undefined): void;
}

const connect = process.getBuiltinModule('node:net').connect;
/** Nobody writes at an idle one; a lost one must not be found out by a request. */
const probeAfterMs = 15_000;

export interface Place {
  /** An address, or a name. */
  readonly host: string;
  readonly port: number;
  /** As it was configured: the name that `host` is an address of. */
  readonly name: string;
  /** The name that its certificate must carry; undefined without TLS. */
  readonly tlsName: string | undefined;
}

export class Connection {
  readonly socket: Socket;
  user: ConnectionUser | undefined;
  /** Monotonic: an idle one is closed then. */
  idleUntilMs = 0;
  ready = false;
  closed = false;
  /** Answers that it gave. */
  served = 0;
  readonly #onClosed: (connection: Connection) => void;

  constructor(place: Place, onClosed: (connection: Connection) => void) {
    this.#onClosed = onClosed;
    this.socket = open(place);
    this.socket.setNoDelay(true);
    this.socket.setKeepAlive(true, probeAfterMs);
    this.socket.on(place.tlsName === undefined ? 'connect' : 'secureConnect', () => {
      this.ready = true;
      this.user?.onConnect();
    });
    this.socket.on('data', (bytes: Buffer) => {
      if (this.user) this.user.onBytes(bytes);
      else this.destroy();
    });
    this.socket.on('drain', () => this.user?.onDrain());
    this.socket.on('end', () => this.#close(undefined));
    this.socket.on('error', (cause: Error) => this.#close(cause));
    this.socket.on('close', () => this.#close(undefined));
  }

  /** Whoever has it hears of it no more. */
  destroy(): void {
    this.user = undefined;
    this.#close(undefined);
  }

  /** Another protocol takes over: from now on the socket is somebody else's. */
  release(): Socket {
    this.user = undefined;
    this.closed = true;
    this.socket
      .removeAllListeners('data')
      .removeAllListeners('drain')
      .removeAllListeners('end')
      .removeAllListeners('close');
    return this.socket;
  }

  #close(cause: Error | undefined): void {
    if (this.closed) return;
    this.closed = true;
    const { user } = this;
    this.user = undefined;
    this.socket.destroy();
    this.#onClosed(this);
    user?.onClose(cause);
  }
}

function open({ host, port, tlsName }: Place): Socket {
  if (tlsName === undefined) return connect({ host, port });
  const tls = process.getBuiltinModule('node:tls');
  const servername = /^[\d.]+$|:/.test(tlsName) ? {} : { servername: tlsName };
  return tls.connect({ host, port, ALPNProtocols: ['http/1.1'], ...servername });
}

/**
 * HTTP/2 with prior knowledge (RFC 9113, 3.3) on the port of HTTP/1.1, for gRPC: a connection whose first bytes are HTTP/2's preface goes to a server of that
 * protocol, which is loaded by the first of them (14 MB), any other to the one of HTTP/1.1. A connection that says nothing is ended.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Http2Server, ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { type Clock, every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';

/** No method of HTTP/1.1 begins so: three bytes are enough to tell. */
const preface = 'PRI';
/** Calls that one connection may have open. */
const streamsMax = 256;

export interface Http2Options {
  readonly clock: Clock;
  /** For the first bytes of a connection. */
  readonly headersTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
}

export interface Http2Connections {
  /** Takes no new calls: connections end when theirs have. */
  drain(): void;
  destroy(): void;
}

export function acceptHttp2(server: Server, options: Http2Options): Http2Connections {
  const { clock, headersTimeoutMs, keepAliveTimeoutMs, handle } = options;
  const undecided = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const acceptHttp1 = server.listeners('connection') as ((socket: Socket) => void)[];
  let http2: Http2Server | undefined;
  let closing = false;

  const open = (): Http2Server => {
    const made = process.getBuiltinModule('node:http2').createServer({
      settings: { maxConcurrentStreams: streamsMax, maxHeaderListSize: limits.headerBytesMax, enablePush: false },
      maxHeaderListPairs: 128,
    });
    made.on('session', session => {
      sessions.add(session);
      session.on('error', () => {});
      session.on('close', () => sessions.delete(session));
      keepAlive(session, clock, keepAliveTimeoutMs, headersTimeoutMs);
      if (closing) session.close();
    });
    made.on('sessionError', () => {});
    made.on('request', (request, response) =>
      handle(request as unknown as IncomingMessage, response as unknown as ServerResponse),
    );
    return made;
  };

  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    if (closing) {
      socket.destroy();
      return;
    }
    undecided.add(socket);
    const timer = clock.after(headersTimeoutMs, () => socket.destroy());
    const leave = (): void => {
      timer.cancel();
      undecided.delete(socket);
    };
    const end = (): void => void socket.destroy();
    let first: Buffer = Buffer.alloc(0);
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (!chunk) return;
      first = first.length === 0 ? chunk : Buffer.concat([first, chunk]);
      const begins = first.toString('latin1', 0, preface.length);
      if (begins !== preface && preface.startsWith(begins)) return;
      socket.off('readable', onReadable).off('close', leave).off('end', end);
      leave();
      socket.unshift(first);
      if (begins === preface) {
        http2 ??= open();
        http2.emit('connection', socket);
        // The client may be gone already: that was read here, and the session would never hear of it.
        socket.once('end', end).read(0);
      } else for (const accept of acceptHttp1) accept.call(server, socket);
      socket.off('error', end);
    };
    socket.on('error', end).on('end', end).on('close', leave).on('readable', onReadable);
  });

  return {
    drain() {
      closing = true;
      for (const socket of undecided) socket.destroy();
      for (const session of sessions) session.close();
    },
    destroy() {
      for (const session of sessions) session.destroy();
    },
  };
}

/** From time to time a connection with calls has to show that its client lives; one that has had none since the last look ends. */
function keepAlive(session: ServerHttp2Session, clock: Clock, idleMs: number, answerMs: number): void {
  let streams = 0;
  let wasUsed = true;
  session.on('stream', stream => {
    streams++;
    wasUsed = true;
    stream.once('close', () => streams--);
  });
  const look = (): Promise<void> | undefined => {
    if (streams === 0) {
      if (!wasUsed) session.close();
      wasUsed = false;
      return undefined;
    }
    return new Promise(resolve => {
      const late = clock.after(answerMs, () => session.destroy());
      // Also called when the session ends meanwhile.
      session.ping(() => {
        late.cancel();
        resolve();
      });
    });
  };
  const looking = every(clock, idleMs, look);
  session.once('close', () => looking.cancel());
}

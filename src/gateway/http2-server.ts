/**
 * The server of HTTP/2, without a port of its own: connections are given to it. It is loaded by the first of them (14 MB). What a hostile client can make it hold or do is
 * bounded per connection: open calls, headers, settings, pings, memory, cancelled streams (CVE-2023-44487), header blocks without end (CVE-2024-27983).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Duplex } from 'node:stream';
import { type Clock, every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';

export const http2Defaults = {
  /** Calls that one connection may have open; more are refused, and clients wait (RFC 9113 asks for at least 100). */
  streamsMax: 256,
  /** Fields of one request: as many as HTTP/1.1 may have in `limits.headerBytesMax` of sane length. */
  fieldsMax: 128,
  /** Streams that a client may cancel at once ... */
  resetBurst: 200,
  /** ... and in each second; beyond it the connection ends. Far above what an impatient browser does. */
  resetsPerSecond: 33,
  /** What one connection may hold in memory, in MB (Node's own default). */
  sessionMemoryMb: 10,
  /** Entries in one SETTINGS frame. */
  settingsMax: 16,
  /** Frames that are not valid, and streams that were refused, before the connection ends. */
  invalidFramesMax: 100,
  rejectedStreamsMax: 100,
} as const;

export interface Http2ServerOptions {
  readonly clock: Clock;
  /** How long a silent client that has calls open may take to show that it lives. */
  readonly headersTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly request: (request: IncomingMessage, response: ServerResponse) => void;
  readonly checkContinue: (request: IncomingMessage, response: ServerResponse) => void;
}

export class Http2Sessions {
  readonly #options: Http2ServerOptions;
  readonly #sessions = new Set<ServerHttp2Session>();
  #server: Http2Server | undefined;
  #draining = false;

  constructor(options: Http2ServerOptions) {
    this.#options = options;
  }

  accept(socket: Duplex): void {
    this.#server ??= this.#open();
    this.#server.emit('connection', socket);
    // The client may be gone already: that was read where the first bytes were, and the session would never hear of it.
    socket.once('end', () => socket.destroy()).read(0);
  }

  /** Takes no new calls. One that was on its way meanwhile is refused by GOAWAY as never begun, so its client sends it elsewhere by itself. */
  drain(): void {
    this.#draining = true;
    for (const session of this.#sessions) session.close();
  }

  destroy(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #open(): Http2Server {
    const { request, checkContinue } = this.#options;
    const server = process.getBuiltinModule('node:http2').createServer({
      settings: {
        maxConcurrentStreams: http2Defaults.streamsMax,
        maxHeaderListSize: limits.headerBytesMax,
        enablePush: false,
      },
      maxHeaderListPairs: http2Defaults.fieldsMax,
      maxSessionMemory: http2Defaults.sessionMemoryMb,
      maxSettings: http2Defaults.settingsMax,
      maxSessionInvalidFrames: http2Defaults.invalidFramesMax,
      maxSessionRejectedStreams: http2Defaults.rejectedStreamsMax,
      streamResetBurst: http2Defaults.resetBurst,
      streamResetRate: http2Defaults.resetsPerSecond,
    });
    server.on('session', session => this.#take(session));
    server.on('sessionError', () => {});
    server.on('request', (given, response) => request(...asHttp1(given, response)));
    server.on('checkContinue', (given, response) => checkContinue(...asHttp1(given, response)));
    return server;
  }

  #take(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.on('error', () => {});
    session.on('close', () => this.#sessions.delete(session));
    this.#keepAlive(session);
    if (this.#draining) session.close();
  }

  /** From time to time a connection with calls has to show that its client lives; one that has had none since the last look ends. */
  #keepAlive(session: ServerHttp2Session): void {
    const { clock, keepAliveTimeoutMs, headersTimeoutMs } = this.#options;
    let streams = 0;
    let wasUsed = true;
    session.on('stream', (stream: ServerHttp2Stream) => {
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
        const late = clock.after(headersTimeoutMs, () => session.destroy());
        // Also called when the session ends meanwhile.
        session.ping(() => {
          late.cancel();
          resolve();
        });
      });
    };
    const looking = every(clock, keepAliveTimeoutMs, look);
    session.once('close', () => looking.cancel());
  }
}

/** Node gives requests of HTTP/2 the shape of those of HTTP/1.1. The host has another name there. */
function asHttp1(request: object, response: object): [IncomingMessage, ServerResponse] {
  const shaped = request as IncomingMessage;
  const authority = shaped.headers[':authority'];
  if (typeof authority === 'string') shaped.headers.host ??= authority;
  return [shaped, response as ServerResponse];
}

/** Not a test itself: doors and upstreams on real sockets, and bytes straight into them. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type Upstream, upstreamForm } from '../contract/upstream.ts';
import { systemClock as clock } from '../core/clock.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { seededRandom } from '../core/random.ts';
import { type Door, type DoorOptions, openDoor } from './door.ts';
import { Upstreams, type UpstreamsOptions } from './upstreams.ts';

export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** All that came, by connection. */
  readonly received: string[];
  /** Connections that are open. */
  readonly open: Set<Socket>;
  close(): Promise<void>;
}

/** A server that speaks bytes: `answer` is asked with all that came on a connection so far, each time that something comes. */
export async function byteServer(
  answer: (text: string, socket: Socket, connection: number) => string | undefined,
  port = 0,
): Promise<TestServer> {
  const received: string[] = [];
  const open = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, socket => {
    const connection = received.push('') - 1;
    open.add(socket);
    socket.on('data', data => {
      received[connection] += data.toString('latin1');
      const reply = answer(received[connection]!, socket, connection);
      if (reply !== undefined && socket.writable) socket.write(reply, 'latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const bound = (server.address() as { port: number }).port;
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    received,
    open,
    close: async () => {
      for (const socket of open) socket.destroy();
      if (server.listening) await new Promise(resolve => server.close(resolve));
    },
  };
}

export const ok = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';

/** Answers `ok` to each complete head on a connection. */
export function okServer(port = 0): Promise<TestServer> {
  const answered = new WeakMap<Socket, number>();
  return byteServer((text, socket) => {
    const heads = text.split('\r\n\r\n').length - 1;
    const before = answered.get(socket) ?? 0;
    answered.set(socket, heads);
    return heads > before ? ok.repeat(heads - before) : undefined;
  }, port);
}

export interface TestDoor extends Door {
  readonly upstreams: Upstreams;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function testDoor(
  groups: readonly Upstream[],
  options: Partial<DoorOptions> & Pick<UpstreamsOptions, 'lookup'> = {},
): Promise<TestDoor> {
  const { lookup, ...rest } = options;
  const upstreams = new Upstreams({
    groups: groups.map(group => upstreamForm({ health: false, ...group })),
    clock,
    random: seededRandom(1),
    logger,
    meter,
    ...(lookup && { lookup }),
  });
  await upstreams.open();
  const door = await openDoor({ upstreams, clock, logger, meter, port: 0, checkIntervalMs: 20, ...rest });
  const end = async (): Promise<void> => {
    await door.close(0);
    upstreams.close();
  };
  return Object.assign(door, { upstreams, [Symbol.asyncDispose]: end });
}

/** Sends bytes and gives all that comes back until the connection ends, or until `enough` says so. */
export function exchangeBytes(port: number, text: string, enough?: (answer: string) => boolean): Promise<string> {
  return new Promise(resolve => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text, 'latin1'));
    socket.on('data', chunk => {
      answer += chunk.toString('latin1');
      if (enough?.(answer)) socket.destroy();
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
  });
}

export const statuses = (answer: string): number[] =>
  [...answer.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(match => Number(match[1]));

/** Polls until it is so, for 5 s at most. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`not within 5 s: ${what}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

/**
 * The outside door of a gateway that has only upstreams behind it: HTTP/1.1 read by this room itself. Every wait has an end, what
 * is wrong is refused (`door-connection.ts`), and closing lets what is under way finish.
 */
import type { AddressInfo, Socket } from 'node:net';
import { type Clock, every } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import { metricNames } from '../monitoring/metric-names.ts';
import { DoorConnection } from './door-connection.ts';
import type { RequestHead } from './heads.ts';
import { Malformed } from './malformed.ts';
import type { Upstreams } from './upstreams.ts';
import { WriteBatch } from './write-batch.ts';

const { createServer } = process.getBuiltinModule('node:net');

export const doorDefaults = {
  host: '127.0.0.1',
  /** Time for a request's head, against slow clients that hold connections (Slowloris). */
  headersTimeoutMs: 10_000,
  /** Between two reads of a request's body. */
  bodyTimeoutMs: 30_000,
  /** Longer than the idle time of common proxies (60 s), so that the proxy closes first and no request meets a closing connection. */
  keepAliveTimeoutMs: 65_000,
  connectionsMax: 16_384,
  headerBytesMax: 16_384,
  /** How often slow clients are looked for. */
  checkIntervalMs: 1000,
} as const;

export interface DoorOptions
  extends Partial<{ readonly [K in keyof typeof doorDefaults]: K extends 'host' ? string : number }> {
  readonly upstreams: Upstreams;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly meter: Meter;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Who may say for whom a request is (X-Forwarded-For): proxies before this one. Default: nobody. */
  readonly trusts?: (address: string) => boolean;
}

/** What a connection needs of its door. */
export interface DoorParts {
  readonly clock: Clock;
  readonly writes: WriteBatch;
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly headerBytesMax: number;
  trusts(address: string): boolean;
  closing(): boolean;
  handle(connection: DoorConnection, head: RequestHead, forwarded: string): void;
  /** A request that was none. */
  refused(status: number): void;
  left(connection: DoorConnection): void;
  /** Something that must not happen. */
  broken(cause: unknown): void;
}

export interface Door {
  readonly url: string;
  readonly port: number;
  readonly connections: number;
  /** Takes no new connections, lets what is under way finish for at most `graceMs`, then ends the rest. */
  close(graceMs: number): Promise<void>;
}

/** @throws CONFLICT when the port is in use. */
export async function openDoor(given: DoorOptions): Promise<Door> {
  const options = { ...doorDefaults, trusts: () => false, ...given };
  const { upstreams, clock, logger, meter } = options;
  const connections = new Set<DoorConnection>();
  let closing = false;
  const parts: DoorParts = {
    ...options,
    writes: new WriteBatch(clock),
    closing: () => closing,
    handle(connection, head, forwarded) {
      const { target } = head;
      if (target.startsWith('/-/') && answerOwn(connection, head, !closing && upstreams.ready)) return;
      try {
        const group = upstreams.find(target);
        if (group) connection.give(upstreams.exchange(group, connection, head, forwarded));
        else
          connection.fail({ status: 404, code: 'NOT_FOUND', detail: 'no upstream has this path', outcome: 'not-done' });
      } catch (cause) {
        if (!(cause instanceof Malformed)) throw cause;
        connection.fail({ status: cause.status, code: 'INVALID', detail: cause.message, outcome: 'not-done' });
      }
    },
    refused: status => meter.counter(metricNames.refused, { status: String(status) }).add(1),
    left: connection => void connections.delete(connection),
    broken: cause => logger.error('a connection failed', { error: cause }),
  };
  const server = createServer(
    { noDelay: true },
    (socket: Socket) => void connections.add(new DoorConnection(socket, parts)),
  );
  server.maxConnections = options.connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const { host, port } = options;
      if (cause.code === 'EADDRINUSE')
        reject(
          new TandemError('CONFLICT', `port ${port} is in use; choose another or stop what listens there`, { cause }),
        );
      else reject(new TandemError('CONFIG', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    });
    server.listen({ host: options.host, port: options.port, backlog: 1024 }, resolve);
  });
  server.on('error', () => {});
  const look = every(clock, options.checkIntervalMs, () => {
    const now = clock.monotonic();
    for (const connection of connections) if (now >= connection.deadlineMs) connection.onTimeout();
  });
  const { port } = server.address() as AddressInfo;
  const shownHost = options.host.includes(':') ? `[${options.host}]` : options.host;
  let closed: Promise<void> | undefined;
  return {
    url: `http://${shownHost}:${port}`,
    port,
    get connections() {
      return connections.size;
    },
    close(graceMs) {
      closing = true;
      closed ??= new Promise<void>(resolve => {
        const cut = clock.after(graceMs, () => {
          for (const connection of [...connections]) connection.destroy();
        });
        server.close(() => {
          cut.cancel();
          look.cancel();
          resolve();
        });
        for (const connection of [...connections]) connection.drain();
      });
      return closed;
    },
  };
}

/** Health of the gateway itself; false when the path is somebody else's. */
function answerOwn(connection: DoorConnection, { target, verb }: RequestHead, ready: boolean): boolean {
  if (target !== '/-/health' && target !== '/-/ready') return false;
  const type = 'application/json; charset=utf-8';
  if (verb !== 'GET' && verb !== 'HEAD') connection.answer(405, type, '{}');
  else if (target === '/-/health') connection.answer(200, type, '{"status":"live"}');
  else connection.answer(ready ? 200 : 503, type, ready ? '{"status":"ready"}' : '{"status":"not ready"}');
  return true;
}

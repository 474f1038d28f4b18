/**
 * The connection to NATS that log, bus and blobs share. A request is sent once: the client library queues what is published
 * while it is disconnected and sends it much later, so nothing is given to it then, and what was under way is in doubt.
 */
import type { JetStreamManager } from '@nats-io/jetstream';
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { NatsAddress } from './nats-address.ts';
import { checkVersion } from './nats-checks.ts';

export interface NatsLink {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly address: NatsAddress;
  /** Copies of each stream. */
  readonly replicas: number;
  readonly connected: boolean;
  onConnection(listener: (connected: boolean) => void): () => void;
  headers(): MsgHdrs;
  close(): Promise<void>;
}

/** What became of one request. */
export type Answered =
  | { readonly kind: 'answer'; readonly body: unknown }
  /** Nobody took it: no stream has this subject, or its leader is not there. Nothing was done. */
  | { readonly kind: 'nobody' }
  | { readonly kind: 'silence'; readonly cause: unknown };

/** @throws UNAVAILABLE, UNSUPPORTED, CONFIG. */
export async function connectNats(
  address: NatsAddress,
  context: { readonly clock: Clock; readonly logger: Logger; readonly name: string },
): Promise<NatsLink> {
  const { connect, credsAuthenticator, headers } = await load(() => import('@nats-io/transport-node'));
  const { jetstreamManager } = await load(() => import('@nats-io/jetstream'));
  const { readFile } = await import('node:fs/promises');
  const authenticator = address.creds ? credsAuthenticator(await readFile(address.creds)) : undefined;
  const connection = await connect({
    servers: [...address.servers],
    name: context.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    timeout: 3000,
    pingInterval: 1000,
    maxPingOut: 3,
    ...(address.user === undefined ? {} : { user: address.user }),
    ...(address.password === undefined ? {} : { pass: address.password }),
    ...(authenticator ? { authenticator } : {}),
    ...(address.tls ? { tls: {} } : {}),
  }).catch(cause => {
    throw new TandemError('UNAVAILABLE', `NATS does not answer at ${address.servers.join(', ')}: ${String(cause)}`, {
      cause,
      outcome: 'not-done',
    });
  });
  try {
    const { info } = connection;
    checkVersion(info?.version ?? '0');
    const manager = await jetstreamManager(connection).catch(cause => {
      throw new TandemError(
        'CONFIG',
        `the NATS account at ${address.servers.join(', ')} has no JetStream: set \`jetstream {…}\` on the servers and enable it for the account`,
        { cause },
      );
    });
    const clustered = info?.cluster !== undefined;
    return watched(connection, manager, address, address.replicas ?? (clustered ? 3 : 1), headers, context.logger);
  } catch (cause) {
    await connection.close();
    throw cause;
  }
}

async function load<T>(module: () => Promise<T>): Promise<T> {
  try {
    return await module();
  } catch (cause) {
    throw new TandemError(
      'CONFIG',
      'a NATS engine needs its client: npm install @nats-io/transport-node @nats-io/jetstream @nats-io/obj',
      { cause },
    );
  }
}

function watched(
  connection: NatsConnection,
  manager: JetStreamManager,
  address: NatsAddress,
  replicas: number,
  headers: () => MsgHdrs,
  logger: Logger,
): NatsLink {
  const listeners = new Set<(connected: boolean) => void>();
  let connected = true;
  const set = (now: boolean): void => {
    if (now === connected) return;
    connected = now;
    logger.info(now ? 'NATS is reached again' : 'NATS cannot be reached', { server: connection.getServer() });
    for (const listener of [...listeners]) listener(now);
  };
  void (async () => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect' || type === 'reconnecting' || type === 'staleConnection' || type === 'close')
        set(false);
      else if (type === 'reconnect') set(true);
    }
    set(false);
  })().catch(() => {});
  return {
    connection,
    manager,
    address,
    replicas,
    headers,
    get connected() {
      return connected;
    },
    onConnection(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => connection.close(),
  };
}

/** Sends one request. @throws UNAVAILABLE (not-done) while there is no connection. */
export async function ask(
  link: NatsLink,
  subject: string,
  body: Uint8Array,
  headers: MsgHdrs | undefined,
  timeoutMs: number,
): Promise<Answered> {
  if (!link.connected) throw new TandemError('UNAVAILABLE', 'NATS cannot be reached', { outcome: 'not-done' });
  const timeout = Math.max(1, Math.ceil(timeoutMs));
  try {
    const reply = await link.connection.request(subject, body, { timeout, ...(headers ? { headers } : {}) });
    return { kind: 'answer', body: reply.json() };
  } catch (cause) {
    const { name, message } = cause as Error;
    const nobody =
      name === 'NoRespondersError' || /no responders/i.test(message) || hasCause(cause, 'NoRespondersError');
    return nobody ? { kind: 'nobody' } : { kind: 'silence', cause };
  }
}

function hasCause(error: unknown, name: string): boolean {
  const { cause } = error as { cause?: Error };
  return cause?.name === name;
}

/** Waits for a promise of the library's, but not beyond the deadline. @throws DEADLINE_EXCEEDED (unknown). */
export async function within<T>(work: Promise<T>, deadline: number, clock: Clock, what: string): Promise<T> {
  const over = new AbortController();
  const late = sleep(clock, Math.max(0, deadline - clock.monotonic()), over.signal).then(() => {
    throw new TandemError('DEADLINE_EXCEEDED', `${what}: NATS did not answer in time`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
    work.catch(() => {});
  }
}

/** The library's API errors carry NATS's own number. */
export function apiCode(cause: unknown): number | undefined {
  const { code, name } = cause as { code?: number; name?: string };
  if (name === 'StreamNotFoundError') return streamNotFound;
  return typeof code === 'number' ? code : undefined;
}
export const streamNotFound = 10_059;
export const noMessage = 10_037;

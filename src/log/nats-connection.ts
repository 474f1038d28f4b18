/** The connection to NATS that log, bus and blobs share: one for each process, to whichever server of the cluster is there. */
import type { JetStreamManager } from '@nats-io/jetstream';
import type { MsgHdrs, NatsConnection } from '@nats-io/transport-node';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { NatsAddress } from './nats-address.ts';
import { checkVersion, replicasOf } from './nats-checks.ts';

export interface NatsLink {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly address: NatsAddress;
  /** Copies of each stream. */
  readonly replicas: number;
  /** False also while the server that was reached is one that must not be trusted. */
  readonly connected: boolean;
  onConnection(listener: (connected: boolean) => void): () => void;
  headers(): MsgHdrs;
  close(): Promise<void>;
}

/** @throws UNAVAILABLE, UNSUPPORTED, CONFIG. */
export async function connectNats(
  address: NatsAddress,
  context: { readonly clock: Clock; readonly logger: Logger; readonly name: string },
): Promise<NatsLink> {
  const { connect, credsAuthenticator, headers } = await load(() => import('@nats-io/transport-node'));
  const { jetstreamManager } = await load(() => import('@nats-io/jetstream'));
  const authenticator = address.creds ? credsAuthenticator(await credentials(address.creds)) : undefined;
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
    // Credentials may be in change on the servers: going on beats a process that is cut off for ever.
    ignoreAuthErrorAbort: true,
  }).catch(cause => {
    throw notReached(address, cause);
  });
  try {
    const { info } = connection;
    checkVersion(info?.version ?? '0');
    const manager = await jetstreamManager(connection).catch(cause => {
      throw noJetStream(address, cause);
    });
    return watched(connection, manager, address, replicasOf(address, info?.cluster), headers, context.logger);
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

async function credentials(file: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises');
  return readFile(file).catch(cause => {
    throw new TandemError('CONFIG', `the credentials of NATS cannot be read: ${(cause as Error).message}`, { cause });
  });
}

/** A cluster that is choosing its leader says nothing, which is no fault of its settings. */
function noJetStream(address: NatsAddress, cause: unknown): TandemError {
  const where = address.servers.join(', ');
  const { name, message } = cause as Error;
  if (name === 'JetStreamNotEnabled' || /not enabled/i.test(message))
    return new TandemError(
      'CONFIG',
      `the NATS account at ${where} has no JetStream: set \`jetstream {…}\` on the servers and enable it for the account`,
      { cause },
    );
  return new TandemError('UNAVAILABLE', `JetStream does not answer at ${where}: ${message}`, {
    cause,
    outcome: 'not-done',
  });
}

function notReached(address: NatsAddress, cause: unknown): TandemError {
  const where = address.servers.join(', ');
  const { name, message } = cause as Error;
  if (/^(AuthorizationError|UserAuthenticationExpiredError)$/.test(name))
    return new TandemError(
      'CONFIG',
      `NATS at ${where} refuses the credentials (${message}): write nats://user:password@…, or add creds=FILE to the address`,
      { cause },
    );
  return new TandemError('UNAVAILABLE', `NATS does not answer at ${where}: ${message}`, { cause, outcome: 'not-done' });
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
  /** Another server answers now: one that is too old is left for the next. */
  const trusted = (): boolean => {
    try {
      checkVersion(connection.info?.version ?? '0');
      return true;
    } catch (cause) {
      logger.error(TandemError.from(cause).message, { server: connection.getServer() });
      connection.reconnect().catch(() => {});
      return false;
    }
  };
  void (async () => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect' || type === 'reconnecting' || type === 'staleConnection' || type === 'close')
        set(false);
      else if (type === 'reconnect') set(trusted());
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

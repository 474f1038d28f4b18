/**
 * What only the monitoring port of a server tells: whether it syncs before it acknowledges, and whether all servers of a
 * cluster were asked. A server that does not answer now is no reason to keep an app from starting while a majority of them
 * answers as it should; a server that answers wrongly is.
 */
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { NatsAddress } from './nats-address.ts';
import { checkVersion } from './nats-checks.ts';

interface Varz {
  readonly version?: string;
  readonly server_id?: string;
  readonly jetstream?: {
    readonly config?: { readonly sync_always?: boolean };
    readonly meta?: { readonly cluster_size?: number };
  };
}

/** @throws CONFIG, UNSUPPORTED (a server says that it cannot keep the promise, or was not asked), UNAVAILABLE (too few answer). */
export async function checkServers(
  { sync, monitors }: NatsAddress,
  get: (url: string) => Promise<unknown>,
  logger: Logger,
): Promise<void> {
  if (sync === 'unchecked') return;
  if (monitors.length === 0) {
    throw new TandemError(
      'CONFIG',
      "whether NATS syncs before it acknowledges can only be seen at its monitoring port: add monitor=http://host:8222 (one per server) to the engine's address, or sync=unchecked if you answer for `sync_interval: always` yourself",
    );
  }
  const asked = await Promise.all(
    monitors.map(async monitor => {
      const found = await get(`${monitor.replace(/\/$/, '')}/varz`).catch((cause: unknown) => cause as Error);
      return { monitor, found: found as Varz | Error };
    }),
  );
  const good = new Set<string>();
  let servers = 1;
  const silent: { readonly monitor: string; readonly cause: Error }[] = [];
  for (const { monitor, found } of asked) {
    if (found instanceof Error) {
      silent.push({ monitor, cause: found });
      continue;
    }
    checkServer(monitor, found);
    good.add(found.server_id ?? monitor);
    servers = Math.max(servers, found.jetstream?.meta?.cluster_size ?? 1);
  }
  if (good.size + silent.length < servers)
    throw new TandemError(
      'CONFIG',
      `the cluster has ${servers} servers, but ${good.size + silent.length} were asked whether they sync: add a monitor= address for each`,
    );
  if (silent.length === 0) return;
  const { monitor, cause } = silent[0]!;
  if (good.size * 2 <= Math.max(servers, monitors.length))
    throw new TandemError('UNAVAILABLE', `the monitoring address ${monitor} does not answer`, {
      cause,
      outcome: 'not-done',
    });
  for (const { monitor } of silent)
    logger.warn('a server of the cluster does not answer; whether it syncs before it acknowledges was not seen', {
      monitor,
    });
}

/** @throws CONFIG, UNSUPPORTED */
function checkServer(monitor: string, { version, jetstream }: Varz): void {
  checkVersion(version ?? '0');
  if (!jetstream?.config)
    throw new TandemError('CONFIG', `the server at ${monitor} runs without JetStream: set \`jetstream {…}\``);
  if (jetstream.config.sync_always !== true)
    throw new TandemError(
      'CONFIG',
      `the server at ${monitor} acknowledges before it syncs: set \`jetstream { sync_interval: always }\``,
    );
}

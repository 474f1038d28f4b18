/**
 * The whole app in one process, for development: the same rooms, joined by the in-memory transport instead of sockets
 * and with the engine called directly. Data is as durable as ever.
 */
import { join } from 'node:path';
import { memoryTransport } from '../communication/memory.ts';
import type { GatewayForm } from '../contract/gateway-config.ts';
import type { UpstreamForm } from '../contract/upstream.ts';
import { Closers } from '../core/lifecycle.ts';
import { openEmbeddedEngine } from '../log/embedded-engine.ts';
import type { Engine } from '../log/engine.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { protoLockOf } from './contract-lock.ts';
import { openGatewayProcess } from './gateway.ts';
import type { Host } from './host.ts';
import { openInstance } from './instance.ts';
import { loadFiles } from './load.ts';
import { openStores } from './stores.ts';

export interface DevAppOptions {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  readonly httpHost: string;
  readonly port: number;
  readonly dashboardPort: number;
  readonly host: Host;
  /** `services` of the config file. */
  readonly config: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly gateway?: GatewayForm;
  readonly upstreams?: readonly UpstreamForm[];
  readonly dashboard?: boolean;
  /** Signs session tokens; the same for the same data, so that tokens survive a restart. */
  readonly secret: string;
}

export interface DevApp {
  readonly gatewayUrl: string;
  readonly dashboardUrl: string | undefined;
  readonly services: readonly string[];
  /** The files that were given. */
  readonly files: readonly string[];
  /** For who joins it: what all of it is reached by. */
  readonly host: Host;
  readonly engine: Engine;
  close(graceMs: number): Promise<void>;
}

export async function openDevApp(options: DevAppOptions): Promise<DevApp> {
  const { files, dataDirectory, httpHost, port, secret } = options;
  const host = { ...options.host, transports: [memoryTransport()] };
  const { clock, random, logger } = host;
  const found = await loadFiles(files);
  const services = found.map(({ service }) => service.contract.name as string);
  const closers = new Closers();
  try {
    const engine = await openEmbeddedEngine({
      directory: join(dataDirectory, 'engine'),
      disk: nodeDisk,
      clock,
      random,
      logger,
      durability: 'fsync',
    });
    closers.add('engine', () => engine.close());
    const openService = async ({ service, file }: (typeof found)[number]): Promise<void> => {
      const name = service.contract.name as string;
      const id = `${name}-1-${random.id().slice(0, 6)}`;
      const instance = await openInstance({
        id,
        service,
        host,
        engine,
        listen: `memory://${id}`,
        config: options.config[name] ?? {},
        proto: protoLockOf(file, name),
        stores: await openStores(service, join(dataDirectory, 'replicas', `${name}-1`)),
      });
      closers.add(id, () => instance.close(1000));
    };
    // Side by side: the gateway hears the instances become ready, and need not wait for their next beat.
    const [door, ...rooms] = await Promise.allSettled([
      openGatewayProcess({
        id: `gateway-1-${random.id().slice(0, 6)}`,
        host,
        engine,
        listen: 'memory://gateway-1',
        httpHost,
        port,
        reusePort: false,
        services,
        gateway: options.gateway,
        upstreams: options.upstreams ?? [],
        secret,
      }),
      ...found.map(openService),
    ]);
    if (door.status === 'fulfilled') closers.add('gateway', () => door.value.close(1000));
    for (const room of rooms) if (room.status === 'rejected') throw room.reason;
    if (door.status === 'rejected') throw door.reason;
    const gateway = door.value;
    let dashboardUrl: string | undefined;
    if (options.dashboard !== false) {
      const { openMonitorProcess } = await import('./monitor-process.ts');
      const monitor = await openMonitorProcess({
        id: `monitor-1-${random.id().slice(0, 6)}`,
        host,
        engine,
        listen: 'memory://monitor-1',
        httpHost,
        port: options.dashboardPort,
      });
      closers.add('monitor', () => monitor.close(0));
      dashboardUrl = monitor.url;
    }
    return {
      gatewayUrl: gateway.url,
      dashboardUrl,
      services,
      files,
      host,
      engine,
      close: () => closers.close(),
    };
  } catch (cause) {
    await closers.close().catch(() => {});
    throw cause;
  }
}

/** Not a test itself: an app over real TCP whose processes are one. Gateways, instances and an engine on a real disk. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Service } from '../contract/contract.ts';
import { Closers } from '../core/lifecycle.ts';
import { openEmbeddedEngine } from '../log/embedded-engine.ts';
import type { Engine } from '../log/engine.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { memoryStores } from '../replication/memory-store.ts';
import { openGatewayProcess } from './gateway.ts';
import { type Host, systemHost } from './host.ts';
import { openInstance } from './instance.ts';

export interface RealAppOptions {
  readonly services: readonly Service[];
  /** Instances of each service. Default 1. */
  readonly instances?: number;
  readonly gateways?: number;
  /** What an instance has for an engine, so that a test can come between. `slot` is `board-1`. */
  readonly engineOf?: (slot: string, engine: Engine) => Engine;
}

export interface RealApp extends AsyncDisposable {
  readonly urls: readonly string[];
  readonly engine: Engine;
  /** By slot: `board-1`, `gateway-1`. */
  readonly hosts: ReadonlyMap<string, Host>;
}

export async function openRealApp(options: RealAppOptions): Promise<RealApp> {
  const { services, instances = 1, gateways = 1, engineOf = (_, engine) => engine } = options;
  const closers = new Closers();
  const hosts = new Map<string, Host>();
  const hostOf = (slot: string): Host => {
    const host = systemHost({ id: slot, write: () => {}, level: 'error' });
    hosts.set(slot, host);
    return host;
  };
  try {
    const directory = mkdtempSync(join(tmpdir(), 'tandem-app-'));
    closers.add('directory', () => rmSync(directory, { recursive: true, force: true }));
    const engine = await openEmbeddedEngine({ directory, disk: nodeDisk, durability: 'os', ...hostOf('engine') });
    closers.add('engine', () => engine.close());
    const slots = services.flatMap(service =>
      Array.from({ length: instances }, (_, index) => ({ service, slot: `${service.contract.name}-${index + 1}` })),
    );
    await Promise.all(
      slots.map(async ({ service, slot }) => {
        const stores = memoryStores();
        const instance = await openInstance({
          id: `${slot}-test`,
          service,
          host: hostOf(slot),
          engine: engineOf(slot, engine),
          listen: 'tcp://127.0.0.1:0',
          config: {},
          stores: { open: partition => stores.open(partition), close: () => Promise.resolve() },
        });
        closers.add(slot, () => instance.close(500));
      }),
    );
    const urls: string[] = [];
    for (let index = 1; index <= gateways; index++) {
      const slot = `gateway-${index}`;
      const gateway = await openGatewayProcess({
        id: `${slot}-test`,
        host: hostOf(slot),
        engine,
        listen: 'tcp://127.0.0.1:0',
        httpHost: '127.0.0.1',
        port: 0,
        reusePort: false,
        services: services.map(service => service.contract.name as string),
        secret: 'of tests',
      });
      closers.add(slot, () => gateway.close(500));
      urls.push(gateway.url);
    }
    return { urls, engine, hosts, [Symbol.asyncDispose]: () => closers.close() };
  } catch (cause) {
    await closers.close();
    throw cause;
  }
}

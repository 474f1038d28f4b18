/**
 * Runs one role in this process, from settings that are plain JSON: what the supervisor hands a child. Each role's code
 * is loaded only where it runs, so that a gateway starts without LMDB and an engine without HTTP.
 */
import { join } from 'node:path';
import type { GatewayForm } from '../contract/gateway-config.ts';
import type { UpstreamForm } from '../contract/upstream.ts';
import { TandemError } from '../core/errors.ts';
import type { Engine } from '../log/engine.ts';
import type { Level } from '../monitoring/logger.ts';
import { type Host, linkAddress, systemHost } from './host.ts';
import { openStores } from './stores.ts';

export interface RoleSettings {
  readonly id: string;
  readonly engineAddress?: string;
  readonly dataDirectory?: string;
  /** For instances: the file, and which of its services. */
  readonly file?: string;
  readonly service?: string;
  /** `services.<name>` of the config file. */
  readonly serviceConfig?: Readonly<Record<string, unknown>>;
  /** Where this role's door listens (HTTP, DNS). */
  readonly host: string;
  readonly port?: number;
  readonly reusePort?: boolean;
  /** Services of the app, for a gateway. */
  readonly services?: readonly string[];
  /** The HTTP door's, for a gateway. */
  readonly gateway?: GatewayForm;
  /** HTTP servers behind it, for a gateway. */
  readonly upstreams?: readonly UpstreamForm[];
  /** Address of this machine that its processes are reached at by those of others. Default: loopback. */
  readonly linkHost?: string;
  /** Directory of certificates; with it the app's processes speak TLS with each other. */
  readonly linkTls?: string;
  readonly dashboardToken?: string;
  readonly sessionSecret?: string;
  readonly durability?: 'fsync' | 'os';
  readonly logLevel?: Level;
  readonly logFormat?: 'json' | 'pretty';
  readonly zone?: string;
  readonly weight?: number;
}

export type RoleName = 'engine' | 'gateway' | 'instance' | 'monitor' | 'naming';

export interface RunningRole {
  /** What others need to know: addresses and URLs. */
  readonly info: Readonly<Record<string, string>>;
  close(graceMs: number): Promise<void>;
}

function linkHostOf({ linkHost = '127.0.0.1' }: RoleSettings): string {
  return linkHost;
}

export async function runRole(role: RoleName, settings: RoleSettings): Promise<RunningRole> {
  const host = systemHost({
    id: settings.id,
    write: line => void process.stdout.write(line.endsWith('\n') ? line : `${line}\n`),
    level: settings.logLevel,
    format: settings.logFormat,
    zone: settings.zone,
    weight: settings.weight,
    linkTls: settings.linkTls,
  });
  if (role === 'engine') return runEngine(settings, host);
  const address = required(settings.engineAddress, 'engineAddress');
  const { engine, close: closeEngine } = await connect(address, settings.id, host);
  const common = {
    id: settings.id,
    host,
    engine,
    engineAddress: address,
    listen: linkAddress(settings.linkHost, settings.linkTls),
  };
  const opened = await openRole(role, settings, common).catch(async cause => {
    await closeEngine();
    throw cause;
  });
  return {
    info: opened.info,
    close: async graceMs => {
      await opened.close(graceMs);
      await closeEngine();
    },
  };
}

async function openRole(
  role: Exclude<RoleName, 'engine'>,
  settings: RoleSettings,
  common: Common,
): Promise<RunningRole> {
  if (role === 'gateway') {
    const { openGatewayProcess } = await import('./gateway.ts');
    const secret = required(settings.sessionSecret, 'sessionSecret');
    const gateway = await openGatewayProcess({
      ...common,
      httpHost: settings.host,
      linkHost: linkHostOf(settings),
      port: settings.port ?? 0,
      reusePort: settings.reusePort ?? false,
      services: settings.services ?? [],
      gateway: settings.gateway,
      upstreams: settings.upstreams ?? [],
      secret,
    });
    return { info: { url: gateway.url, port: String(gateway.port) }, close: gateway.close };
  }
  if (role === 'monitor') {
    const { openMonitorProcess } = await import('./monitor-process.ts');
    const monitor = await openMonitorProcess({
      ...common,
      httpHost: settings.host,
      port: settings.port ?? 0,
      token: settings.dashboardToken,
    });
    return { info: { url: monitor.url, port: String(monitor.port) }, close: monitor.close };
  }
  if (role === 'naming') {
    const { openNamingProcess } = await import('./naming.ts');
    const naming = await openNamingProcess({
      ...common,
      dnsHost: settings.host,
      linkHost: linkHostOf(settings),
      port: settings.port ?? 0,
    });
    return { info: { address: naming.address }, close: naming.close };
  }
  return runInstance(settings, common);
}

interface Common {
  readonly id: string;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress: string;
  readonly listen: string;
}

async function runInstance(settings: RoleSettings, common: Common): Promise<RunningRole> {
  const [{ loadServices }, { openInstance }, { protoLockOf }] = await Promise.all([
    import('./load.ts'),
    import('./instance.ts'),
    import('./contract-lock.ts'),
  ]);
  const file = required(settings.file, 'file');
  const services = await loadServices(file);
  const service = services.find(candidate => candidate.contract.name === settings.service);
  if (!service) throw new TandemError('CONFIG', `${file} no longer exports the service '${settings.service}'`);
  const stores = await openStores(
    service,
    join(required(settings.dataDirectory, 'dataDirectory'), 'replicas', slotOf(settings.id)),
  );
  const proto = protoLockOf(file, service.contract.name as string);
  const instance = await openInstance({ ...common, service, config: settings.serviceConfig ?? {}, proto, stores });
  return { info: { address: instance.address }, close: instance.close };
}

/** `inventory-3-9k2f0c` keeps its replicas in the folder `inventory-3`, which the next process of that place takes over. */
function slotOf(id: string): string {
  return id.replace(/-[a-z0-9]+$/, '');
}

async function runEngine(settings: RoleSettings, host: Host): Promise<RunningRole> {
  const { openEngineProcess } = await import('./engine.ts');
  const directory = join(required(settings.dataDirectory, 'dataDirectory'), 'engine');
  const listen = settings.engineAddress ?? linkAddress(settings.linkHost, settings.linkTls);
  const engine = await openEngineProcess({ id: settings.id, host, directory, durability: settings.durability, listen });
  return { info: { address: engine.address }, close: engine.close };
}

async function connect(address: string, name: string, host: Host): Promise<{ engine: Engine; close(): Promise<void> }> {
  const [{ linkDialer }, { reachEngine }, { holding }] = await Promise.all([
    import('../communication/link-dialer.ts'),
    import('../log/reach-engine.ts'),
    import('../log/hold.ts'),
  ]);
  const { clock, random, logger, meter, transports } = host;
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = holding(await reachEngine({ dialer, address, name, clock, random, logger }), clock);
  return {
    engine,
    close: async () => {
      await engine.close();
      await dialer.close();
    },
  };
}

function required<T>(value: T | undefined, name: string): T {
  if (value === undefined)
    throw new TandemError('CONFIG', `the setting '${name}' is missing; roles are started by \`tandem up\``);
  return value;
}

/** The processes of an app and what each is given. */
import type { ProcessSpec } from '../recovery/supervisor.ts';
import { dnsAddress, type Settings } from './config.ts';
import type { DataDirectory } from './data-directory.ts';
import type { InspectedService } from './inspect.ts';

export interface SpecOptions {
  readonly settings: Settings;
  readonly services: readonly InspectedService[];
  readonly data: DataDirectory;
  readonly port: number;
  readonly dashboardPort: number;
  readonly dashboardToken: string;
  /** As last scaled, when the app is taken over. */
  readonly wanted: Readonly<Record<string, number>>;
}

export function processSpecs(options: SpecOptions): ProcessSpec[] {
  const { settings, services, data, port, dashboardPort, dashboardToken, wanted } = options;
  const host = settings.host.value;
  const dns = dnsAddress(settings.dns.value)!;
  const cluster = settings.engine.value === 'embedded' ? undefined : settings.engine.value;
  const addressOf = (engine: Readonly<Record<string, string>>): string | undefined => cluster ?? engine.address;
  const common = {
    host,
    logLevel: settings.logLevel.value,
    logFormat: 'json',
    zone: settings.zone.value,
    weight: settings.weight.value,
    dataDirectory: data.path,
    sessionSecret: settings.secret ?? data.secret,
    linkHost: settings.linkHost.value,
    linkTls: settings.linkTls.value,
  };
  const count = (name: string, fallback: number): number => {
    const given = settings.scale.value[name];
    return (settings.scale.source === '--scale' ? given : undefined) ?? wanted[name] ?? given ?? fallback;
  };
  const engine: ProcessSpec = {
    name: 'engine',
    role: 'engine',
    instances: 1,
    // A restarted engine keeps its address: everybody else knows it.
    settings: ({ id, former }) => ({ ...common, id, engineAddress: former.address }),
  };
  return [
    ...(cluster ? [] : [engine]),
    {
      name: 'naming',
      role: 'naming',
      instances: 1,
      settings: ({ id, engine, former }) => ({
        ...common,
        id,
        engineAddress: addressOf(engine),
        host: dns.host ?? settings.linkHost.value,
        port:
          dns.port === 0 && former.address
            ? Number(former.address.slice(former.address.lastIndexOf(':') + 1))
            : dns.port,
      }),
    },
    {
      name: 'monitor',
      role: 'monitor',
      instances: 1,
      settings: ({ id, engine }) => ({
        ...common,
        id,
        host: '127.0.0.1',
        engineAddress: addressOf(engine),
        port: dashboardPort,
        dashboardToken,
      }),
    },
    {
      name: 'gateway',
      role: 'gateway',
      instances: count('gateway', settings.gateways.value),
      settings: ({ id, engine }) => ({
        ...common,
        id,
        engineAddress: addressOf(engine),
        port,
        reusePort: true,
        services: services.map(({ name }) => name),
        gateway: settings.gateway.value,
        upstreams: settings.upstreams,
      }),
    },
    ...services.map(
      (service): ProcessSpec => ({
        name: service.name,
        role: 'instance',
        instances: count(service.name, 1),
        settings: ({ id, engine }) => ({
          ...common,
          id,
          engineAddress: addressOf(engine),
          file: service.file,
          service: service.name,
          serviceConfig: settings.services[service.name] ?? {},
        }),
      }),
    ),
  ];
}

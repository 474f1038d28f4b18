/** What `tandem dev` runs in its child: the app of app/dev.ts with this terminal's records, and its control link. Ends when its parent does. */

import { type DevApp, openDevApp } from '../app/dev.ts';
import { systemHost } from '../app/host.ts';
import type { GatewayForm } from '../contract/gateway-config.ts';
import type { UpstreamForm } from '../contract/upstream.ts';
import { TandemError } from '../core/errors.ts';
import type { Level } from '../monitoring/logger.ts';
import { openAppLink } from './app-link.ts';
import { controlAddress, openControl } from './control.ts';
import { linkAnswers } from './link-answers.ts';

export interface DevSettings {
  readonly files: readonly string[];
  readonly dataDirectory: string;
  readonly sessionSecret: string;
  readonly host: string;
  readonly port: number;
  readonly dashboardPort: number;
  readonly logLevel: Level;
  readonly logFormat: 'json' | 'pretty';
  readonly color: boolean;
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly gateway: GatewayForm;
  readonly upstreams: readonly UpstreamForm[];
  /** How often the app was started before. */
  readonly restarts: number;
}

export async function runDev(
  settings: DevSettings,
): Promise<{ info: Record<string, string>; close(graceMs: number): Promise<void> }> {
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  const {
    files,
    dataDirectory,
    sessionSecret: secret,
    host: httpHost,
    port,
    dashboardPort,
    logLevel,
    logFormat,
    color,
    services,
    gateway,
    upstreams,
  } = settings;
  const host = systemHost({
    id: 'dev',
    write: line => void process.stdout.write(line.endsWith('\n') ? line : `${line}\n`),
    level: logLevel,
    format: logFormat,
    color,
  });
  const app = await openDevApp({
    files,
    dataDirectory,
    secret,
    httpHost,
    port,
    dashboardPort,
    host,
    config: services,
    gateway,
    upstreams,
  });
  const { loadFiles } = await import('../app/load.ts');
  const found = await loadFiles(files);
  const described = found.map(({ service }) => ({
    name: service.contract.name as string,
    instances: 1,
    routes: Object.values(service.contract.methods as Record<string, { http?: string }>).flatMap(
      ({ http }) => http ?? [],
    ),
  }));
  const info: Record<string, string> = { gatewayUrl: app.gatewayUrl, services: JSON.stringify(described) };
  if (app.dashboardUrl) info.dashboardUrl = app.dashboardUrl;
  const control = await openDevControl(app, settings);
  info.control = control.address;
  return {
    info,
    async close(graceMs) {
      await control.close();
      await app.close(graceMs);
    },
  };
}

/** What commands from another terminal ask; the app is one process, so what is about its processes is refused. */
async function openDevControl(
  app: DevApp,
  { dataDirectory, files, restarts }: DevSettings,
): Promise<{ readonly address: string; close(): Promise<void> }> {
  const { host, engine, gatewayUrl, dashboardUrl } = app;
  const startedAt = host.clock.now();
  const link = await openAppLink({
    id: `dev-1-${host.random.id().slice(0, 6)}`,
    host,
    engine,
    listen: 'memory://dev-1',
  });
  const address = controlAddress(dataDirectory);
  const self = { name: 'dev', spec: 'dev', role: 'engine', id: 'dev', pid: process.pid, state: 'ready' } as const;
  const view = { ...self, startedAt, restarts, info: { url: gatewayUrl }, failure: undefined, nextTryAt: undefined };
  const server = await openControl(address, {
    ...linkAnswers(() => link),
    $ps: () => ({ processes: [view], facts: { control: address, files, gatewayUrl, dashboardUrl } }),
    $scale: () => {
      throw notInDev('runs one instance of each service; tandem up runs more: tandem up --scale NAME=N');
    },
    $engine: () => {
      throw notInDev('keeps its engine to itself; end it with tandem stop, then repeat: its data stays');
    },
  });
  return {
    address,
    async close() {
      await server.close(0);
      await link.close();
    },
  };
}

function notInDev(why: string): TandemError {
  return new TandemError('UNSUPPORTED', `tandem dev ${why}`);
}

/** What `tandem dev` runs in its child: the app of app/dev.ts with this terminal's records. Ends when its parent does. */
import { openDevApp } from '../app/dev.ts';
import { systemHost } from '../app/host.ts';
import type { Level } from '../monitoring/logger.ts';

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
  } = settings;
  const host = systemHost({
    id: 'dev',
    write: line => void process.stdout.write(line.endsWith('\n') ? line : `${line}\n`),
    level: logLevel,
    format: logFormat,
    color,
  });
  const app = await openDevApp({ files, dataDirectory, secret, httpHost, port, dashboardPort, host, config: services });
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
  return { info, close: graceMs => app.close(graceMs) };
}

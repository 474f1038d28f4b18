/** NATS servers of a test's own: found, started on ports of the system's choice, killed, paused and ended by pid. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkVersion } from '../src/log/nats-checks.ts';

const unpacked = join(import.meta.dirname, '../.cache/nats/usr/sbin/nats-server');

/** A server that is new enough, or why there is none and what to do. */
export function findNatsServer(): { readonly path: string } | { readonly missing: string } {
  for (const path of [process.env['TANDEM_NATS_SERVER'], unpacked, 'nats-server']) {
    if (path === undefined || (path.includes('/') && !existsSync(path))) continue;
    try {
      checkVersion(/v([\d.]+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1] ?? '0');
      return { path };
    } catch {
      // too old, or not there
    }
  }
  return { missing: 'no nats-server 2.12.9 or newer was found: run test/current-nats-server' };
}

export interface NatsServer {
  readonly port: number;
  readonly monitorPort: number;
  /** Where the other servers reach it. */
  readonly routePort: number;
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Waits for its end. */
  ended(): Promise<void>;
  /** Starts it again on its data. */
  start(): void;
  /** Throws its data away; only while it does not run. */
  erase(): void;
  /** Another block of JetStream from its next start on. */
  configure(jetstream: string): void;
}

export interface NatsCluster {
  readonly servers: readonly NatsServer[];
  /** The address of an engine on it; by way of other ports where given, such as those of proxies. */
  address(parameters?: string, ports?: readonly number[]): string;
  close(): Promise<void>;
}

const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

export interface NatsSettings {
  /** The block of JetStream beyond its directory; undefined starts without JetStream. */
  readonly jetstream?: string | undefined;
  /** Lines at the top. */
  readonly more?: string;
}

const keepsItsPromise = 'max_mem: 64MB, max_file: 4GB, sync_interval: always';

export async function startNats(
  path: string,
  count: 1 | 3,
  settings: NatsSettings = { jetstream: keepsItsPromise },
): Promise<NatsCluster> {
  const { jetstream, more = '' } = settings;
  const directory = mkdtempSync(join(tmpdir(), 'tandem-nats-'));
  const ports = await freePorts(count * 3);
  const routes = Array.from({ length: count }, (_, i) => `nats-route://127.0.0.1:${ports[i * 3 + 2]}`);
  const servers: NatsServer[] = [];
  for (let i = 0; i < count; i++) {
    const [port, monitorPort, routePort] = ports.slice(i * 3, i * 3 + 3) as [number, number, number];
    const config = join(directory, `${i}.conf`);
    const data = join(directory, `data${i}`);
    // Clients keep to the addresses they were given, which may be those of proxies.
    const cluster = `cluster { name: tandem, no_advertise: true, listen: "127.0.0.1:${routePort}", routes: [${routes.map(route => `"${route}"`).join(', ')}] }`;
    const configure = (block: string | undefined): void =>
      writeFileSync(
        config,
        [
          `server_name: n${i}`,
          `listen: "127.0.0.1:${port}"`,
          `http: "127.0.0.1:${monitorPort}"`,
          'max_payload: 2MB',
          block === undefined ? '' : `jetstream { store_dir: "${data}", ${block} }`,
          count > 1 ? cluster : '',
          more,
        ].join('\n'),
      );
    configure(jetstream);
    let child: ChildProcess;
    let ended: Promise<void>;
    const start = (): void => {
      child = spawn(path, ['-c', config, '-l', join(directory, `${i}.log`)], { stdio: 'ignore' });
      ended = new Promise(done => child.once('exit', () => done()));
    };
    start();
    servers.push({
      port,
      monitorPort,
      routePort,
      get pid() {
        return child.pid!;
      },
      kill: signal => void child.kill(signal),
      ended: () => ended,
      start,
      erase: () => rmSync(data, { recursive: true }),
      configure,
    });
  }
  const monitors = servers.map(({ monitorPort }) => `http://127.0.0.1:${monitorPort}`).join(',');
  await until(async () => {
    for (const { monitorPort } of servers) {
      const health = await fetch(`http://127.0.0.1:${monitorPort}/healthz`);
      if (!health.ok) return false;
      const jsz = (await (await fetch(`http://127.0.0.1:${monitorPort}/jsz`)).json()) as {
        meta_cluster?: { leader?: string };
      };
      if (count > 1 && !jsz.meta_cluster?.leader) return false;
    }
    return true;
  });
  return {
    servers,
    address: (parameters = '', through = servers.map(({ port }) => port)) =>
      `nats://${through.map(port => `127.0.0.1:${port}`).join(',')}?monitor=${monitors}${parameters}`,
    close: async () => {
      for (const server of servers) {
        server.kill('SIGCONT');
        server.kill('SIGKILL');
        await server.ended();
      }
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export async function until(look: () => Promise<boolean>, patienceMs = 20_000): Promise<void> {
  for (const end = performance.now() + patienceMs; ; ) {
    const found = await look().catch(() => false);
    if (found) return;
    if (performance.now() > end) throw new Error(`not so within ${patienceMs} ms`);
    await pause(25);
  }
}

/** All are held open until all are known, so that no two are the same. */
async function freePorts(count: number): Promise<number[]> {
  const held = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
      return server;
    }),
  );
  const ports = held.map(server => (server.address() as { port: number }).port);
  await Promise.all(held.map(server => new Promise(done => server.close(done))));
  return ports;
}

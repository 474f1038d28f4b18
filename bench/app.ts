/**
 * The parts of an app that a bench needs: the engine (fdatasync before each answer) and instances in processes of their own,
 * and a caller in this one, which speaks to the instances over the link as one instance speaks to another.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Host, systemHost } from '../src/app/host.ts';
import { openInstance } from '../src/app/instance.ts';
import { loadServices } from '../src/app/load.ts';
import { openPeer } from '../src/app/peer.ts';
import type { RoleName, RoleSettings } from '../src/app/roles.ts';
import type { Caller } from '../src/calling/outgoing.ts';
import { linkDialer } from '../src/communication/link-dialer.ts';
import type { Engine } from '../src/log/engine.ts';
import { reachEngine } from '../src/log/reach-engine.ts';
import { openLmdbStores } from '../src/replication/lmdb-store.ts';
import type { Keyspace } from '../src/state/keyspace.ts';
import { ended, inDirectory } from './beside.ts';

export interface BenchApp {
  readonly directory: string;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress: string;
  readonly caller: Caller;
  /** Pid of each process started, in the order of the services; the engine's first. */
  readonly pids: readonly number[];
  /** Starts one more instance, or (by its id) the next life of one; resolves when it is ready. */
  join(service: string, id?: string): Promise<Started>;
  /** Of the services, in their order. */
  readonly instances: readonly Started[];
}

const listen = 'tcp://127.0.0.1:0';
export const serviceFile: string = fileURLToPath(new URL('./services.ts', import.meta.url));

export interface Started {
  readonly address: string;
  /** Where its door is, for a gateway. */
  readonly url: string | undefined;
  readonly pid: number;
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** `profile` in the environment names roles whose CPU profile is wanted: `--cpu-prof` writes it into the working directory. */
export function start(role: RoleName, settings: RoleSettings): Promise<Started> {
  const profiled = (process.env['BENCH_PROFILE'] ?? '').split(',').includes(settings.service ?? role);
  const execArgv = profiled ? [...process.execArgv, '--cpu-prof', '--cpu-prof-interval', '500'] : process.execArgv;
  const child = fork(fileURLToPath(new URL('./role.ts', import.meta.url)), { execArgv });
  child.send({ role, settings });
  return new Promise((resolve, reject) => {
    child.once('message', info =>
      resolve({
        address: (info as { address: string }).address,
        url: (info as { url?: string }).url,
        pid: child.pid!,
        stop: signal => ended(child, signal),
      }),
    );
    child.once('exit', code => reject(new Error(`the ${settings.service ?? role} ended with ${code}`)));
  });
}

/**
 * Runs `work` beside an app of these services of `services.ts`, one process each (several: name it several times). With
 * `cluster`, the address of a NATS cluster, that is the engine, and no process of ours.
 */
export function withApp<T>(
  services: readonly string[],
  work: (app: BenchApp) => Promise<T>,
  cluster?: string,
): Promise<T> {
  return inDirectory(async directory => {
    const common = { dataDirectory: directory, host: '127.0.0.1', logLevel: 'error' } as const;
    const started: Started[] = [];
    try {
      if (cluster === undefined) started.push(await start('engine', { ...common, id: 'engine-1-bench' }));
      const engineAddress = cluster ?? started[0]!.address;
      const engines = started.length;
      for (const [index, service] of services.entries()) {
        const id = `${service}-${index + 1}-bench`;
        const settings = { ...common, id, service, file: serviceFile, engineAddress };
        started.push(await start('instance', settings));
      }
      return await connected(engineAddress, async (host, engine) => {
        const peer = await openPeer({ id: 'bench-1-bench', role: 'gateway', host, engine, listen });
        try {
          const pids = started.map(({ pid }) => pid);
          const join = async (service: string, id = `${service}-${started.length}-bench`): Promise<Started> => {
            const settings = { ...common, id, service, file: serviceFile, engineAddress };
            const joined = await start('instance', settings);
            started.push(joined);
            return joined;
          };
          const instances = started.slice(engines);
          return await work({ directory, host, engine, engineAddress, caller: peer.caller, pids, join, instances });
        } finally {
          await peer.close(0);
        }
      });
    } finally {
      for (const each of started.reverse()) await each.stop();
    }
  });
}

/** Runs `work` inside an instance of a service: this process is it; the engine is another. */
export function insideInstance<T>(service: string, work: (keyspace: Keyspace) => Promise<T>): Promise<T> {
  return withApp([], ({ directory, host, engine }) => inside(service, directory, host, engine, work));
}

export async function inside<T>(
  service: string,
  directory: string,
  host: Host,
  engine: Engine,
  work: (keyspace: Keyspace) => Promise<T>,
): Promise<T> {
  const found = (await loadServices(serviceFile)).find(({ contract }) => contract.name === service)!;
  const stores = openLmdbStores({ directory: `${directory}/replicas-inside` });
  const instance = await openInstance({
    id: `${service}-9-bench`,
    service: found,
    host,
    engine,
    listen,
    config: {},
    stores,
  });
  try {
    return await work(instance.keyspace!);
  } finally {
    await instance.close(500);
  }
}

export async function connected<T>(address: string, work: (host: Host, engine: Engine) => Promise<T>): Promise<T> {
  const host = systemHost({ id: 'bench', write: line => void process.stderr.write(`${line}\n`), level: 'error' });
  const { clock, random, logger, meter, transports } = host;
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = await reachEngine({ dialer, address, name: 'bench', clock, random, logger });
  try {
    return await work(host, engine);
  } finally {
    await engine.close();
    await dialer.close();
  }
}

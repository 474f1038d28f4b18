/** Servers that a bench runs beside itself: on ports of the system's choice, in temporary directories, ended by their pid. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const pause = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms));

export function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** Runs `work` with a temporary directory. */
export async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs `work` beside a server; ends the server by its pid and removes its directory. */
export function beside<T>(
  command: string,
  args: (directory: string) => readonly string[],
  work: (directory: string, pid: number) => Promise<T>,
  environment: Readonly<Record<string, string>> = {},
): Promise<T> {
  return inDirectory(async directory => {
    const env = { ...process.env, ...fill(environment, directory) };
    const child = spawn(command, [...args(directory)], { stdio: 'ignore', cwd: directory, env });
    try {
      await new Promise<void>((done, failed) => {
        child.once('spawn', done);
        child.once('error', (error: NodeJS.ErrnoException) =>
          failed(error.code === 'ENOENT' ? missing(command) : error),
        );
      });
      return await work(directory, child.pid!);
    } finally {
      await ended(child);
    }
  });
}

function fill(environment: Readonly<Record<string, string>>, directory: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace('DIRECTORY', directory)]),
  );
}

/** Asks a child to end, and makes it when it does not. */
export async function ended(child: ChildProcess, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>(done => child.once('exit', () => done()));
  child.kill(signal);
  const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await gone;
  clearTimeout(force);
}

/** A peer that is not there: the bench names it and leaves it out. */
export function missing(what: string): Error {
  return Object.assign(new Error(`${what} is not installed`), { code: 'ERR_MODULE_NOT_FOUND' });
}

/** Tries until the server takes connections. */
export async function retried<T>(attempt: () => Promise<T>, triesMax = 200): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (cause) {
      if (tries > triesMax || (cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') throw cause;
      await pause(50);
    }
  }
}

export type RedisClient = import('ioredis').Redis;

/** A Redis of its own; `always`: every write is synced before its answer. */
export async function besideRedis<T>(always: boolean, work: (client: RedisClient) => Promise<T>): Promise<T> {
  const { Redis } = await import('ioredis');
  const port = await freePort();
  const durable = always ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
  const args = (directory: string): string[] => [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
    ...durable,
  ];
  return beside('redis-server', args, async () => {
    const client = new Redis(port, '127.0.0.1', {
      lazyConnect: true,
      enableAutoPipelining: true,
      retryStrategy: tries => (tries < 60 ? 50 : null),
    });
    client.on('error', () => {});
    await client.connect().catch(() => retried(() => client.ping()));
    try {
      return await work(client);
    } finally {
      client.disconnect();
    }
  });
}

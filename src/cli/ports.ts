/**
 * Which port to take: the one that was named, or fail; else the preferred one, or the next free one; 0 leaves it to the
 * system. Tried without `reusePort`, since that would happily share the port with another app's gateways.
 */
import { createServer, type Server } from 'node:net';
import { TandemError } from '../core/errors.ts';

const triesMax = 100;

/** @throws CONFIG when the host cannot be listened on at all. */
export async function isFree(host: string, port: number): Promise<boolean> {
  return (await tried(host, port)) !== undefined;
}

/** The port that was listened on for a moment; undefined when it is taken. */
function tried(host: string, port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE' || cause.code === 'EACCES') resolve(undefined);
      else
        reject(new TandemError('CONFIG', `cannot listen on ${host}: ${cause.message}; name another --host`, { cause }));
    });
    server.listen({ host, port, exclusive: true }, () => {
      const { port: bound } = server.address() as { port: number };
      server.close(() => resolve(bound));
    });
  });
}

const claims = new Set<Server>();

/**
 * Free, and ours until this process ends: between this look and the start of our gateways another app could choose the
 * same port, and with `reusePort` both would listen on it. An abstract Unix socket (Linux) tells the others.
 */
async function claim(host: string, port: number): Promise<boolean> {
  if (process.platform !== 'linux') return isFree(host, port);
  const server = createServer(socket => socket.destroy());
  const ours = await new Promise<boolean>(resolve => {
    server.once('error', () => resolve(false));
    server.listen(`\0tandem-port-${host}-${port}`, () => resolve(true));
  });
  if (ours && (await isFree(host, port))) claims.add(server.unref());
  else server.close();
  return claims.has(server);
}

/** A port that is free now. `named` says that a person asked for just this one. @throws CONFIG when it is taken and was named. */
export async function choosePort(
  host: string,
  port: number,
  named: boolean,
  free: (host: string, port: number) => Promise<boolean> = claim,
): Promise<{ readonly port: number; readonly note: string | undefined }> {
  if (port === 0) return { port: await anyPort(host, free), note: undefined };
  if (await free(host, port)) return { port, note: undefined };
  if (named) {
    throw new TandemError(
      'CONFIG',
      `port ${port} on ${host} is in use (or not allowed); end what uses it, or name another with --port`,
    );
  }
  const last = Math.min(port + triesMax, 65_535);
  for (let next = port + 1; next <= last; next++) {
    if (await free(host, next)) return { port: next, note: `port ${port} is in use, so it is ${next}` };
  }
  throw new TandemError('CONFIG', `no free port from ${port} to ${last} on ${host}; name one with --port`);
}

/** Where to look for a second port, when the first was wanted and chosen so. */
export function beside(wanted: number, chosen: number): number {
  return wanted === 0 || chosen === 65_535 ? 0 : chosen + 1;
}

async function anyPort(host: string, free: (host: string, port: number) => Promise<boolean>): Promise<number> {
  for (let tries = 0; tries < triesMax; tries++) {
    const port = await tried(host, 0);
    if (port !== undefined && (await free(host, port))) return port;
  }
  throw new TandemError('CONFIG', `the system gives no free port on ${host}; name one with --port`);
}

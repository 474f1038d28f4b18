/**
 * Which port to take: the one that was named, or fail; else the preferred one, or the next free one. Tried without
 * `reusePort`, since that would happily share the port with another app's gateways.
 */
import { createServer } from 'node:net';
import { TandemError } from '../core/errors.ts';

const triesMax = 100;

/** @throws CONFIG when the host cannot be listened on at all. */
export function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'EADDRINUSE' || cause.code === 'EACCES') resolve(false);
      else
        reject(new TandemError('CONFIG', `cannot listen on ${host}: ${cause.message}; name another --host`, { cause }));
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** A port that is free now. `named` says that a person asked for just this one. @throws CONFIG when it is taken and was named. */
export async function choosePort(
  host: string,
  port: number,
  named: boolean,
  free: (host: string, port: number) => Promise<boolean> = isFree,
): Promise<{ readonly port: number; readonly note: string | undefined }> {
  if (await free(host, port)) return { port, note: undefined };
  if (named) {
    throw new TandemError(
      'CONFIG',
      `port ${port} on ${host} is in use (or not allowed); end what uses it, or name another with --port`,
    );
  }
  for (let next = port + 1; next <= Math.min(port + triesMax, 65_535); next++) {
    if (await free(host, next)) return { port: next, note: `port ${port} is in use, so it is ${next}` };
  }
  throw new TandemError('CONFIG', `no free port from ${port} to ${port + triesMax} on ${host}; name one with --port`);
}

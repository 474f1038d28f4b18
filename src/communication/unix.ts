/**
 * Unix sockets: between processes of one machine, guarded by file permissions. A socket file that a dead process left
 * behind is found out by connecting to it, and taken over.
 */
import { unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { TandemError } from '../core/errors.ts';
import { listening, NodeSocket } from './node-socket.ts';
import type { Transport } from './transport.ts';

export function unixTransport(): Transport {
  return {
    scheme: 'unix',
    async listen(address, accept) {
      const path = parse(address);
      if (await isAbandoned(path)) await unlink(path).catch(() => {});
      const server = createServer(socket => accept(new NodeSocket(socket, address)));
      return listening(
        server,
        address,
        () => server.listen({ path, backlog: 1024 }),
        () => address,
      );
    },
    connect(address) {
      return new NodeSocket(connect({ path: parse(address) }), address);
    },
  };
}

function parse(address: string): string {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : '';
  if (!path.startsWith('/')) {
    throw new TandemError('CONFIG', `'${address}' is not a Unix socket address; write unix:///absolute/path`);
  }
  // sun_path holds 108 bytes with the closing zero; the kernel would cut a longer one silently.
  if (Buffer.byteLength(path) > 107)
    throw new TandemError('CONFIG', `'${path}' is too long for a Unix socket (107 bytes)`);
  return path;
}

/** Whether a socket file is there that nobody listens on. */
function isAbandoned(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', error => resolve((error as NodeJS.ErrnoException).code === 'ECONNREFUSED'));
  });
}

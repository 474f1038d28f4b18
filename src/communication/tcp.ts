/** TCP: between machines, and the default between processes. `TCP_NODELAY` is on: the link gathers its own writes. */
import { type AddressInfo, connect, createServer } from 'node:net';
import { TandemError } from '../core/errors.ts';
import { listening, NodeSocket } from './node-socket.ts';
import type { Transport } from './transport.ts';

export function tcpTransport(): Transport {
  return {
    scheme: 'tcp',
    listen(address, accept) {
      const { host, port } = parseHostPort('tcp', address);
      const server = createServer({ noDelay: true }, socket =>
        accept(
          new NodeSocket(socket, `tcp://${joinHostPort(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0)}`),
        ),
      );
      const actual = (): string => `tcp://${joinHostPort(host, (server.address() as AddressInfo).port)}`;
      return listening(server, address, () => server.listen({ host, port, backlog: 1024 }), actual);
    },
    connect(address) {
      const { host, port } = parseHostPort('tcp', address);
      return new NodeSocket(connect({ host, port, noDelay: true }), address);
    },
  };
}

export function joinHostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** @throws CONFIG when it is no such address. */
export function parseHostPort(scheme: 'tcp' | 'tls', address: string): { host: string; port: number } {
  const match = /^(tcp|tls):\/\/(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[4]);
  if (match?.[1] !== scheme || port > 65_535)
    throw new TandemError(
      'CONFIG',
      `'${address}' is not an address of ${scheme.toUpperCase()}; write ${scheme}://host:port`,
    );
  return { host: (match[2] ?? match[3])!, port };
}

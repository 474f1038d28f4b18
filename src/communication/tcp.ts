/** TCP: between machines, and the default between processes. `TCP_NODELAY` is on: the link gathers its own writes. */
import { type AddressInfo, connect, createServer } from 'node:net';
import { TandemError } from '../core/errors.ts';
import { listening, NodeSocket } from './node-socket.ts';
import type { Transport } from './transport.ts';

export function tcpTransport(): Transport {
  return {
    scheme: 'tcp',
    listen(address, accept) {
      const { host, port } = parse(address);
      const server = createServer({ noDelay: true }, socket =>
        accept(new NodeSocket(socket, `tcp://${join(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0)}`)),
      );
      const actual = (): string => `tcp://${join(host, (server.address() as AddressInfo).port)}`;
      return listening(server, address, () => server.listen({ host, port, backlog: 1024 }), actual);
    },
    connect(address) {
      const { host, port } = parse(address);
      return new NodeSocket(connect({ host, port, noDelay: true }), address);
    },
  };
}

const join = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);

function parse(address: string): { host: string; port: number } {
  const match = /^tcp:\/\/(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (!match || port > 65_535)
    throw new TandemError('CONFIG', `'${address}' is not a TCP address; write tcp://host:port`);
  return { host: (match[1] ?? match[2])!, port };
}

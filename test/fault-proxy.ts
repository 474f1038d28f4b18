/** A TCP proxy between a client and a server whose link can be cut: one way (answers are swallowed) or both. */
import { connect, createServer, type Socket } from 'node:net';

export interface FaultProxy {
  readonly port: number;
  /** What the server says is lost, while what it hears gets through: what was asked may have been done. */
  swallowAnswers(): void;
  /** Nothing gets through, and nobody is told: connections stay open, as on a network that lost its way. */
  cut(): void;
  /** From now on all gets through. Connections that lost something break. */
  heal(): void;
  close(): Promise<void>;
}

export async function faultProxy(target: number): Promise<FaultProxy> {
  let lost: 'nothing' | 'answers' | 'all' = 'nothing';
  const broken = new Set<Socket>();
  const all = new Set<Socket>();
  const server = createServer(client => {
    const upstream = connect(target, '127.0.0.1');
    for (const socket of [client, upstream]) {
      all.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        all.delete(socket);
        broken.delete(client);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', chunk => {
      if (lost === 'all') broken.add(client);
      else upstream.write(chunk);
    });
    upstream.on('data', chunk => {
      if (lost !== 'nothing') broken.add(client);
      else client.write(chunk);
    });
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as { port: number }).port,
    swallowAnswers: () => {
      lost = 'answers';
    },
    cut: () => {
      lost = 'all';
    },
    heal: () => {
      lost = 'nothing';
      for (const socket of broken) socket.destroy();
      broken.clear();
    },
    close: async () => {
      for (const socket of all) socket.destroy();
      await new Promise(done => server.close(done));
    },
  };
}

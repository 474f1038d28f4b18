/** The engine process: the embedded engine behind a link, and a peer like the others so that it is seen and measured. */
import { openLinkServer } from '../communication/link-server.ts';
import { openEmbeddedEngine } from '../log/embedded-engine.ts';
import { engineAnswerer } from '../log/engine-answerer.ts';
import { nodeDisk } from '../log/node-disk.ts';
import type { Host } from './host.ts';
import { openPeer } from './peer.ts';

export interface EngineProcessOptions {
  readonly id: string;
  readonly host: Host;
  /** Where segments, blobs and the lock live. */
  readonly directory: string;
  readonly durability?: 'fsync' | 'os' | undefined;
  /** Where the engine answers; fixed, so that a restarted engine is found again. */
  readonly listen: string;
}

export interface EngineProcess {
  readonly address: string;
  close(graceMs: number): Promise<void>;
}

/** @throws CONFLICT (the directory is in use), CORRUPT, CONFIG (read-only, of a newer format), UNAVAILABLE (address taken). */
export async function openEngineProcess(options: EngineProcessOptions): Promise<EngineProcess> {
  const { id, host, directory, durability, listen } = options;
  const { clock, random, logger, meter, transports } = host;
  const engine = await openEmbeddedEngine({
    directory,
    disk: nodeDisk,
    clock,
    random,
    logger,
    durability: durability ?? 'fsync',
  });
  try {
    const server = await openLinkServer({
      transports,
      address: listen,
      answer: engineAnswerer(engine, clock),
      clock,
      random,
      logger,
      meter,
    });
    const peer = await openPeer({ id, role: 'engine', host, engine, listen: anyPort(listen) });
    peer.report({ ready: true });
    return {
      address: server.address,
      close: async graceMs => {
        peer.report({ ready: false, draining: true });
        // Everybody else has stopped by now; what is left are follows, which never end by themselves.
        await server.close(Math.min(graceMs, 300));
        await peer.close(0);
        await engine.close();
      },
    };
  } catch (cause) {
    await engine.close();
    throw cause;
  }
}

function anyPort(address: string): string {
  return /^t(cp|ls):/.test(address) ? address.replace(/:\d+$/, ':0') : `${address}.peer`;
}

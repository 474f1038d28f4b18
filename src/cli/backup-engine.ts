/** The engine that a backup is taken of, or put into: of an app that runs, of a directory, or a cluster. */
import { systemHost } from '../app/host.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { systemClock } from '../core/clock.ts';
import { openEmbeddedEngine } from '../log/embedded-engine.ts';
import type { Engine } from '../log/engine.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { reachEngine } from '../log/reach-engine.ts';
import type { Command } from './command.ts';

export interface OpenedEngine {
  readonly engine: Engine;
  close(): Promise<void>;
}

/** `trusted`: a cluster is taken as it is, as one must be whose data is to be saved. @throws UNAVAILABLE, CONFIG, UNSUPPORTED. */
export async function engineAt(
  address: string,
  name: string,
  { trusted, linkTls }: { trusted: boolean; linkTls?: string },
): Promise<OpenedEngine> {
  const { clock, random, logger, meter, transports } = silentHost(linkTls);
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = await reachEngine({ dialer, address, name, trusted, clock, random, logger });
  return {
    engine,
    close: async () => {
      await engine.close();
      await dialer.close();
    },
  };
}

/** Of an app that does not run. */
export async function engineIn(directory: string): Promise<OpenedEngine> {
  const { random, logger } = silentHost();
  const engine = await openEmbeddedEngine({ directory, disk: nodeDisk, clock: systemClock, random, logger });
  return { engine, close: () => engine.close() };
}

export function engineFlag(help: string): Command['flags'][string] {
  return { type: 'string', value: 'ADDRESS', help };
}

function silentHost(linkTls?: string): ReturnType<typeof systemHost> {
  return systemHost({ id: 'backup', write: () => {}, level: 'silent', linkTls });
}

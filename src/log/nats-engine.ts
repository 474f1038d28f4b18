/**
 * The engine on a NATS JetStream cluster: for more than one machine. Everything of an app lies on the cluster under the app's name.
 * What an acknowledgement means is the cluster's promise, so a server that cannot keep it is refused, with what to set.
 */
import type { Clock } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { Engine } from './engine.ts';
import { parseNatsAddress } from './nats-address.ts';
import { natsBlobs } from './nats-blobs.ts';
import { natsBus } from './nats-bus.ts';
import { connectNats } from './nats-connection.ts';
import { NatsLog } from './nats-log.ts';
import { checkServers } from './nats-monitors.ts';

export interface NatsEngineOptions {
  /** As in nats-address.ts. */
  readonly address: string;
  /** Shown in NATS's list of connections. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Skips what was checked by a process that started this one. */
  readonly trusted?: boolean;
}

/** What headers and protocol need beside a body. */
const messageOverheadBytes = 4096;

/** @throws CONFIG, UNSUPPORTED (what the cluster lacks), UNAVAILABLE. */
export async function openNatsEngine(options: NatsEngineOptions): Promise<Engine> {
  const { clock, random, logger, name } = options;
  const address = parseNatsAddress(options.address);
  if (!options.trusted) await checkServers(address, fetchJson, logger);
  const link = await connectNats(address, { clock, logger, name });
  const stopping = new AbortController();
  const largest = link.connection.info?.max_payload ?? limits.entryBytesMax;
  const entryBytesMax = Math.min(limits.entryBytesMax, largest - messageOverheadBytes);
  const where = link.replicas > 1 ? `on a quorum of ${link.replicas} servers` : 'on one server';
  return {
    log: new NatsLog({ link, clock, random, logger, stopped: stopping.signal, entryBytesMax }),
    bus: natsBus(link),
    blobs: natsBlobs(link, clock),
    capabilities: {
      driver: 'nats',
      entryBytesMax,
      acknowledged:
        address.sync === 'checked' ? `on disk (synced) ${where}` : `${where}; whether synced was not checked`,
      barrierAppends: true,
    },
    close: async () => {
      stopping.abort();
      await link.close();
    },
  };
}

async function fetchJson(url: string): Promise<unknown> {
  const response = await fetch(url, { redirect: 'error' });
  if (!response.ok) throw new Error(`answered ${response.status}`);
  return response.json();
}

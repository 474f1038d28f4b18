/** The engine behind an address, whatever it is: our own process over a link, or a NATS cluster. */
import type { Dialer } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';
import type { Engine } from './engine.ts';
import { isNatsAddress } from './nats-address.ts';

export interface ReachEngineOptions {
  /** `tcp://127.0.0.1:4711` or `nats://…`. */
  readonly address: string;
  /** Who asks; NATS shows it in its list of connections. */
  readonly name: string;
  /** For addresses of our own link. */
  readonly dialer: Dialer;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Of a cluster: its settings were checked when the app was started, and each process does not ask again. Default: true. */
  readonly trusted?: boolean;
}

/** @throws UNAVAILABLE; of NATS also CONFIG, and UNSUPPORTED when it is not trusted. */
export async function reachEngine(options: ReachEngineOptions): Promise<Engine> {
  if (isNatsAddress(options.address)) {
    const { openNatsEngine } = await import('./nats-engine.ts');
    return openNatsEngine({ trusted: true, ...options });
  }
  const { connectEngine } = await import('./remote-engine.ts');
  return connectEngine(options);
}

/**
 * One shared connection per address, made on the first dial and anew on the next dial after a loss. After a failure to
 * connect, dials within a jittered, growing pause get a channel that refuses at once: a dead address costs its callers no
 * waiting, and a returning one is not stormed.
 */
import type { Channel, Dialer } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Closable } from '../core/lifecycle.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import { backoffMs, type Random } from '../core/random.ts';
import { LinkChannel } from './link-channel.ts';
import { type Transport, transportFor } from './transport.ts';

const backoffBaseMs = 1;
const backoffMaxMs = 1000;
/** Addresses that are remembered for their failures. */
const failuresMax = 1024;

export interface LinkDialerOptions {
  readonly transports: readonly Transport[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
}

interface Failures {
  attempts: number;
  /** Until then no connection is tried (monotonic). */
  untilMs: number;
}

export function linkDialer(options: LinkDialerOptions): Dialer & Closable {
  const { transports, clock, random, logger, meter } = options;
  const channels = new Map<string, LinkChannel>();
  const failures = new Map<string, Failures>();
  const opened = meter.counter('tandem.link.client.connections.opened');
  meter.observe('tandem.link.client.connections', () => channels.size);
  let closed = false;

  const open = (address: string): Channel => {
    const channel = new LinkChannel(transportFor(transports, address).connect(address), address, clock);
    opened.add(1);
    channels.set(address, channel);
    channel.onClose(() => {
      if (channels.get(address) === channel) channels.delete(address);
      if (channel.isReady) {
        failures.delete(address);
      } else if (!closed) {
        const attempts = (failures.get(address)?.attempts ?? 0) + 1;
        const pauseMs = backoffMs(random, attempts, backoffBaseMs, backoffMaxMs);
        failures.delete(address);
        failures.set(address, { attempts, untilMs: clock.monotonic() + pauseMs });
        if (failures.size > failuresMax) failures.delete(failures.keys().next().value!);
        logger.debug('cannot connect', { address, attempts, pauseMs });
      }
    });
    return channel;
  };

  return {
    dial(address) {
      if (closed) return refusing(() => new TandemError('CLOSED', 'this process is stopping and dials no more'));
      const current = channels.get(address);
      if (current?.isUsable) return current;
      const leftMs = (failures.get(address)?.untilMs ?? 0) - clock.monotonic();
      if (leftMs > 0) {
        return refusing(
          () =>
            new TandemError('UNAVAILABLE', `${address} could not be reached a moment ago`, {
              details: { retryAfterMs: Math.ceil(leftMs) },
            }),
        );
      }
      return open(address);
    },
    async close() {
      closed = true;
      await Promise.all([...channels.values()].map(channel => channel.close()));
      channels.clear();
    },
  };
}

function refusing(error: () => TandemError): Channel {
  return {
    call: () => Promise.reject(error()),
    stream: () => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error()) }) }),
    onClose: listener => queueMicrotask(() => listener('not-tried')),
    close: async () => {},
  };
}

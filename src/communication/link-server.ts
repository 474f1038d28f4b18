/**
 * Listens on one address and answers calls. Closing is graceful: no new connections, a goaway to the callers (who then
 * dial elsewhere), what runs may finish within the grace, and the rest is cut.
 */
import type { Answerer } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import { LinkSession } from './link-session.ts';
import { type Transport, transportFor } from './transport.ts';

export interface LinkServerOptions {
  readonly transports: readonly Transport[];
  /** Where to listen; with port 0 (or an empty memory name) the system chooses. */
  readonly address: string;
  readonly answer: Answerer;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
}

export interface LinkServer {
  /** The address to dial, with the real port. */
  readonly address: string;
  /** Lets running calls finish for `graceMs` (default 0), then cuts. Safe to call twice. */
  close(graceMs?: number): Promise<void>;
}

/** @throws CONFIG when the address is taken or not valid. */
export async function openLinkServer(options: LinkServerOptions): Promise<LinkServer> {
  const { address, answer, clock, logger, meter } = options;
  const sessions = new Set<LinkSession>();
  let allGone = (): void => {};
  const opened = meter.counter('tandem.link.server.connections.opened');
  const refused = meter.counter('tandem.link.server.connections.refused');
  meter.observe('tandem.link.server.connections', () => sessions.size);
  meter.observe('tandem.link.server.calls', () => {
    let running = 0;
    for (const session of sessions) running += session.running;
    return running;
  });

  const listener = await transportFor(options.transports, address).listen(address, connection => {
    if (sessions.size >= limits.connectionsMax) {
      refused.add(1);
      logger.debug('a link was refused: there are too many', { peer: connection.peer, connections: sessions.size });
      connection.destroy();
      return;
    }
    opened.add(1);
    const session = new LinkSession(connection, answer, clock, {
      idle: () => {},
      end: error => {
        sessions.delete(session);
        if (error) logger.debug('a link ended', { peer: session.peer, reason: error.message });
        if (sessions.size === 0) allGone();
      },
    });
    sessions.add(session);
  });

  const close = async (graceMs: number): Promise<void> => {
    const stopped = listener.close();
    const gone = new Promise<void>(resolve => {
      allGone = resolve;
      if (sessions.size === 0) resolve();
    });
    for (const session of [...sessions]) session.drain();
    const cut = clock.after(graceMs, () => {
      for (const session of [...sessions]) session.destroy();
    });
    await gone;
    cut.cancel();
    await stopped;
  };
  let closing: Promise<void> | undefined;
  return {
    address: listener.address,
    close: (graceMs = 0) => {
      closing ??= close(graceMs);
      return closing;
    },
  };
}

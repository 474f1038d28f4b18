/** The monitor process: a peer that asks all others and shows what they say. Traffic goes on without it. */
import { switchStrategy } from '../calling/strategy-switches.ts';
import { limits } from '../core/limits.ts';
import type { Engine } from '../log/engine.ts';
import type { Host } from './host.ts';
import { openMonitor } from './monitor.ts';
import { openPeer } from './peer.ts';

export interface MonitorProcessOptions {
  readonly id: string;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress?: string | undefined;
  readonly listen: string;
  readonly httpHost: string;
  readonly port: number;
  readonly token?: string | undefined;
}

export interface MonitorProcess {
  readonly url: string;
  readonly port: number;
  close(graceMs: number): Promise<void>;
}

export async function openMonitorProcess(options: MonitorProcessOptions): Promise<MonitorProcess> {
  const { id, host, engine, engineAddress, listen, httpHost, port, token } = options;
  const { clock, random, logger, meter, records } = host;
  const peer = await openPeer({ id, role: 'monitor', host, engine, engineAddress, listen });
  const { registry, caller } = peer;
  const monitor = await openMonitor({
    registry,
    caller,
    clock,
    random,
    logger,
    meter,
    self: id,
    records,
    host: httpHost,
    port,
    token,
    balance: {
      of: service => caller.strategyOf(service),
      set: async (service, strategy) => {
        const deadline = clock.monotonic() + limits.callTimeoutMs;
        await switchStrategy({ engine, clock, random }, service, strategy, deadline);
      },
    },
  });
  peer.report({ ready: true });
  return {
    get url() {
      return monitor.url;
    },
    port: monitor.port,
    close: async graceMs => {
      peer.report({ ready: false, draining: true });
      await monitor.close();
      await peer.close(graceMs);
    },
  };
}

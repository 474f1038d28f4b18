/** The gateway process: a peer with an HTTP door. It loads no user code; what it may call it reads from the registry. */
import { type Gateway, openGateway } from '../gateway/gateway.ts';
import type { Engine } from '../log/engine.ts';
import { doorUrl } from './door.ts';
import type { Host } from './host.ts';
import { openPeer } from './peer.ts';

export interface GatewayProcessOptions {
  readonly id: string;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress?: string | undefined;
  readonly listen: string;
  readonly httpHost: string;
  /** Address of this machine for others, when it listens on all. */
  readonly linkHost?: string;
  readonly port: number;
  readonly reusePort: boolean;
  /** Services of the app, as far as who started it knows. */
  readonly services: readonly string[];
  /** Signs session tokens; the same for all gateways of an app. */
  readonly secret: string;
}

export interface GatewayProcess {
  readonly url: string;
  readonly port: number;
  close(graceMs: number): Promise<void>;
}

export async function openGatewayProcess(options: GatewayProcessOptions): Promise<GatewayProcess> {
  const { id, host, engine, engineAddress, listen, httpHost, port, reusePort, services, secret } = options;
  const { clock, random, logger, meter, tracer } = host;
  const peer = await openPeer({ id, role: 'gateway', host, engine, engineAddress, listen });
  let gateway: Gateway;
  try {
    const { registry, caller } = peer;
    gateway = await openGateway({
      registry,
      caller,
      clock,
      random,
      logger,
      meter,
      tracer,
      host: httpHost,
      port,
      reusePort,
      services,
      secret,
    });
  } catch (cause) {
    await peer.close(0);
    throw cause;
  }
  const { protocol, hostname } = new URL(gateway.url);
  const door = await doorUrl(
    protocol.slice(0, -1),
    hostname.replace(/^\[|\]$/g, ''),
    gateway.port,
    options.linkHost ?? '127.0.0.1',
  );
  peer.report({ ready: true, doors: [door] });
  return {
    url: gateway.url,
    port: gateway.port,
    close: async graceMs => {
      peer.report({ ready: false, draining: true });
      await gateway.close(graceMs);
      await peer.close(graceMs);
    },
  };
}

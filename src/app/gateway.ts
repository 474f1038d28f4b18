/** The gateway process: a peer with an HTTP door. It loads no user code; what it may call it reads from the registry. */
import type { GatewayForm } from '../contract/gateway-config.ts';
import type { UpstreamForm } from '../contract/upstream.ts';
import { addressSet } from '../gateway/client-address.ts';
import type { Fallback } from '../gateway/fallback.ts';
import { type Gateway, openGateway } from '../gateway/gateway.ts';
import type { Engine } from '../log/engine.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
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
  readonly gateway?: GatewayForm | undefined;
  /** HTTP servers for the paths that no service has. */
  readonly upstreams?: readonly UpstreamForm[];
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
  let upstreams: Upstreams | undefined;
  try {
    const { registry, caller } = peer;
    const behind = options.upstreams?.length
      ? await openBehind(options.upstreams, host, options.gateway?.trustProxies)
      : undefined;
    upstreams = behind?.upstreams;
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
      ...options.gateway,
      ...(behind && { fallback: behind.fallback }),
    });
  } catch (cause) {
    upstreams?.close();
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
      upstreams?.close();
      await peer.close(graceMs);
    },
  };
}

/** Loaded only where there are any. */
async function openBehind(
  groups: readonly UpstreamForm[],
  { clock, random, logger, meter, zone }: Host,
  trustProxies: readonly string[] = [],
) {
  const [{ Upstreams }, { passOn }] = await Promise.all([
    import('../upstreams/upstreams.ts'),
    import('../upstreams/node-client.ts'),
  ]);
  const upstreams = new Upstreams({ groups, clock, random, logger, meter, zone });
  await upstreams.open();
  const passing = { trusts: addressSet(trustProxies) };
  const fallback: Fallback = {
    request: (request, response) => passOn(upstreams, request, response, undefined, passing),
    upgrade: (request, socket, first) => passOn(upstreams, request, socket, first, passing),
  };
  return { upstreams, fallback };
}

/** The naming process: answers DNS for `tandem.internal` from the registry. */
import type { Engine } from '../log/engine.ts';
import { type DnsServer, openDnsServer } from '../naming/dns.ts';
import { doorUrl } from './door.ts';
import type { Host } from './host.ts';
import { openPeer } from './peer.ts';

export interface NamingProcessOptions {
  readonly id: string;
  readonly host: Host;
  readonly engine: Engine;
  readonly engineAddress?: string | undefined;
  readonly listen: string;
  readonly dnsHost: string;
  readonly port: number;
  /** Address of this machine for others, when it listens on all. */
  readonly linkHost: string;
}

export interface NamingProcess {
  /** `127.0.0.1:5353`. */
  readonly address: string;
  close(graceMs: number): Promise<void>;
}

export async function openNamingProcess(options: NamingProcessOptions): Promise<NamingProcess> {
  const { id, host, engine, engineAddress, listen, dnsHost, port, linkHost } = options;
  const { clock, random, logger, meter, zone } = host;
  const peer = await openPeer({ id, role: 'naming', host, engine, engineAddress, listen });
  const { registry } = peer;
  let dns: DnsServer;
  try {
    dns = await openDnsServer({ registry, zone, clock, random, logger, meter, host: dnsHost, port });
  } catch (cause) {
    await peer.close(0);
    throw cause;
  }
  peer.report({ ready: true, doors: [await doorUrl('dns', dnsHost, dns.port, linkHost)] });
  return {
    address: `${dnsHost.includes(':') ? `[${dnsHost}]` : dnsHost}:${dns.port}`,
    close: async graceMs => {
      peer.report({ ready: false, draining: true });
      await dns.close();
      await peer.close(graceMs);
    },
  };
}

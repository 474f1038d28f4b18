/** The naming process: answers DNS for `<service>.tandem.internal` from the registry. */
import type { Engine } from '../log/engine.ts';
import { openDnsServer } from '../naming/dns.ts';
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
}

export interface NamingProcess {
  /** `127.0.0.1:5353`. */
  readonly address: string;
  close(graceMs: number): Promise<void>;
}

export async function openNamingProcess(options: NamingProcessOptions): Promise<NamingProcess> {
  const { id, host, engine, engineAddress, listen, dnsHost, port } = options;
  const peer = await openPeer({ id, role: 'naming', host, engine, engineAddress, listen });
  const dns = await openDnsServer({ registry: peer.registry, host: dnsHost, port, logger: host.logger });
  peer.report({ ready: true });
  return {
    address: `${dnsHost}:${dns.port}`,
    close: async graceMs => {
      peer.report({ ready: false, draining: true });
      await dns.close();
      await peer.close(graceMs);
    },
  };
}

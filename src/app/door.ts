/**
 * The URL by which clients on other machines reach what listens here. Who listens on all addresses (0.0.0.0, ::) says the
 * one that this machine's processes are reached at by those of others (`--link-host`); a host name becomes the address
 * that it was listened on by, since only an address can stand in DNS.
 */
import { lookup } from 'node:dns/promises';

export async function doorUrl(scheme: string, host: string, port: number, linkHost: string): Promise<string> {
  const wanted = /^(0\.0\.0\.0|::|\*)?$/.test(host) ? linkHost : host;
  // What is no name is answered as it is. A name that is not found was listened on all the same: it stays.
  const address = await lookup(wanted).then(
    found => found.address,
    () => wanted,
  );
  return `${scheme}://${address.includes(':') ? `[${address}]` : address}:${port}`;
}

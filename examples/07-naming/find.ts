// A program that knows nothing of Tandem finds its live gateways by DNS, and calls through one of them:
//   tandem up examples/01-hello/hello.ts --dns 127.0.0.1:5300
//   node examples/07-naming/find.ts 127.0.0.1:5300 /hello/you
import { Resolver } from 'node:dns/promises';

/** Their URLs, the best first: the lowest priority is the own zone; within one, by chance in proportion to weight (RFC 2782). */
export async function findGateways(dns: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 1000, tries: 2 });
  resolver.setServers([dns]);
  const records = await resolver.resolveSrv('_http._tcp.gateway.tandem.internal');
  const drawn = records.map(record => ({ ...record, draw: Math.random() ** (1 / Math.max(1, record.weight)) }));
  drawn.sort((a, b) => a.priority - b.priority || b.draw - a.draw);
  return Promise.all(
    drawn.map(async ({ name, port }) => {
      const [address] = await resolver.resolve4(name);
      return `http://${address}:${port}`;
    }),
  );
}

if (import.meta.main) {
  const [dns = '127.0.0.1:5300', path = '/hello/you'] = process.argv.slice(2);
  for (const url of await findGateways(dns)) {
    const response = await fetch(url + path).catch(() => undefined); // gone within the last second: the next
    if (!response) continue;
    console.log(`${url} says ${await response.text()}`);
    break;
  }
}

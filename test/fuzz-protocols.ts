/** What `npm run fuzz` and `fuzz.test.ts` know. A protocol is a file `fuzz-<name>.ts` that exports `protocol: FuzzProtocol`, and a line here. */
import type { FuzzProtocol } from './fuzz-protocol.ts';

export const fuzzProtocols: Readonly<Record<string, () => Promise<{ readonly protocol: FuzzProtocol }>>> = {
  dns: () => import('./fuzz-dns.ts'),
  grpc: () => import('./fuzz-grpc.ts'),
  http2: () => import('./fuzz-http2.ts'),
  link: () => import('./fuzz-link.ts'),
};

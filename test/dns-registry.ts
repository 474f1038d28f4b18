/** Members and a registry of them, for tests of DNS. */
import type { Beat, Member, Verdict } from '../src/failure-detection/beat.ts';
import type { DnsRegistry } from '../src/naming/dns-answer.ts';

/** A ready instance of `stock`, at port 4000 + index of 127.0.0.1, in zone `near`. */
export function dnsMember(index: number, beat: Partial<Beat> = {}, verdict: Verdict = 'alive'): Member {
  return {
    beat: {
      id: `stock-${index}-x`,
      role: 'instance',
      service: 'stock',
      node: 'n1',
      zone: 'near',
      weight: 1,
      pid: 1,
      address: `tcp://127.0.0.1:${4000 + index}`,
      startedAt: 1,
      sequence: 1,
      sentAt: 1,
      ready: true,
      draining: false,
      mainLoopSilentMs: 0,
      load: { inflight: 0, cpu: 0, memoryBytes: 0, loopDelayMs: 0 },
      descriptorHash: 'h1',
      partitions: [],
      entryFormat: 1,
      ...beat,
    },
    verdict,
    since: 0,
    clockAheadMs: 0,
  };
}

export function dnsGateway(index: number, beat: Partial<Beat> = {}): Member {
  const doors = [`http://127.0.0.1:${3000 + index}`];
  return dnsMember(index, { id: `gateway-${index}-x`, role: 'gateway', service: undefined, doors, ...beat });
}

export interface DnsTestRegistry extends DnsRegistry {
  set(members: readonly Member[]): void;
  isLearning: boolean;
}

export function dnsRegistry(members: readonly Member[], services: readonly string[] = ['stock']): DnsTestRegistry {
  let now = members;
  let version = 1;
  return {
    isLearning: false,
    members: () => now,
    services: () => services,
    learning() {
      return this.isLearning;
    },
    get version() {
      return version;
    },
    set(next) {
      now = next;
      version++;
    },
  };
}

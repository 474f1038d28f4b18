/** All groups of upstreams of a gateway: finds the one for a path, and takes requests to it. */
import type { UpstreamForm } from '../contract/upstream.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import type { Client } from './client.ts';
import { Exchange } from './exchange.ts';
import { Group, type Lookup } from './group.ts';
import type { RequestHead } from './heads.ts';
import { Malformed } from './malformed.ts';

export interface UpstreamsOptions {
  readonly groups: readonly UpstreamForm[];
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  /** The gateway's own failure zone. */
  readonly zone?: string;
  /** Default: the system's resolver. */
  readonly lookup?: Lookup;
}

/** How one group is doing. */
export interface GroupView {
  readonly prefix: string;
  readonly strategy: string;
  readonly inflight: number;
  readonly waiting: number;
  readonly targets: readonly {
    readonly id: string;
    readonly name: string;
    readonly health: 'unknown' | 'well' | 'ill';
    /** Left out for a while, after failures of requests. */
    readonly avoided: boolean;
    readonly inflight: number;
    readonly connections: number;
    readonly idle: number;
    readonly requests: number;
    readonly failures: number;
    readonly latencyMs: number;
    readonly weight: number;
    readonly lastFailure?: string;
  }[];
}

/** A path that a server might read as another one: which group it belongs to would be a matter of opinion. */
const ambiguous = /(?:^|\/|\\|%2f|%5c)(?:\.|%2e){1,2}(?:\/|\\|%2f|%5c|$)/i;

export class Upstreams {
  /** The longest prefixes first. */
  readonly #groups: readonly Group[];

  constructor(options: UpstreamsOptions) {
    const { groups, zone, lookup = systemLookup, ...parts } = options;
    this.#groups = groups
      .map(form => new Group({ ...parts, form, zone, lookup }))
      .sort((a, b) => b.form.prefix.length - a.form.prefix.length);
  }

  /** Resolves when each name was looked up and each target checked once. */
  async open(): Promise<void> {
    await Promise.all(this.#groups.map(group => group.open()));
  }

  /** Requests under way. */
  get inflight(): number {
    return this.#groups.reduce((sum, group) => sum + group.inflight, 0);
  }

  /** Whether each group has somebody who is well. */
  get ready(): boolean {
    return this.#groups.every(({ candidates }) => candidates.some(({ health }) => health !== 'ill'));
  }

  /** @param target Of a request: path and query. @throws Malformed when it could be read as a path of another group. */
  find(target: string): Group | undefined {
    const [only] = this.#groups;
    if (this.#groups.length === 1 && only!.form.prefix === '/') return only;
    const mark = target.indexOf('?');
    const path = mark < 0 ? target : target.slice(0, mark);
    if (ambiguous.test(path)) throw new Malformed('the path has segments of dots; send the path that is meant');
    return this.#groups.find(({ form: { prefix } }) => {
      if (prefix === '/') return true;
      return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 47);
    });
  }

  /** @param forwarded Lines that say for whom it is. The exchange is to be started by the client when it is ready for the answer. */
  exchange(group: Group, client: Client, head: RequestHead, forwarded: string): Exchange {
    return new Exchange(group, client, head, forwarded);
  }

  view(): GroupView[] {
    return this.#groups.map(({ form, balancer, inflight, targets }) => ({
      prefix: form.prefix,
      strategy: balancer.strategy,
      inflight,
      waiting: balancer.places.waiting,
      targets: targets.map(target => ({
        id: target.id,
        name: target.place.name,
        health: target.health,
        avoided: balancer.avoid(target),
        inflight: target.inflight,
        connections: target.connections,
        idle: target.idle,
        requests: target.requests,
        failures: target.failures,
        latencyMs: Number(target.latencyMs.toFixed(2)),
        weight: Number(target.weight.toFixed(3)),
        ...(target.lastFailure !== undefined && { lastFailure: target.lastFailure }),
      })),
    }));
  }

  close(): void {
    for (const group of this.#groups) group.close();
  }
}

/** As every program of this machine sees names: hosts file, search domains, resolver. */
async function systemLookup(name: string): Promise<readonly string[]> {
  const { lookup } = process.getBuiltinModule('node:dns/promises');
  const found = await lookup(name, { all: true, order: 'ipv4first' });
  return found.map(({ address }) => address);
}

/**
 * Where a NATS cluster is, as one line that can be handed to every process:
 * `nats://user:password@a:4222,b:4222,c:4222?app=shop&monitor=http://a:8222,http://b:8222&replicas=3`.
 * `nats+tls://` where its servers speak TLS; `tls://` alone is the link's own.
 */
import { TandemError } from '../core/errors.ts';

export interface NatsAddress {
  readonly servers: readonly string[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** File with an account's credentials. */
  readonly creds: string | undefined;
  readonly tls: boolean;
  /** Begins all names on the cluster, so that several apps may share one. Default: tandem. */
  readonly app: string;
  /** Copies of each stream. Default: 3 on a cluster, 1 on a single server. */
  readonly replicas: number | undefined;
  /** Monitoring addresses of the servers: there it is seen whether they sync before they acknowledge. */
  readonly monitors: readonly string[];
  /** `unchecked`: the operator answers for `sync_interval: always`, or for what is lost without it. */
  readonly sync: 'checked' | 'unchecked';
}

export function isNatsAddress(address: string): boolean {
  return address.startsWith('nats://') || address.startsWith('nats+tls://');
}

const known = ['app', 'creds', 'monitor', 'replicas', 'sync'];

/** @throws CONFIG, naming what is wrong. */
export function parseNatsAddress(address: string): NatsAddress {
  const match = /^(nats|nats\+tls):\/\/(?:([^:@/]+)(?::([^@/]*))?@)?([^/?]+)\/?(?:\?(.*))?$/.exec(address);
  if (!match) throw wrong(address, 'write nats://host:4222, with more servers after commas');
  const [, scheme, user, password, hosts, query = ''] = match;
  const parameters = new URLSearchParams(query);
  for (const name of parameters.keys())
    if (!known.includes(name)) throw wrong(address, `'${name}' is not known; known are ${known.join(', ')}`);
  const app = parameters.get('app') ?? 'tandem';
  if (!/^[a-zA-Z0-9-]+$/.test(app)) throw wrong(address, `app '${app}' may have letters, digits and dashes only`);
  const replicas = parameters.has('replicas') ? Number(parameters.get('replicas')) : undefined;
  if (replicas !== undefined && ![1, 3, 5].includes(replicas)) throw wrong(address, 'replicas are 1, 3 or 5');
  const sync = parameters.get('sync') ?? 'checked';
  if (sync !== 'checked' && sync !== 'unchecked') throw wrong(address, `sync is 'checked' or 'unchecked'`);
  return {
    servers: hosts!.split(','),
    user: user && decodeURIComponent(user),
    password: password && decodeURIComponent(password),
    creds: parameters.get('creds') ?? undefined,
    tls: scheme === 'nats+tls',
    app,
    replicas,
    monitors: parameters.get('monitor')?.split(',') ?? [],
    sync,
  };
}

/** The address without user and password, for people. */
export function hidden(address: string): string {
  return address.replace(/\/\/[^@/]*@/, '//…@');
}

function wrong(address: string, why: string): TandemError {
  return new TandemError('CONFIG', `engine address '${hidden(address)}': ${why}`);
}

/** HTTP servers that are not services of the app, as a config file or command line names them: groups by path prefix. */
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { type Balance, type BalanceForm, balanceForm, type Strategy } from './balance.ts';
import { didYouMean } from './did-you-mean.ts';

export interface UpstreamTarget {
  /** `http://` or `https://` with a host and a port. A name stands for all addresses that it has, looked up again every `resolve`. */
  readonly url: string;
  /** Share of the requests as against the other targets'. Default 1. */
  readonly weight?: number;
  /** The failure zone that it is in; targets in the gateway's own come first. */
  readonly zone?: string;
}

export interface HealthCheck {
  /** Asked with GET; any answer of 200 to 399 is well. Without a path a check is a connection that is accepted. */
  readonly path?: string;
  /** Default 5 s. */
  readonly interval?: Duration;
  /** Default 2 s. */
  readonly timeout?: Duration;
  /** Checks in a row that bring a target back. Default 2. */
  readonly healthy?: number;
  /** Checks in a row that take it out. Default 3. */
  readonly unhealthy?: number;
}

export interface Upstream {
  /** Requests whose path begins with it, in whole segments; the longest that fits counts. Default `/`. */
  readonly prefix?: string;
  readonly targets: readonly (string | UpstreamTarget)[];
  /** As for services: a strategy, or more. Default `least-connections`. */
  readonly balance?: Strategy | Balance;
  /** `false`: only the requests themselves say who is well. */
  readonly health?: HealthCheck | false;
  /** Connections, and with it requests under way, to one target. Default 256. Further ones wait for a place. */
  readonly connectionsMax?: number;
  /** How long a request may wait for a place. Default 5 s. */
  readonly queueTimeout?: Duration;
  /** Default 2 s. */
  readonly connectTimeout?: Duration;
  /** From the end of the request to the first byte of its answer. Default 30 s. */
  readonly answerTimeout?: Duration;
  /** Between two bytes of an answer, or of a body that the target takes. Default 60 s. */
  readonly idleTimeout?: Duration;
  /** How long a connection that changed to another protocol (WebSocket) may be silent both ways. Default 1 h. */
  readonly tunnelIdle?: Duration;
  /** How long an unused connection is kept, unless the target says less. Default 4 s, below what servers commonly allow (5 s). */
  readonly keepAlive?: Duration;
  /** Tries of one request, the first included, where repeating is safe. Default 3. */
  readonly tries?: number;
  /** Bytes of a request's body. Default: no limit, since bodies are passed on and not held. */
  readonly bodyBytesMax?: number;
  /** How often names are looked up. Default 5 s. */
  readonly resolve?: Duration;
}

/** Every default decided; plain data. */
export interface UpstreamForm {
  readonly prefix: string;
  readonly targets: readonly {
    readonly host: string;
    readonly port: number;
    readonly tls: boolean;
    readonly weight: number;
    readonly zone: string | undefined;
  }[];
  readonly balance: BalanceForm;
  readonly health:
    | {
        readonly path: string | undefined;
        readonly intervalMs: number;
        readonly timeoutMs: number;
        readonly healthy: number;
        readonly unhealthy: number;
      }
    | undefined;
  readonly queueTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly tunnelIdleMs: number;
  readonly keepAliveMs: number;
  readonly tries: number;
  readonly bodyBytesMax: number | undefined;
  readonly resolveMs: number;
}

export const upstreamDefaults = {
  prefix: '/',
  connectionsMax: 256,
  queueTimeout: '5s',
  connectTimeout: '2s',
  answerTimeout: '30s',
  idleTimeout: '60s',
  tunnelIdle: '1h',
  keepAlive: '4s',
  tries: 3,
  resolve: '5s',
} as const;
const healthDefaults = { interval: '5s', timeout: '2s', healthy: 2, unhealthy: 3 } as const;
const known = [...Object.keys(upstreamDefaults), 'targets', 'balance', 'health', 'bodyBytesMax'];
const knownHealth = [...Object.keys(healthDefaults), 'path'];

/** @throws CONFIG that says what is wrong and how it is written. */
export function upstreamForm(given: Upstream): UpstreamForm {
  const wrong = (message: string): never => {
    throw new TandemError('CONFIG', `upstream '${given.prefix ?? '/'}': ${message}`);
  };
  checkKeys(given, known, wrong);
  const { prefix, connectionsMax, tries, bodyBytesMax, ...rest } = {
    ...upstreamDefaults,
    bodyBytesMax: undefined,
    ...given,
  };
  if (!/^\/[\w.~!$&'()*+,;=:@%/-]*$/.test(prefix)) wrong("a prefix is a path that begins with '/'");
  if (given.targets.length === 0) wrong('it has no targets; write for example http://127.0.0.1:3001');
  const whole = (name: string, value: number, least: number): number =>
    Number.isInteger(value) && value >= least ? value : wrong(`${name} is a whole number from ${least} on`);
  const { health = {}, balance = {} } = given;
  const merged = health === false ? undefined : { ...healthDefaults, path: undefined, ...health };
  if (merged) checkKeys(merged, knownHealth, wrong);
  if (merged?.path !== undefined && !/^\/[\x21-\x7e]*$/.test(merged.path)) wrong("health.path begins with '/'");
  const form = balanceForm(prefix, balance);
  return {
    prefix: prefix.length > 1 && prefix.endsWith('/') ? prefix.slice(0, -1) : prefix,
    targets: given.targets.map(target => targetForm(typeof target === 'string' ? { url: target } : target, wrong)),
    balance: { ...form, inflightMax: form.inflightMax ?? whole('connectionsMax', connectionsMax, 1) },
    health: merged && {
      path: merged.path,
      intervalMs: durationMs(merged.interval),
      timeoutMs: durationMs(merged.timeout),
      healthy: whole('health.healthy', merged.healthy, 1),
      unhealthy: whole('health.unhealthy', merged.unhealthy, 1),
    },
    queueTimeoutMs: durationMs(rest.queueTimeout),
    connectTimeoutMs: durationMs(rest.connectTimeout),
    answerTimeoutMs: durationMs(rest.answerTimeout),
    idleTimeoutMs: durationMs(rest.idleTimeout),
    tunnelIdleMs: durationMs(rest.tunnelIdle),
    keepAliveMs: durationMs(rest.keepAlive),
    tries: whole('tries', tries, 1),
    bodyBytesMax: bodyBytesMax === undefined ? undefined : whole('bodyBytesMax', bodyBytesMax, 0),
    resolveMs: durationMs(rest.resolve),
  };
}

/** @throws CONFIG, also when two groups have one prefix. */
export function upstreamForms(given: readonly Upstream[] = []): UpstreamForm[] {
  const forms = given.map(upstreamForm);
  const twice = forms.find(({ prefix }, at) => forms.findIndex(other => other.prefix === prefix) !== at);
  if (twice)
    throw new TandemError('CONFIG', `upstream '${twice.prefix}' is there twice; write all its targets into one`);
  return forms;
}

function checkKeys(given: object, names: readonly string[], wrong: (message: string) => never): void {
  for (const key of Object.keys(given)) {
    if (names.includes(key)) continue;
    const [near] = didYouMean(key, names);
    wrong(`there is no '${key}'${near ? `; did you mean '${near}'?` : ''}; known: ${names.join(', ')}`);
  }
}

function targetForm(
  { url, weight = 1, zone }: UpstreamTarget,
  wrong: (message: string) => never,
): UpstreamForm['targets'][number] {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const tls = parsed?.protocol === 'https:';
  if (!parsed || (!tls && parsed.protocol !== 'http:')) return wrong(`'${url}' is no http:// or https:// address`);
  if (parsed.pathname !== '/' || parsed.search || parsed.hash || parsed.username || parsed.password)
    return wrong(`'${url}' names more than a host and a port; paths are passed on as they come`);
  if (!(weight >= 0.01 && weight <= 100)) return wrong(`the weight of '${url}' is a number from 0.01 to 100`);
  const host = parsed.hostname.replace(/^\[|\]$/g, '');
  return { host, port: Number(parsed.port) || (tls ? 443 : 80), tls, weight, zone };
}

/** `http://…`, or `/prefix=http://…`; those of one prefix make one group. @throws CONFIG. */
export function upstreamsOf(flags: readonly string[], common: Omit<Upstream, 'prefix' | 'targets'>): Upstream[] {
  const targets = new Map<string, string[]>();
  for (const flag of flags) {
    const [, prefix = '/', url] = /^(?:(\/[^=]*)=)?(.+)$/.exec(flag) ?? [];
    targets.set(prefix, [...(targets.get(prefix) ?? []), url ?? flag]);
  }
  return [...targets].map(([prefix, urls]) => ({ ...common, prefix, targets: urls }));
}

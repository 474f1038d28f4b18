/** Each setting by precedence: flag, environment, `tandem.config.ts`, default. Remembers where each came from, for `doctor`. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { TandemConfig } from '../contract/app-config.ts';
import type { GatewayForm } from '../contract/gateway-config.ts';
import { type UpstreamForm, upstreamForms } from '../contract/upstream.ts';
import { TandemError } from '../core/errors.ts';
import { isNatsAddress, parseNatsAddress } from '../log/nats-address.ts';
import { type Invocation, text, texts, UsageError } from './command.ts';
import { gatewaySetting } from './gateway-settings.ts';

export interface Setting<T> {
  readonly value: T;
  /** `--port`, `TANDEM_PORT`, `tandem.config.ts` or `default`. */
  readonly source: string;
}

export interface Settings {
  readonly files: Setting<readonly string[]>;
  readonly port: Setting<number>;
  readonly host: Setting<string>;
  readonly data: Setting<string>;
  readonly gateways: Setting<number>;
  readonly scale: Setting<Readonly<Record<string, number>>>;
  readonly logLevel: Setting<string>;
  readonly zone: Setting<string>;
  /** Share of the work for this machine's instances, as against those of others. */
  readonly weight: Setting<number>;
  /** `embedded`, or the address of a NATS cluster. */
  readonly engine: Setting<string>;
  /** Address of this machine that processes of others reach its own at. */
  readonly linkHost: Setting<string>;
  /** Where DNS is answered: `[HOST:]PORT`; without a host at the link's. */
  readonly dns: Setting<string>;
  /** Directory of certificates for the link; undefined: no TLS. */
  readonly linkTls: Setting<string | undefined>;
  /** Signs session tokens; the same on all machines of an app. Undefined: the data directory's. */
  readonly secret: string | undefined;
  /** Of the HTTP door. */
  readonly gateway: Setting<GatewayForm>;
  /** HTTP servers behind the gateways, for the paths that no service has. */
  readonly upstreams: readonly UpstreamForm[];
  /** Values of the services' own config that the file holds. */
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

export const configFileName = 'tandem.config.ts';
const knownKeys = [
  'files',
  'port',
  'host',
  'data',
  'gateways',
  'scale',
  'logLevel',
  'zone',
  'weight',
  'engine',
  'linkHost',
  'dns',
  'linkTls',
  'services',
  'gateway',
];
const levels = ['debug', 'info', 'warn', 'error', 'silent'];

type Environment = Invocation['environment'];

/** @throws CONFIG when it throws while it loads, exports nothing, or has a key that nobody knows. */
export async function loadConfigFile(directory: string): Promise<TandemConfig | undefined> {
  const path = ['ts', 'mts', 'js', 'mjs']
    .map(end => join(directory, `tandem.config.${end}`))
    .find(file => existsSync(file));
  if (!path) return undefined;
  let config: unknown;
  try {
    config = ((await import(pathToFileURL(path).href)) as { default?: unknown }).default;
  } catch (cause) {
    throw new TandemError('CONFIG', `${path} could not be loaded: ${(cause as Error).message}`, { cause });
  }
  if (typeof config !== 'object' || config === null) {
    throw new TandemError('CONFIG', `${path} has no default export; write: export default defineConfig({ … })`);
  }
  for (const key of Object.keys(config)) {
    if (!knownKeys.includes(key))
      throw new TandemError('CONFIG', `${path}: there is no setting '${key}'; known: ${knownKeys.join(', ')}`);
  }
  return config as TandemConfig;
}

/** @throws UsageError for a wrong flag, CONFIG for a wrong value from elsewhere. */
export function resolveSettings(
  invocation: Pick<Invocation, 'words' | 'flags' | 'environment'>,
  file: TandemConfig | undefined,
): Settings {
  const { words, flags, environment } = invocation;
  const pick = <T>(
    flag: string,
    variables: readonly string[],
    key: keyof TandemConfig,
    fallback: T,
    read: (raw: unknown) => T,
  ): Setting<T> => {
    const given = text(flags, flag);
    if (given !== undefined) return { value: checked(`--${flag}`, given, read), source: `--${flag}` };
    const variable = variables.find(name => environment[name] !== undefined && environment[name] !== '');
    if (variable) return { value: checked(variable, environment[variable], read), source: variable };
    const configured = file?.[key];
    if (configured !== undefined)
      return { value: checked(`${configFileName}: ${key}`, configured, read), source: configFileName };
    return { value: fallback, source: 'default' };
  };
  return {
    files: filesOf(words, environment, file),
    port: pick('port', ['TANDEM_PORT', 'PORT'], 'port', 3000, whole(0, 65_535)),
    host: pick('host', ['TANDEM_HOST', 'HOST'], 'host', '127.0.0.1', String),
    data: pick('data', ['TANDEM_DATA'], 'data', '.tandem', String),
    gateways: pick('gateways', ['TANDEM_GATEWAYS'], 'gateways', 2, whole(1, 64)),
    scale: scaleOf(texts(flags, 'scale'), file),
    logLevel: pick('log-level', ['TANDEM_LOG_LEVEL', 'LOG_LEVEL'], 'logLevel', 'info', level),
    zone: pick('zone', ['TANDEM_ZONE'], 'zone', 'local', String),
    weight: pick('weight', ['TANDEM_WEIGHT'], 'weight', 1, weightOf),
    engine: pick('engine', ['TANDEM_ENGINE'], 'engine', 'embedded', engineOf(environment)),
    linkHost: pick('link-host', ['TANDEM_LINK_HOST'], 'linkHost', '127.0.0.1', String),
    dns: pick('dns', ['TANDEM_DNS'], 'dns', '0', dnsOf),
    linkTls: pick<string | undefined>('link-tls', ['TANDEM_LINK_TLS'], 'linkTls', undefined, raw =>
      resolve(String(raw)),
    ),
    secret: environment.TANDEM_SECRET || undefined,
    gateway: gatewaySetting(invocation, file, configFileName),
    upstreams: upstreamForms(file?.gateway?.upstreams),
    services: file?.services ?? {},
  };
}

function filesOf(
  words: readonly string[],
  environment: Environment,
  file: TandemConfig | undefined,
): Settings['files'] {
  if (words.length > 0) return { value: words, source: 'arguments' };
  const listed = environment.TANDEM_FILES;
  if (listed) return { value: listed.split(',').map(name => name.trim()), source: 'TANDEM_FILES' };
  if (file?.files) return { value: file.files, source: configFileName };
  return { value: [], source: 'default' };
}

function scaleOf(flags: readonly string[], file: TandemConfig | undefined): Settings['scale'] {
  const value: Record<string, number> = { ...file?.scale };
  for (const flag of flags) {
    const { name, count } = scaling(flag);
    value[name] = count;
  }
  return { value, source: flags.length > 0 ? '--scale' : file?.scale ? configFileName : 'default' };
}

/** `inventory=10`. @throws UsageError */
export function scaling(flag: string): { readonly name: string; readonly count: number } {
  const match = /^([^=]+)=(\d+)$/.exec(flag);
  if (!match) throw new UsageError(`'${flag}' is no scale; write for example inventory=10`);
  return { name: match[1]!, count: Number(match[2]) };
}

function checked<T>(where: string, raw: unknown, read: (raw: unknown) => T): T {
  try {
    return read(raw);
  } catch (cause) {
    const message = `${where}: ${(cause as Error).message}`;
    throw where.startsWith('--') ? new UsageError(message) : new TandemError('CONFIG', message);
  }
}

function whole(least: number, most: number): (raw: unknown) => number {
  return raw => {
    const value = Number(raw);
    if (Number.isInteger(value) && value >= least && value <= most && String(raw).trim() !== '') return value;
    throw new Error(`'${String(raw)}' is not a whole number from ${least} to ${most}`);
  };
}

/** `nats` alone means the cluster that NATS_URL names, as other programs of NATS use it. */
function engineOf(environment: Environment): (raw: unknown) => string {
  return raw => {
    const given = String(raw);
    if (given === 'embedded') return given;
    const address = given === 'nats' ? environment.NATS_URL : given;
    if (address && isNatsAddress(address)) {
      parseNatsAddress(address);
      return address;
    }
    throw new Error(
      given === 'nats'
        ? 'set NATS_URL to nats://host:4222'
        : `'${given}' is no engine; write embedded, or nats://host:4222`,
    );
  };
}

/** `10.0.0.11:53`, `[::1]:5353`, `5353`. Undefined when it is none of these. */
export function dnsAddress(value: string): { readonly host: string | undefined; readonly port: number } | undefined {
  const found = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]+)):)?(\d{1,5})$/.exec(value);
  const port = Number(found?.[3]);
  return found && port <= 65_535 ? { host: found[1] ?? found[2], port } : undefined;
}

function dnsOf(raw: unknown): string {
  const value = String(raw);
  if (dnsAddress(value)) return value;
  throw new Error(`'${value}' is no address for DNS; write a port, or 10.0.0.11:53`);
}

function weightOf(raw: unknown): number {
  const value = Number(raw);
  if (value >= 0.01 && value <= 100 && String(raw).trim() !== '') return value;
  throw new Error(`'${String(raw)}' is not a number from 0.01 to 100`);
}

function level(raw: unknown): string {
  const value = String(raw).toLowerCase();
  if (levels.includes(value)) return value;
  throw new Error(`'${String(raw)}' is no level; one of: ${levels.join(', ')}`);
}

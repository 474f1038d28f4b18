/** What `gateway` of `tandem.config.ts` may say of the HTTP door, and the plain data that gateway processes get of it. */
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { didYouMean } from './did-you-mean.ts';
import type { Upstream } from './upstream.ts';

export interface GatewayConfig {
  /** HTTP servers that are not the app's own, for the paths that no service has. */
  readonly upstreams?: readonly Upstream[];
  /** Files in PEM. With them the port speaks HTTPS only; they are read again when they change. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Which pages of other origins may call from a browser. Default: none. */
  readonly cors?: Cors;
  /**
   * Answers are compressed when the client takes it (zstd, br, gzip). `true` (default) leaves out requests that carry cookies, since the size of a compressed
   * answer can tell a secret in it to pages of others (BREACH); `always` does not.
   */
  readonly compression?: boolean | 'always';
  /** Smaller answers stay as they are. Default 1024. */
  readonly compressionBytesMin?: number;
  /** Proxies that may say whom a request is for: addresses, ranges such as `10.0.0.0/8`, `loopback`, `private`. Default: none. */
  readonly trustProxies?: readonly string[];
  /** Where they say it. Only this field counts. Default `x-forwarded-for`. */
  readonly forwardedField?: 'x-forwarded-for' | 'forwarded';
  /** Connections begin with the PROXY protocol (version 1 or 2); with `trustProxies`, only those of these are taken. */
  readonly proxyProtocol?: boolean;
  /** One record per request: `all`, `errors` (those answered 5xx, default), `off`, or a share such as 0.01, and all errors beside it. */
  readonly accessRecords?: AccessRecords;
}

export type AccessRecords = 'all' | 'errors' | 'off' | number;

export interface Cors {
  /** `https://shop.example`, `https://*.shop.example`, or `*` for everybody. */
  readonly origins: readonly string[] | '*';
  /** Lets pages send cookies and read what is answered to them. Not with `*`. */
  readonly credentials?: boolean;
  /** Default: all that routes can have. */
  readonly methods?: readonly string[];
  /** Fields that pages may send beside those that Tandem knows. */
  readonly headers?: readonly string[];
  /** Fields of answers that pages may read beside Tandem's. */
  readonly exposeHeaders?: readonly string[];
  /** How long a browser need not ask again. Default 10m. */
  readonly maxAge?: Duration;
}

export interface GatewayForm {
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly cors?: CorsForm | undefined;
  readonly compression: boolean | 'always';
  readonly compressionBytesMin: number;
  readonly trustProxies: readonly string[];
  readonly forwardedField: 'x-forwarded-for' | 'forwarded';
  readonly proxyProtocol: boolean;
  readonly accessRecords: AccessRecords;
}

export interface CorsForm {
  readonly origins: readonly string[] | '*';
  readonly credentials: boolean;
  readonly methods: readonly string[];
  readonly headers: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number;
}

export const gatewayConfigDefaults = {
  compression: true,
  compressionBytesMin: 1024,
  trustProxies: [],
  forwardedField: 'x-forwarded-for',
  proxyProtocol: false,
  accessRecords: 'errors',
} as const;
const corsDefaults = {
  credentials: false,
  methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
  headers: [],
  exposeHeaders: [],
  maxAge: '10m',
} as const;

/** @throws CONFIG that says what is wrong and how it is written. */
export function gatewayForm(given: GatewayConfig = {}): GatewayForm {
  checkKeys('gateway', given, [...Object.keys(gatewayConfigDefaults), 'upstreams', 'tls', 'cors']);
  const { upstreams: _, cors, tls, ...rest } = { ...gatewayConfigDefaults, ...given };
  const { compression, compressionBytesMin, trustProxies, forwardedField, accessRecords } = rest;
  const isShare = typeof accessRecords === 'number' && accessRecords >= 0 && accessRecords <= 1;
  if (!isShare && !['all', 'errors', 'off'].includes(String(accessRecords)))
    wrong(`accessRecords is all, errors, off or a share from 0 to 1, not '${accessRecords}'`);
  if (typeof compression !== 'boolean' && compression !== 'always') wrong("compression is true, false or 'always'");
  if (!Number.isInteger(compressionBytesMin) || compressionBytesMin < 0)
    wrong('compressionBytesMin is a whole number of bytes');
  if (forwardedField !== 'x-forwarded-for' && forwardedField !== 'forwarded')
    wrong("forwardedField is 'x-forwarded-for' or 'forwarded'");
  if (!Array.isArray(trustProxies)) wrong("trustProxies is a list, for example ['10.0.0.0/8']");
  if (tls && !(tls.cert && tls.key)) wrong('tls needs both files, cert and key (--tls-cert and --tls-key)');
  return { ...rest, ...(tls && { tls }), ...(cors && { cors: corsForm(cors) }) };
}

function corsForm(given: Cors): CorsForm {
  checkKeys('gateway.cors', given, [...Object.keys(corsDefaults), 'origins']);
  const { origins, credentials, maxAge, ...lists } = { ...corsDefaults, ...given };
  if (origins !== '*') {
    if (!Array.isArray(origins) || origins.length === 0)
      wrong("cors.origins is a list, for example ['https://shop.example'], or '*'");
    for (const origin of origins) {
      if (origin === '*') wrong("cors.origins: write '*' alone, not in a list");
      if (
        origin !== 'null' &&
        !/^[a-z][a-z\d+.-]*:\/\/(?:\*\.)?[\w.-]+(?::\d+)?$|^[a-z]+:\/\/\[[\da-f:]+\](?::\d+)?$/.test(origin)
      )
        wrong(`cors.origins: '${origin}' is no origin; write scheme and host alone: https://shop.example`);
    }
  } else if (credentials)
    wrong("cors: with credentials name the origins; '*' would let every page of the web act as your users");
  for (const [name, list] of Object.entries(lists)) {
    for (const token of list)
      if (!/^[\w!#$%&'*+.^`|~-]+$/.test(token) || token === '*') wrong(`cors.${name}: '${token}' is no name`);
  }
  return { origins, credentials, ...lists, maxAgeSeconds: Math.round(durationMs(maxAge) / 1000) };
}

function checkKeys(where: string, given: object, known: readonly string[]): void {
  for (const key of Object.keys(given)) {
    if (known.includes(key)) continue;
    const [near] = didYouMean(key, known);
    throw new TandemError(
      'CONFIG',
      `${where}: there is no '${key}'${near ? `; did you mean '${near}'?` : ''}; known: ${known.join(', ')}`,
    );
  }
}

function wrong(message: string): never {
  throw new TandemError('CONFIG', `gateway: ${message}`);
}

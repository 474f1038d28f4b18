import type { GatewayConfig } from './gateway-config.ts';

/** What `tandem.config.ts` may hold. Flags and environment win over it; `tandem doctor` shows which value came from where. */
export interface TandemConfig {
  /** Service files, when the command names none. */
  readonly files?: readonly string[];
  readonly port?: number;
  readonly host?: string;
  /** Data directory. */
  readonly data?: string;
  /** The HTTP door: HTTPS, CORS, compression, proxies before it, HTTP servers behind it. */
  readonly gateway?: GatewayConfig;
  /** Gateway processes that share the port. */
  readonly gateways?: number;
  /** Instances by service. */
  readonly scale?: Readonly<Record<string, number>>;
  readonly logLevel?: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** The machine's failure zone, for placement. */
  readonly zone?: string;
  /** Share of the work for the machine's instances, as against those of other machines: 2 for one twice as strong. Default 1. */
  readonly weight?: number;
  /** `embedded` (default), or a NATS cluster: `nats://a:4222,b:4222,c:4222?app=shop&monitor=http://a:8222,…`. */
  readonly engine?: string;
  /** Address of this machine that processes of other machines reach its own at. Default: loopback. */
  readonly linkHost?: string;
  /** Where the names of the app are answered by DNS: `[HOST:]PORT`. Default: any free port of `linkHost`. */
  readonly dns?: string;
  /** Directory with `ca.crt`, `tls.crt` and `tls.key`: the app's processes then speak mutual TLS with each other. */
  readonly linkTls?: string;
  /** Values of the services' own `config`, by service. */
  readonly services?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Gives `tandem.config.ts` its type: `export default defineConfig({ port: 8080 })`. */
export function defineConfig(config: TandemConfig): TandemConfig {
  return config;
}

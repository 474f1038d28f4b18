/** The HTTP door's settings, which several sources may say together: flags over environment over `gateway` of the config file. */
import { resolve } from 'node:path';
import type { TandemConfig } from '../contract/app-config.ts';
import { type AccessRecords, type GatewayConfig, type GatewayForm, gatewayForm } from '../contract/gateway-config.ts';
import { type Flag, type Invocation, text, texts } from './command.ts';
import type { Setting } from './config.ts';

export const gatewayFlags: Readonly<Record<string, Flag>> = {
  'tls-cert': { type: 'string', value: 'FILE', help: 'Certificate with its chain (PEM): the port then speaks HTTPS' },
  'tls-key': { type: 'string', value: 'FILE', help: 'Private key of the certificate (PEM)' },
  'cors-origin': {
    type: 'string',
    multiple: true,
    value: 'ORIGIN',
    help: 'Pages of this origin may call from a browser; may be repeated',
  },
  'trust-proxy': {
    type: 'string',
    multiple: true,
    value: 'RANGE',
    help: 'Proxies whose X-Forwarded-For counts: 10.0.0.0/8, loopback, private; may be repeated',
  },
  'access-records': {
    type: 'string',
    value: 'WHICH',
    help: 'One record per request: all, errors (default), off, or a share such as 0.01',
  },
};

interface Source {
  readonly name: string;
  one(flag: string): string | undefined;
  many(flag: string): readonly string[];
}

export function gatewaySetting(
  { flags, environment }: Pick<Invocation, 'flags' | 'environment'>,
  file: TandemConfig | undefined,
  fileName: string,
): Setting<GatewayForm> {
  const variable = (flag: string): string => `TANDEM_${flag.toUpperCase().replaceAll('-', '_')}`;
  const sources: Source[] = [
    { name: 'flags', one: flag => text(flags, flag), many: flag => texts(flags, flag) },
    {
      name: 'environment',
      one: flag => environment[variable(flag)] || undefined,
      many: flag =>
        environment[variable(flag)]
          ?.split(',')
          .map(part => part.trim())
          .filter(Boolean) ?? [],
    },
  ];
  const used = new Set<string>();
  const find = <T>(read: (source: Source) => T | undefined): T | undefined => {
    for (const source of sources) {
      const value = read(source);
      if (value === undefined) continue;
      used.add(source.name);
      return value;
    }
    return undefined;
  };
  const list = (flag: string): readonly string[] | undefined =>
    find(source => (source.many(flag).length > 0 ? source.many(flag) : undefined));
  const cert = find(source => source.one('tls-cert'));
  const key = find(source => source.one('tls-key'));
  const origins = list('cors-origin');
  const proxies = list('trust-proxy');
  const records = find(source => source.one('access-records'));
  const configured: GatewayConfig = file?.gateway ?? {};
  if (file?.gateway) used.add(fileName);
  const tls =
    cert || key ? { cert: cert ?? configured.tls?.cert ?? '', key: key ?? configured.tls?.key ?? '' } : configured.tls;
  const form = gatewayForm({
    ...configured,
    ...(tls && { tls }),
    ...(origins && { cors: { ...configured.cors, origins: origins.includes('*') ? '*' : origins } }),
    ...(proxies && { trustProxies: proxies }),
    ...(records !== undefined && { accessRecords: recordsOf(records) }),
  });
  return {
    // Processes may run elsewhere than the command.
    value: form.tls ? { ...form, tls: { cert: resolve(form.tls.cert), key: resolve(form.tls.key) } } : form,
    source: used.size > 0 ? [...used].join(', ') : 'default',
  };
}

function recordsOf(text: string): AccessRecords {
  return /^[\d.]+$/.test(text) ? Number(text) : (text as AccessRecords);
}

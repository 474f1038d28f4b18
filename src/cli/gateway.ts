/** `tandem gateway`: balances over HTTP servers that are not services of an app. Nothing else of Tandem runs beside it. */
import { systemHost } from '../app/host.ts';
import { openUpstreamGateway } from '../app/upstream-gateway.ts';
import { type Balance, isStrategy, type Strategy, strategies } from '../contract/balance.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import type { GatewayForm } from '../contract/gateway-config.ts';
import {
  type HealthCheck,
  type Upstream,
  type UpstreamForm,
  upstreamForms,
  upstreamsOf,
} from '../contract/upstream.ts';
import { durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { addressSet } from '../gateway/client-address.ts';
import { type Level, wantsColor } from '../monitoring/logger.ts';
import { type Command, type Invocation, jsonLines, text, texts, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings } from './config.ts';
import { gatewayFlags } from './gateway-settings.ts';
import { keepAwake } from './keep-awake.ts';
import { beside, choosePort } from './ports.ts';

/** As others call it. */
const alias: Readonly<Record<string, Strategy>> = { 'peak-ewma': 'least-response-time' };

export const command: Command = {
  usage: ['gateway [--upstream [/PREFIX=]URL]… [--balance STRATEGY] [--port N]'],
  summary: 'Balances over any HTTP servers: a gateway that stands alone.',
  details: [
    'Upstreams come from --upstream, else from `gateway: { upstreams: […] }` of tandem.config.ts, which can say more.',
    `Strategies: ${strategies.join(', ')}; peak-ewma is another name of least-response-time.`,
    'Ctrl-C lets what is under way finish; a second one ends at once. Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.',
  ].join('\n'),
  examples: [
    'tandem gateway --upstream http://127.0.0.1:3001 --upstream http://127.0.0.1:3002 --port 8080',
    'tandem gateway --upstream http://web:3000 --upstream /api=http://api:4000 --balance peak-ewma --health /healthz',
  ],
  flags: {
    upstream: {
      type: 'string',
      multiple: true,
      value: '[/PREFIX=]URL',
      help: 'A server, of all paths or of those below the prefix; may be repeated',
    },
    balance: { type: 'string', value: 'STRATEGY', help: 'How servers are picked (default least-connections)' },
    health: { type: 'string', value: 'PATH', help: 'Asked every 5 s; 200 to 399 is well (default: only a connection)' },
    'connections-max': { type: 'string', value: 'N', help: 'Connections to one server; more requests wait (256)' },
    port: { type: 'string', short: 'p', value: 'N', help: 'Default 3000, or the next free one; 0: any' },
    host: { type: 'string', value: 'HOST', help: 'Address to listen on (default 127.0.0.1)' },
    'status-port': {
      type: 'string',
      value: 'N',
      help: 'Where /upstreams and /metrics are shown, on loopback only (default: beside the port)',
    },
    'trust-proxy': gatewayFlags['trust-proxy']!,
    grace: { type: 'string', value: 'TIME', help: 'How long requests under way may take at the end (default 10s)' },
    zone: { type: 'string', value: 'NAME', help: 'Failure zone of this machine' },
    'log-level': { type: 'string', value: 'LEVEL', help: 'Least level of records (default info)' },
    json: jsonLines,
  },
  words: [0, 0],
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { flags, terminal, environment } = invocation;
  const file = await loadConfigFile(process.cwd());
  const settings = resolveSettings(invocation, file);
  refuseUnknown(settings.gateway.value);
  const groups = groupsOf(invocation, file?.gateway?.upstreams);
  const graceMs = durationMs(text(flags, 'grace') ?? '10s');
  const proxies = settings.gateway.value.trustProxies;
  const json = flags.json === true;
  const httpHost = settings.host.value;
  const door = await choosePort(httpHost, settings.port.value, settings.port.source !== 'default');
  const statusGiven = text(flags, 'status-port');
  const wanted = statusGiven === undefined ? beside(settings.port.value, door.port) : Number(statusGiven);
  const status = await choosePort('127.0.0.1', wanted, statusGiven !== undefined);
  const color = wantsColor(environment, process.stderr.isTTY === true);
  const host = systemHost({
    id: 'gateway',
    write: line => terminal.say(line.trimEnd()),
    level: settings.logLevel.value as Level,
    format: json ? 'json' : 'pretty',
    color,
    zone: settings.zone.value,
  });
  return keepAwake(async () => {
    const gateway = await openUpstreamGateway({
      host,
      groups,
      httpHost,
      port: door.port,
      statusPort: status.port,
      ...(proxies.length > 0 && { trusts: addressSet(proxies) }),
    });
    const { url, statusUrl } = gateway;
    if (json) terminal.out(JSON.stringify({ kind: 'ready', url, statusUrl, upstreams: gateway.view() }));
    else {
      if (door.note) terminal.say(`  ${door.note}`);
      terminal.out(`  gateway  ${url}\n  status   ${statusUrl}/upstreams`);
      for (const { prefix, strategy, targets } of gateway.view())
        terminal.out(
          `  ${prefix.padEnd(7)}  ${strategy}: ${targets.map(({ id, health }) => `${id} (${health})`).join(', ')}`,
        );
    }
    await asked();
    if (!json) terminal.say(`\n  Draining; at most ${graceMs / 1000} s. Again to end at once.`);
    await Promise.race([gateway.close(graceMs), asked()]);
    if (json) terminal.out(JSON.stringify({ kind: 'stopped' }));
    return 0;
  });
}

/** Better not to start than to do without what was asked for: plain HTTP where HTTPS was meant. */
function refuseUnknown({ tls, cors, proxyProtocol }: GatewayForm): void {
  const asked = Object.entries({ tls, cors, proxyProtocol }).filter(([, value]) => value);
  if (asked.length > 0)
    throw new TandemError(
      'CONFIG',
      `gateway.${asked[0]![0]} is for gateways with services; run it beside one (tandem up FILE, with the same upstreams), or leave it to what stands before this`,
    );
}

/** Ctrl-C, or whoever supervises this. */
function asked(): Promise<void> {
  return new Promise(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
}

function groupsOf({ flags }: Invocation, configured: readonly Upstream[] = []): UpstreamForm[] {
  const given = texts(flags, 'upstream');
  const strategy = text(flags, 'balance');
  const most = text(flags, 'connections-max');
  const health = text(flags, 'health');
  const common: { balance?: Strategy | Balance; health?: HealthCheck; connectionsMax?: number } = {
    ...(strategy !== undefined && { balance: strategyOf(strategy) }),
    ...(health !== undefined && { health: { path: health } }),
    ...(most !== undefined && { connectionsMax: Number(most) }),
  };
  const groups = given.length > 0 ? upstreamsOf(given, common) : configured.map(group => ({ ...group, ...common }));
  if (groups.length === 0)
    throw new UsageError('tandem gateway needs an upstream: tandem gateway --upstream http://127.0.0.1:3001');
  return upstreamForms(groups);
}

function strategyOf(name: string): Strategy {
  const strategy = alias[name] ?? name;
  if (isStrategy(strategy)) return strategy;
  const [near] = didYouMean(name, [...strategies, ...Object.keys(alias)]);
  throw new UsageError(
    `there is no strategy '${name}'${near ? `; did you mean ${near}?` : ''} (${strategies.join(', ')})`,
  );
}

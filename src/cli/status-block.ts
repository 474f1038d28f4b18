/** The calm block after the start: where everything is, and what to try. */
import { columns, paint, type Terminal } from './terminal.ts';

export interface Status {
  readonly tookMs: number;
  readonly gatewayUrl: string;
  readonly gateways: number;
  readonly dashboardUrl: string | undefined;
  readonly dns: string | undefined;
  readonly data: string;
  readonly services: readonly {
    readonly name: string;
    readonly instances: number;
    readonly routes: readonly string[];
  }[];
  readonly notes: readonly string[];
  readonly hint: string;
}

export function statusBlock(terminal: Terminal, status: Status): string {
  const bold = (text: string): string => paint(terminal, 'bold', text);
  const dim = (text: string): string => paint(terminal, 'dim', text);
  const { gatewayUrl, gateways, dashboardUrl, dns, data, services } = status;
  const trial = services.flatMap(({ routes }) => routes).find(route => route.startsWith('GET '));
  const rows = [['Gateway', gatewayUrl + (gateways > 1 ? dim(`  (${gateways} processes share it)`) : '')]];
  if (dashboardUrl) rows.push(['Dashboard', dashboardUrl]);
  if (dns)
    rows.push([
      'DNS',
      dns + dim(`  (dig @${dns.replace(/:(\d+)$/, ' -p $1')} ${services[0]?.name}.tandem.internal SRV)`),
    ]);
  rows.push(['Data', data]);
  rows.push(['Services', services.map(({ name, instances }) => `${name} ×${instances}`).join(', ')]);
  if (trial)
    rows.push([
      'Try',
      `curl ${gatewayUrl}${trial.slice(4).replace(/:([a-zA-Z]+)/g, (_, name: string) => (name === 'name' ? 'world' : name))}`,
    ]);
  const names = services.map(({ name }) => name).join(', ');
  return [
    '',
    `  ${bold(services.length > 3 ? `${services.length} services` : names)} ${services.length > 1 ? 'are' : 'is'} up, in ${(status.tookMs / 1000).toFixed(2)} s`,
    '',
    columns(rows as string[][], '  '),
    ...status.notes.map(note => `  ${paint(terminal, 'yellow', 'Note')}  ${note}`),
    '',
    `  ${dim(status.hint)}`,
  ].join('\n');
}

/**
 * A gateway that stands alone: HTTP servers behind it, nothing else of Tandem beside it. What it does and how its targets are is
 * shown on a port of its own, for this machine only, since that is not for its clients.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { UpstreamForm } from '../contract/upstream.ts';
import { TandemError } from '../core/errors.ts';
import { exposePrometheus, expositionType } from '../monitoring/exposition.ts';
import { metricHelp } from '../monitoring/metric-names.ts';
import { type DoorOptions, openDoor } from '../upstreams/door.ts';
import { type GroupView, Upstreams } from '../upstreams/upstreams.ts';
import type { Host } from './host.ts';

/** Not imported: for an import, Node would evaluate all that the module exports, with it undici, TLS and HTTP/2 (14 MB, 50 ms). */
const { createServer } = process.getBuiltinModule('node:http');

export interface UpstreamGatewayOptions {
  readonly host: Host;
  readonly groups: readonly UpstreamForm[];
  readonly httpHost: string;
  readonly port: number;
  /** Where metrics and the state of the targets are shown; undefined: nowhere. */
  readonly statusPort: number | undefined;
  readonly trusts?: DoorOptions['trusts'];
}

export interface UpstreamGateway {
  readonly url: string;
  readonly statusUrl: string | undefined;
  view(): GroupView[];
  close(graceMs: number): Promise<void>;
}

/** @throws CONFLICT, CONFIG when a port cannot be had. */
export async function openUpstreamGateway(options: UpstreamGatewayOptions): Promise<UpstreamGateway> {
  const { host, groups, httpHost, port, statusPort, trusts } = options;
  const { clock, random, logger, meter, zone } = host;
  const upstreams = new Upstreams({ groups, clock, random, logger, meter, zone });
  await upstreams.open();
  try {
    const common = { upstreams, clock, logger, meter };
    const door = await openDoor({ ...common, host: httpHost, port, ...(trusts && { trusts }) });
    const status = statusPort === undefined ? undefined : await openStatus(statusPort, upstreams, host);
    return {
      url: door.url,
      statusUrl: status?.url,
      view: () => upstreams.view(),
      close: async graceMs => {
        await door.close(graceMs);
        upstreams.close();
        status?.close();
      },
    };
  } catch (cause) {
    upstreams.close();
    throw cause;
  }
}

async function openStatus(
  port: number,
  upstreams: Upstreams,
  { meter }: Host,
): Promise<{ url: string; close(): void }> {
  const server: Server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const send = (status: number, type: string, text: string): void => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : text);
    };
    const path = request.url?.split('?')[0];
    if (request.method !== 'GET' && request.method !== 'HEAD') send(405, 'application/json', '{}');
    else if (path === '/upstreams')
      send(200, 'application/json', `${JSON.stringify(upstreams.view(), undefined, 2)}\n`);
    else if (path === '/metrics') send(200, expositionType, exposePrometheus(meter.snapshot(), metricHelp));
    else send(404, 'application/json', '{"paths":["/upstreams","/metrics"]}');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause =>
      reject(new TandemError('CONFLICT', `the status port ${port}: ${cause.message}`, { cause })),
    );
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

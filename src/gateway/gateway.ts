/**
 * The outside door: HTTP in, calls out. It loads no user code; what it knows of services it reads from their descriptors. The parsers are Node's strict
 * ones, every wait has an end, and closing lets what is under way finish.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type GatewayForm, gatewayConfigDefaults } from '../contract/gateway-config.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import type { Random } from '../core/random.ts';
import type { Tracer } from '../core/tracer.ts';
import type { Registry } from '../naming/registry.ts';
import { AccessRecorder } from './access-records.ts';
import { Admission } from './admission.ts';
import { addressSet, clientOf } from './client-address.ts';
import { refuse } from './client-error.ts';
import { acceptConnections, type Connections } from './connections.ts';
import { CorsPolicy } from './cors.ts';
import { type ExchangeParts, Exchanges } from './exchange.ts';
import type { Fallback } from './fallback.ts';
import type { GrpcDoor } from './grpc-door.ts';
import { Http2Sessions } from './http2-server.ts';
import type { GatewayCaller } from './outgoing.ts';
import { RouteTable } from './route-table.ts';
import { sessionTokens } from './session-token.ts';

/** Not imported: for an import, Node would evaluate all that the module exports, with it undici, TLS and HTTP/2 (14 MB, 50 ms). */
const { createServer } = process.getBuiltinModule('node:http');

export const gatewayDefaults = {
  host: '127.0.0.1',
  /** Time for a request's headers, against slow clients that hold connections (Slowloris). */
  headersTimeoutMs: 10_000,
  /** Time for a request's body; for one that a method reads as a stream, between two of its pieces. */
  requestTimeoutMs: 30_000,
  /** Longer than the idle time of common proxies (60 s), so that the proxy closes first and no request meets a closing connection. */
  keepAliveTimeoutMs: 65_000,
  /** How often slow requests are looked for. */
  checkIntervalMs: 1000,
  /** Requests under way. About 10 KiB each, so 40 MiB at worst beside their bodies. */
  inflightMax: 4096,
  connectionsMax: 16_384,
  /** A stream ends after this; its client connects again. */
  streamMsMax: 3_600_000,
  /** Below the idle time of common proxies (60 s) and of phones (about 30 s). */
  heartbeatMs: 15_000,
  /** A gateway that has just started, or hears nobody, cannot say "not found": for this long an unknown route waits, and is then UNAVAILABLE. */
  learnMs: 2000,
  /** A client that takes nothing of its answer for so long is given up. */
  answerIdleTimeoutMs: 30_000,
  /** How often the certificate's files are looked at. */
  tlsReloadMs: 5000,
} as const;

export interface GatewayOptions
  extends Partial<GatewayForm>,
    Partial<{ readonly [K in keyof typeof gatewayDefaults]: K extends 'host' ? string : number }> {
  /** Services that belong to the app even while nobody has heard of them: until then an unknown route may be theirs. */
  readonly services?: readonly string[];
  readonly registry: Registry;
  readonly caller: GatewayCaller;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly tracer: Tracer;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Lets several gateways listen on one port; the kernel spreads connections over them. */
  readonly reusePort?: boolean;
  /** Signs session tokens; the same for all gateways of a system. */
  readonly secret: string;
  readonly bodyBytesMax?: number;
  readonly bodiesBytesMax?: number;
  /** Takes what no service has: the paths of HTTP servers that are not the app's. */
  readonly fallback?: Fallback;
  /** What `/-/ready` says beside "not closing". Default: some service is known. */
  readonly ready?: () => boolean;
}

export interface Gateway {
  readonly url: string;
  readonly port: number;
  /** Requests under way. */
  readonly inflight: number;
  /** Bytes of their bodies in memory. */
  readonly bodyBytes: number;
  /** Takes no new connections, lets what is under way finish for at most `graceMs`, then ends the rest. */
  close(graceMs: number): Promise<void>;
}

/** @throws CONFLICT when the port is in use. */
export async function openGateway(given: GatewayOptions): Promise<Gateway> {
  const { bodyBytesMax, bodiesBytesMax } = limits;
  const options = { ...gatewayDefaults, ...gatewayConfigDefaults, bodyBytesMax, bodiesBytesMax, ...given };
  const { registry, clock, logger, meter, services = [], trustProxies, forwardedField } = options;
  const trusts = addressSet(trustProxies);
  const admission = new Admission(options.inflightMax, options.bodiesBytesMax);
  const ending = new AbortController();
  let closing = false;
  const parts: Omit<ExchangeParts, 'table'> = {
    ...options,
    learning: () => registry.learning() || (services.length > 0 && services.some(name => !registry.descriptor(name))),
    admission,
    tokens: sessionTokens(options.secret),
    ready: () => !closing && (options.ready?.() ?? registry.services().length > 0),
    cors: options.cors && new CorsPolicy(options.cors),
    clientOf: request => clientOf(request, trusts, forwardedField),
    access: new AccessRecorder(options.accessRecords, logger, options.random),
    closing: () => closing,
    ending: ending.signal,
  };
  const exchanges = new Exchanges({ ...parts, table: new RouteTable(registry, logger) });
  let door: Promise<GrpcDoor> | undefined;
  /** Loaded by the first call: who has no gRPC clients does not pay for the door. */
  const answerGrpc = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    door ??= import('./grpc-door.ts').then(({ GrpcDoor: Door }) => new Door({ ...parts, registry }));
    await (await door).handle(request, response);
  };
  meter.observe('tandem.http.inflight', () => admission.inflight);
  const { fallback } = options;
  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: options.headersTimeoutMs,
    // A body has a time of its own, which depends on who reads it.
    requestTimeout: 0,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    connectionsCheckingInterval: options.checkIntervalMs,
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
    // Else any request that asks for another protocol (curl --http2 does) would no longer be a request.
    shouldUpgradeCallback: request =>
      options.fallback !== undefined && isWebSocket(request) && !exchanges.isOwn(request),
  });
  server.maxConnections = options.connectionsMax;
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    // Without a listener a client that resets its connection would end the process.
    response.on('error', () => {});
    const isGrpc = request.headers['content-type']?.startsWith('application/grpc') ?? false;
    const answered = isGrpc ? answerGrpc(request, response) : exchanges.handle(request, response);
    answered.catch(thrown => {
      logger.error('answering a request failed', { error: thrown });
      response.destroy();
    });
  };
  const checkContinue = (request: IncomingMessage, response: ServerResponse): void => {
    // Who the body is for says whether it may come. One that is declared too large is refused before it is sent.
    const isForUs = !fallback || exchanges.isOwn(request);
    const declared = Number(request.headers['content-length'] ?? 0);
    if (isForUs && !(declared > exchanges.bodyBytesMax(request))) response.writeContinue();
    handle(request, response);
  };
  server.on('request', handle);
  if (fallback) {
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, first: Buffer) => {
      socket.on('error', () => {});
      if (closing || !fallback.upgrade(request, socket, first))
        socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
    });
  }
  server.on('checkContinue', checkContinue);
  server.on('clientError', refuse);
  const tls =
    options.tls &&
    (await import('./tls-door.ts')).openTlsDoor({
      ...options,
      files: options.tls,
      handshakeTimeoutMs: options.headersTimeoutMs,
      reloadMs: options.tlsReloadMs,
    });
  const connections = acceptConnections(server, {
    ...options,
    http2: new Http2Sessions({ ...options, request: handle, checkContinue }),
    tls,
    proxied: options.proxyProtocol ? address => trustProxies.length === 0 || trusts(address) : undefined,
  });
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  const shownHost = options.host.includes(':') ? `[${options.host}]` : options.host;
  let closed: Promise<void> | undefined;
  return {
    url: `${tls ? 'https' : 'http'}://${shownHost}:${port}`,
    port,
    get inflight() {
      return admission.inflight;
    },
    get bodyBytes() {
      return admission.bodyBytes;
    },
    close(graceMs) {
      closing = true;
      closed ??= closeServer(server, connections, clock, graceMs, () => ending.abort());
      return closed;
    },
  };
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

function listen(server: Server, options: { host: string; port: number; reusePort?: boolean }): Promise<void> {
  const { host, port, reusePort = false } = options;
  return new Promise((resolve, reject) => {
    const onError = (cause: NodeJS.ErrnoException): void => {
      if (cause.code === 'EADDRINUSE')
        reject(
          new TandemError('CONFLICT', `port ${port} is in use; choose another or stop what listens there`, {
            details: { port },
            cause,
          }),
        );
      else reject(new TandemError('CONFIG', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    };
    server.once('error', onError);
    server.listen({ host, port, reusePort, backlog: 1024 }, () => {
      server.off('error', onError);
      server.on('error', () => {});
      resolve();
    });
  });
}

function closeServer(
  server: Server,
  connections: Connections,
  clock: Clock,
  graceMs: number,
  endStreams: () => void,
): Promise<void> {
  return new Promise(resolve => {
    const cut = clock.after(graceMs, () => {
      server.closeAllConnections();
      connections.destroy();
    });
    server.close(() => {
      cut.cancel();
      resolve();
    });
    endStreams();
    connections.drain();
  });
}

/**
 * The monitor's HTTP face: the dashboard's files, its state once and as a stream, Prometheus metrics, health. Nothing is cached,
 * the page may load nothing from anywhere else, and all is read-only but for one thing: how a service's instances are picked.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { isStrategy, type Strategy, strategies } from '../contract/balance.ts';
import { TandemError } from '../core/errors.ts';
import { expositionType } from '../monitoring/exposition.ts';
import { cookieName, type Door, isExpectedHost } from './monitor-door.ts';

/** Not imported: for an import, Node would evaluate all that the module exports, with it undici, TLS and HTTP/2 (14 MB, 50 ms). */
const { createServer } = process.getBuiltinModule('node:http');

export interface MonitorHttpOptions {
  readonly host: string;
  readonly port: number;
  readonly door: Door;
  /** The state as JSON text, made once per look. */
  readonly state: () => string;
  readonly metrics: () => string;
  /** Switches how the instances of a service are picked. */
  readonly switchStrategy: (service: string, strategy: Strategy | undefined) => Promise<void>;
}

export interface MonitorHttp {
  readonly port: number;
  /** Hands the newest state to every open stream. */
  push(): void;
  close(): Promise<void>;
}

const files: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/style.css': ['style.css', 'text/css; charset=utf-8'],
  '/app.js': ['app.js', 'text/javascript; charset=utf-8'],
  '/pictures.js': ['pictures.js', 'text/javascript; charset=utf-8'],
  '/text.js': ['text.js', 'text/javascript; charset=utf-8'],
  '/icon.svg': ['icon.svg', 'image/svg+xml'],
};
const directory = fileURLToPath(new URL('../../dashboard/', import.meta.url));

const streamsMax = 32;
/** A viewer that is this far behind (bytes) misses pictures instead of filling memory. */
const streamBytesMax = 1_048_576;

const guards = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
} as const;

/** @throws CONFIG when the port is taken or not allowed. */
export async function openMonitorHttp(options: MonitorHttpOptions): Promise<MonitorHttp> {
  const { host, door } = options;
  const pages = new Map<string, { body: Buffer; type: string }>();
  for (const [path, [file, type]] of Object.entries(files))
    pages.set(path, { body: await readFile(directory + file), type });
  const streams = new Set<ServerResponse>();

  const answer = (request: IncomingMessage): Page | 'stream' => {
    const url = new URL(request.url ?? '/', 'http://monitor');
    if (!isExpectedHost(request.headers.host, host)) return text(421, 'Use the address that was printed.\n');
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return text(405, 'Read only, but for POST /api/balance.\n');
    if (url.pathname === '/-/health') return { status: 200, type: 'application/json', body: '{"ok":true}\n' };
    if (url.pathname === '/metrics') return { status: 200, type: expositionType, body: options.metrics() };
    const token = url.pathname === '/' ? url.searchParams.get('token') : null;
    if (token !== null) return enter(request, token);
    if (!door.isOpenTo(request.headers.cookie)) return locked(request);
    if (url.pathname === '/api/state') return { status: 200, type: 'application/json', body: options.state() };
    if (url.pathname === '/api/events')
      return streams.size < streamsMax ? 'stream' : text(503, `${streamsMax} viewers are the most.\n`);
    const page = pages.get(url.pathname);
    return page ? { status: 200, ...page } : text(404, 'There is nothing here.\n');
  };

  /** The token goes out of the address bar whether or not it was needed. */
  const enter = (request: IncomingMessage, token: string): Page => {
    const home = { status: 303, type: 'text/plain', body: '', headers: { location: '/' } };
    if (door.isOpenTo(request.headers.cookie)) return home;
    const session = door.exchange(token);
    if (session === undefined) return locked(request);
    const cookie = `${cookieName}=${session}; HttpOnly; SameSite=Strict; Path=/`;
    return { ...home, headers: { location: '/', 'set-cookie': cookie } };
  };

  /** From the dashboard's own page alone: another page's requests carry another origin, and cannot send JSON unasked. */
  const change = async (request: IncomingMessage): Promise<Page> => {
    const { host: name, origin, cookie, 'content-type': type } = request.headers;
    if (!isExpectedHost(name, host)) return text(421, 'Use the address that was printed.\n');
    if (!door.isOpenTo(cookie)) return locked(request);
    if (origin !== `http://${name}` || type !== 'application/json')
      return problem(new TandemError('DENIED', 'changes are made on the page of the dashboard'), 403);
    try {
      const { service, strategy } = (JSON.parse(await bodyOf(request)) ?? {}) as {
        service?: unknown;
        strategy?: unknown;
      };
      if (typeof service !== 'string' || (strategy !== null && !isStrategy(String(strategy))))
        throw new TandemError('INVALID', `a change names a service and one of: ${strategies.join(', ')}, or null`);
      await options.switchStrategy(service, (strategy ?? undefined) as Strategy | undefined);
      return { status: 200, type: 'application/json', body: '{"ok":true}\n' };
    } catch (cause) {
      const error =
        cause instanceof SyntaxError ? new TandemError('INVALID', 'that is no JSON') : TandemError.from(cause);
      return problem(error, error.code === 'INVALID' ? 400 : error.code === 'NOT_FOUND' ? 404 : 503);
    }
  };

  const openStream = (response: ServerResponse): void => {
    response.writeHead(200, { ...guards, 'content-type': 'text/event-stream' });
    streams.add(response);
    response.on('close', () => streams.delete(response));
    response.write(`retry: 1000\nevent: state\ndata: ${options.state()}\n\n`);
  };

  const server = createServer({ maxHeaderSize: 16_384, requestTimeout: 10_000 }, (request, response) => {
    if (request.method === 'POST' && request.url === '/api/balance') {
      change(request).then(
        page => send(response, page),
        () => response.destroy(),
      );
      return;
    }
    try {
      const answered = answer(request);
      if (answered === 'stream') openStream(response);
      else send(response, answered);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else send(response, text(400, `${TandemError.from(error).message}\n`));
    }
  });
  await listen(server, host, options.port);
  return {
    port: (server.address() as AddressInfo).port,
    push() {
      if (streams.size === 0) return;
      const text = `event: state\ndata: ${options.state()}\n\n`;
      for (const response of streams) if (response.writableLength < streamBytesMax) response.write(text);
    },
    async close() {
      for (const response of streams) response.end();
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
}

const text = (status: number, body: string): Page => ({ status, type: 'text/plain; charset=utf-8', body });

const problem = ({ code, message }: TandemError, status: number): Page => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify({ code, message })}\n`,
});

const changeBytesMax = 4096;

/** @throws INVALID for one that is too long. */
async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += (part as Buffer).length;
    if (bytes > changeBytesMax) throw new TandemError('INVALID', `a change has at most ${changeBytesMax} bytes`);
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts).toString();
}

function send(response: ServerResponse, { status, type, body, headers }: Page): void {
  response.writeHead(status, {
    ...guards,
    ...headers,
    'content-type': type,
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

function locked(request: IncomingMessage): Page {
  if (!request.headers.accept?.includes('text/html')) {
    const body = '{"code":"DENIED","message":"open the printed address first"}\n';
    return { status: 401, type: 'application/json', body };
  }
  return { status: 401, type: 'text/html; charset=utf-8', body: lockedPage };
}

const lockedPage = `<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Tandem: locked</title></head>
<body><h1>This dashboard is locked</h1>
<p>Open the address with <code>?token=</code> that was printed when the system started.</p>
<p>Each token opens it once. The next address is in the monitor's records: <code>tandem logs monitor</code>.</p>
</body></html>
`;

async function listen(server: Server, host: string, port: number): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === 'EADDRINUSE' ? 'is in use by another program' : `cannot be opened (${code ?? 'error'})`;
    throw new TandemError('CONFIG', `the monitor's port ${port} on ${host} ${why}; choose another one`, {
      details: { port, host, reason: code ?? 'error' },
      cause,
    });
  }
}

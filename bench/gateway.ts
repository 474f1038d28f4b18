/**
 * The gateway beside nginx and @fastify/http-proxy, one worker each, pinned to core 0; the load (wrk) and what is behind the
 * gateway share core 1. `service` is HTTP in, a call of a Tandem service out; the others stand before one and the same nginx
 * that answers as many bytes. CPU is what the proxy's process spent per request, from the kernel's own count of nanoseconds:
 * on a shared machine it is the steadier figure. `upload` and `download` are one stream of 100 MB: MB/s, and by how many MB
 * the proxy's memory was higher at its worst than before.
 */
import { execFile, fork } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { systemHost } from '../src/app/host.ts';
import { openUpstreamGateway } from '../src/app/upstream-gateway.ts';
import { upstreamForm } from '../src/contract/upstream.ts';
import { start, withApp } from './app.ts';
import { beside, ended, freePort, inDirectory, missing, pause, retried } from './beside.ts';
import type { Bench, Figures } from './run.ts';

const run = promisify(execFile);
const proxyCore = '0';
const loadCore = '1';
const warmUpSeconds = 2;
const seconds = 4;
const streamBytes = 100_000_000;
/** What the service of `services.ts` answers, byte for byte as long. */
const answer =
  '{"sku":"chair-42","quantity":3,"note":"leave it at the door","tags":["a","b"],"price":12.5,"left":true}';
const nginx = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/opt/homebrew/bin/nginx'].find(existsSync) ?? 'nginx';

async function pin(pid: number, core: string): Promise<void> {
  await run('taskset', ['-acp', core, String(pid)]);
}

/** Nanoseconds that a process and its threads have run, or its children when it is a master of workers. */
function cpuNs(pid: number): number {
  const workers = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(/\s+/).filter(Boolean);
  const pids = [pid, ...workers.map(Number)];
  let ns = 0;
  for (const each of pids) {
    for (const thread of readdirSync(`/proc/${each}/task`))
      ns += Number(readFileSync(`/proc/${each}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return ns;
}

function peakMb(pid: number): number {
  const kb = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kb ?? 0) / 1024;
}

function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

interface Proxy {
  readonly url: string;
  readonly pid: number;
}

/** Load through a proxy, after a warm-up. */
async function measured({ url, pid }: Proxy, path: string, connections: number): Promise<Figures> {
  await retried(async () => {
    const response = await fetch(url + path);
    const text = await response.text();
    if (response.status !== 200 || text.length < answer.length) throw new Error(`${response.status} ${text}`);
  });
  await pin(pid, proxyCore);
  await wrk(url + path, connections, warmUpSeconds);
  const before = cpuNs(pid);
  const { requests, perSecond, p50, p99, bad } = await wrk(url + path, connections, seconds);
  const cpuUs = (cpuNs(pid) - before) / 1000 / requests;
  if (bad > 0) throw new Error(`${bad} requests failed`);
  return { 'requests/s': perSecond, 'CPU µs': cpuUs, 'p50 ms': p50, 'p99 ms': p99 };
}

async function wrk(url: string, connections: number, forSeconds: number) {
  const args = [loadCore, 'wrk', '-t1', `-c${connections}`, `-d${forSeconds}s`, '--latency', url];
  const { stdout } = await run('taskset', ['-c', ...args]).catch(cause => {
    throw cause.code === 'ENOENT' || cause.code === 127 ? missing('wrk or taskset') : cause;
  });
  const found = (pattern: RegExp): string => pattern.exec(stdout)?.[1] ?? '0';
  const ms = (text: string): number =>
    Number.parseFloat(text) * (text.endsWith('us') ? 0.001 : text.endsWith('ms') ? 1 : 1000);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(stdout);
  return {
    requests: Number(found(/(\d+) requests in/)),
    perSecond: Number(found(/Requests\/sec:\s+([\d.]+)/)),
    p50: ms(found(/50%\s+([\d.]+\w+)/)),
    p99: ms(found(/99%\s+([\d.]+\w+)/)),
    bad:
      Number(found(/Non-2xx or 3xx responses: (\d+)/)) +
      (errors ? errors.slice(1).reduce((sum, each) => sum + Number(each), 0) : 0),
  };
}

/** One large body each way. */
async function streamed({ url, pid }: Proxy): Promise<Figures> {
  const figures: Record<string, number> = {};
  for (const way of ['download', 'upload'] as const) {
    // Once before, so that what is measured is not the first growth of a fresh heap.
    for (const counts of [false, true]) {
      forgetPeak(pid);
      const before = peakMb(pid);
      const from = performance.now();
      const bytes = await transfer(url, way);
      if (bytes !== streamBytes) throw new Error(`${way}: ${bytes} bytes came`);
      if (!counts) continue;
      figures[`${way} MB/s`] = streamBytes / 1000 / (performance.now() - from);
      figures[`${way} +MB`] = Math.max(0.01, peakMb(pid) - before);
    }
  }
  return figures;
}

function transfer(url: string, way: 'download' | 'upload'): Promise<number> {
  return new Promise((done, failed) => {
    const sent = request(`${url}/large`, { method: way === 'upload' ? 'POST' : 'GET' }, response => {
      let bytes = 0;
      let text = '';
      response.on('data', chunk => {
        bytes += chunk.length;
        if (way === 'upload') text += chunk;
      });
      response.on('end', () => done(way === 'upload' ? Number(text) : bytes));
      response.on('error', failed);
    });
    sent.on('error', failed);
    if (way === 'download') return void sent.end();
    sent.setHeader('content-length', streamBytes);
    const chunk = Buffer.alloc(65_536, 'x');
    let left = streamBytes;
    const write = (): void => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, chunk.length));
        left -= part.length;
        if (!sent.write(part)) return void sent.once('drain', write);
      }
      sent.end();
    };
    write();
  });
}

function withNginx<T>(
  body: (port: number, directory: string) => string,
  work: (proxy: Proxy) => Promise<T>,
): Promise<T> {
  return inDirectory(async prefix => {
    const port = await freePort();
    const file = join(prefix, 'nginx.conf');
    writeFileSync(
      file,
      `daemon off; worker_processes 1; pid ${prefix}/nginx.pid; error_log ${prefix}/error.log error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 65; client_max_body_size 0; sendfile on;
  client_body_temp_path ${prefix}/b; proxy_temp_path ${prefix}/p; fastcgi_temp_path ${prefix}/f; uwsgi_temp_path ${prefix}/u; scgi_temp_path ${prefix}/s;
  ${body(port, prefix)}
}`,
    );
    return beside(
      nginx,
      () => ['-p', prefix, '-c', file, '-e', `${prefix}/error.log`],
      async () => {
        await retried(async () => void (await fetch(`http://127.0.0.1:${port}/`)));
        const pid = Number(readFileSync(`${prefix}/nginx.pid`, 'latin1'));
        const worker = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
        return work({ url: `http://127.0.0.1:${port}`, pid: Number(worker) });
      },
    );
  });
}

/** The foreign server: answers at once, and has a file to stream. */
function withForeign<T>(work: (url: string) => Promise<T>): Promise<T> {
  return withNginx(
    (port, directory) => {
      writeFileSync(join(directory, 'large'), '');
      truncateSync(join(directory, 'large'), streamBytes);
      return `server { listen 127.0.0.1:${port}; default_type application/json;
        location / { return 200 '${answer}'; } location = /large { root ${directory}; } }`;
    },
    async ({ url, pid }) => {
      await pin(pid, loadCore);
      return work(url);
    },
  );
}

if (!process.argv.includes('--child') && process.send === undefined) {
  const path = (process.env['PATH'] ?? '').split(':');
  const packages = { wrk: 'wrk', taskset: 'util-linux', nginx: 'nginx' };
  for (const [tool, name] of Object.entries(packages)) {
    if (!path.some(directory => existsSync(join(directory, tool))) && !(tool === 'nginx' && existsSync(nginx)))
      console.error(`this bench needs ${tool}; on Debian: apt install ${name}`);
  }
}

/** Takes uploads and says how much came; serves the download. */
if (process.argv[2] === '--sink') {
  const chunk = Buffer.alloc(65_536, 'x');
  const server = createServer((incoming, response) => {
    if (incoming.method === 'GET') {
      response.setHeader('content-length', streamBytes);
      let left = streamBytes;
      const write = (): void => {
        while (left > 0) {
          const part = chunk.subarray(0, Math.min(left, chunk.length));
          left -= part.length;
          if (!response.write(part)) return void response.once('drain', write);
        }
        response.end();
      };
      return write();
    }
    let bytes = 0;
    incoming.on('data', (part: Buffer) => {
      bytes += part.length;
    });
    incoming.on('end', () => response.end(String(bytes)));
  });
  server.listen(0, '127.0.0.1', () => process.send!(`http://127.0.0.1:${(server.address() as { port: number }).port}`));
  process.on('disconnect', () => process.exit(0));
}

if (process.argv[2] === '--fastify') {
  const { default: fastify } = await import('fastify');
  const { default: proxy } = await import('@fastify/http-proxy');
  const app = fastify({ bodyLimit: 2 * streamBytes });
  await app.register(proxy, { upstream: process.argv[3]!, undici: { connections: 256 } });
  process.send!(await app.listen({ port: 0, host: '127.0.0.1' }));
  process.on('disconnect', () => process.exit(0));
}

if (process.argv[2] === '--upstream') {
  const host = systemHost({ id: 'gateway', write: line => void process.stderr.write(line), level: 'warn' });
  const groups = [upstreamForm({ targets: [process.argv[3]!] })];
  const { url } = await openUpstreamGateway({ host, groups, httpHost: '127.0.0.1', port: 0, statusPort: undefined });
  process.send!(url);
  process.on('disconnect', () => process.exit(0));
  process.on('SIGTERM', () => process.exit(0));
}

async function withChild<T>(args: readonly string[], work: (proxy: Proxy) => Promise<T>): Promise<T> {
  const child = fork(fileURLToPath(import.meta.url), args, { execArgv: profiled(args[0]!) });
  try {
    const url = await new Promise<string>((done, failed) => {
      child.once('message', address => done(String(address)));
      child.once('exit', code => failed(new Error(`${args[0]} ended with ${code}`)));
    });
    return await work({ url, pid: child.pid! });
  } finally {
    await ended(child);
  }
}

function profiled(part: string): string[] {
  const wanted = (process.env['BENCH_PROFILE'] ?? '').split(',').includes(part.replace('--', ''));
  return wanted ? [...process.execArgv, '--cpu-prof', '--cpu-prof-interval', '500'] : process.execArgv;
}

/** Requests through a proxy before the foreign server, then streams through the same before one that takes uploads. */
async function proxied(
  connections: number,
  open: <T>(upstream: string, work: (proxy: Proxy) => Promise<T>) => Promise<T>,
): Promise<Figures> {
  const rates = await withForeign(url => open(url, proxy => measured(proxy, '/hello/chair-42', connections)));
  const streams = await withChild(['--sink'], async sink => {
    await pin(sink.pid, loadCore);
    return open(sink.url, async proxy => {
      await retried(async () => void (await fetch(proxy.url)));
      await pin(proxy.pid, proxyCore);
      return streamed(proxy);
    });
  });
  return { ...rates, ...streams };
}

const nginxProxy = <T>(upstream: string, work: (proxy: Proxy) => Promise<T>): Promise<T> =>
  withNginx(
    port => `upstream behind { server ${new URL(upstream).host}; keepalive 256; keepalive_requests 1000000000; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_request_buffering off; proxy_buffering on; proxy_max_temp_file_size 0; } }`,
    work,
  );

export const bench: Bench = {
  ours: ['service', 'upstream'],
  rounds: 3,
  loads: [64],
  subjects: {
    service: connections =>
      withApp(['hello'], async ({ directory, engineAddress, pids }) => {
        for (const pid of pids) await pin(pid, loadCore);
        const gateway = await start('gateway', {
          id: 'gateway-1-bench',
          host: '127.0.0.1',
          port: 0,
          engineAddress,
          dataDirectory: directory,
          sessionSecret: 'bench',
          services: ['hello'],
          logLevel: 'error',
        });
        try {
          await pause(500);
          return await measured({ url: gateway.url!, pid: gateway.pid }, '/hello/chair-42', connections);
        } finally {
          await gateway.stop();
        }
      }),
    upstream: connections => proxied(connections, (upstream, work) => withChild(['--upstream', upstream], work)),
    nginx: connections => proxied(connections, nginxProxy),
    'http-proxy': connections => proxied(connections, (upstream, work) => withChild(['--fastify', upstream], work)),
  },
};

/**
 * `tandem dev`: a tiny parent that runs the whole app in one child and starts it anew when a source file changes. A
 * fresh process is the only restart that surely forgets everything the old one held.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { processBirth } from '../recovery/process-birth.ts';
import { type Command, dataFlag, type Invocation, jsonLines, text, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings } from './config.ts';
import { emptyDataDirectory, openDataDirectory, refuseHalfRestore } from './data-directory.ts';
import { gatewayFlags } from './gateway-settings.ts';
import { checkFiles } from './inspect.ts';
import { inheritedArguments, ownScript } from './own-script.ts';
import { beside, choosePort } from './ports.ts';
import { stateStore, stillRuns, takeData } from './running-app.ts';
import { statusBlock } from './status-block.ts';
import { paint } from './terminal.ts';
import { watchSources } from './watch-files.ts';

export const command: Command = {
  usage: ['dev FILE… [--fresh] [--inspect[=PORT]]'],
  summary: 'Runs services in one process, with pretty records, and restarts when a source file changes.',
  details:
    'Commands in another terminal reach it as an app of tandem up: call, topic, table, reshard, ps, doctor, stop. It is one process with one instance of each service: there is nothing to scale.',
  examples: ['tandem dev hello.ts', 'tandem dev src/inventory.ts src/orders.ts --fresh --inspect=9229'],
  flags: {
    port: {
      type: 'string',
      short: 'p',
      value: 'N',
      help: 'Port of the gateway (default 3000, or the next free one; 0: any)',
    },
    host: { type: 'string', value: 'HOST', help: 'Address to listen on (default 127.0.0.1)' },
    data: dataFlag,
    fresh: { type: 'boolean', help: 'Delete the data directory first' },
    inspect: {
      type: 'string',
      bare: '9229',
      value: 'PORT',
      help: 'Let a debugger connect at this port (default 9229, 0: any)',
    },
    'log-level': { type: 'string', value: 'LEVEL', help: 'Least level of records (default info)' },
    ...gatewayFlags,
    json: jsonLines,
  },
  words: [0, 64],
  run: dev,
};

const graceMs = 2000;

async function dev(invocation: Invocation): Promise<number> {
  const { terminal, flags } = invocation;
  const json = flags.json === true;
  const settings = resolveSettings(invocation, await loadConfigFile(process.cwd()));
  const files = settings.files.value.map(file => resolve(file));
  if (files.length === 0) throw new UsageError('tandem dev needs a file that exports a service: tandem dev hello.ts');
  checkFiles(files);
  const data = openDataDirectory(settings.data.value);
  const taken = await takeData(data.path);
  if (taken.former && stillRuns(taken.former)) {
    throw new TandemError('CONFLICT', `an app runs with the data in ${data.path}; end it first with tandem stop`);
  }
  if (flags.fresh) emptyDataDirectory(data.path);
  refuseHalfRestore(data.path);
  const { secret: sessionSecret } = flags.fresh ? openDataDirectory(data.path) : data;
  const host = settings.host.value;
  const { value: wanted, source } = settings.port;
  const { port, note } = await choosePort(host, wanted, source !== 'default');
  const dashboard = await choosePort('127.0.0.1', beside(wanted, port), false);
  const inspector = text(flags, 'inspect');
  const child = {
    files,
    dataDirectory: data.path,
    sessionSecret,
    host,
    port,
    dashboardPort: dashboard.port,
    logLevel: settings.logLevel.value,
    logFormat: json ? 'json' : 'pretty',
    color: terminal.color,
    services: settings.services,
    gateway: settings.gateway.value,
    upstreams: settings.upstreams,
  };

  const ended = Promise.withResolvers<number>();
  let running: ChildProcess | undefined;
  let stopping = false;
  let restarting: Promise<void> | undefined;
  let first = true;
  let starts = 0;

  const store = stateStore(data.path);
  const startedAt = systemClock.now();
  const birthOf = (pid: number): string => processBirth(pid) ?? '';
  /** For commands from another terminal: what runs, and where it answers once it does. */
  const remember = (info: Readonly<Record<string, string>> = {}): void => {
    const { control, gatewayUrl, dashboardUrl } = info;
    const pid = running?.pid;
    const slot = {
      name: 'dev',
      spec: 'dev',
      index: 0,
      role: 'engine',
      id: 'dev',
      startedAt: systemClock.now(),
    } as const;
    const where: Record<string, string> = gatewayUrl === undefined ? {} : { url: gatewayUrl };
    try {
      store.save({
        format: 1,
        supervisor: { pid: process.pid, birth: birthOf(process.pid) },
        startedAt,
        wanted: {},
        processes:
          pid === undefined ? [] : [{ ...slot, pid, birth: birthOf(pid), ready: control !== undefined, info: where }],
        facts: { dev: true, files, control, gatewayUrl, dashboardUrl },
      });
    } catch (cause) {
      terminal.say(`  Commands in other terminals do not find this app: ${(cause as Error).message}`);
    }
  };

  const start = (): void => {
    const beganMs = systemClock.monotonic();
    const debug = inspector === undefined ? [] : [`--inspect=${inspector}`];
    const process_ = spawn(
      process.execPath,
      [...inheritedArguments(process.execArgv), ...debug, ...ownScript(), 'role', 'dev'],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        detached: true,
        env: { ...process.env, TANDEM_ROLE_SETTINGS: JSON.stringify({ ...child, restarts: starts++ }) },
      },
    );
    running = process_;
    remember();
    process_.on(
      'message',
      (report: { kind: string; info?: Record<string, string>; code?: string; message?: string }) => {
        const { kind, code, message } = report;
        if (kind === 'failed' && json) terminal.out(JSON.stringify({ kind, code, message }));
        else if (kind === 'failed') terminal.say(`${paint(terminal, 'red', '✗')} ${message}`);
        else {
          remember(report.info);
          ready(report.info ?? {}, systemClock.monotonic() - beganMs);
        }
      },
    );
    process_.once('exit', code => {
      if (running !== process_) return;
      running = undefined;
      remember();
      if (stopping || restarting) return;
      terminal.say(paint(terminal, 'dim', `  The app ended (code ${code}). Waiting for a change…`));
    });
  };
  const ready = (info: Record<string, string>, tookMs: number): void => {
    const services = JSON.parse(info.services ?? '[]') as { name: string; instances: number; routes: string[] }[];
    const status = {
      tookMs,
      gatewayUrl: info.gatewayUrl ?? '',
      gateways: 1,
      dashboardUrl: info.dashboardUrl,
      dns: undefined,
      data: data.path,
      services,
      notes: note ? [note] : [],
      hint: 'Restarts when a file changes. Ctrl-C stops. From another terminal: tandem call, topic, table, ps.',
    };
    if (json) terminal.out(JSON.stringify({ kind: 'up', ...status }));
    else if (first) terminal.out(statusBlock(terminal, status));
    else terminal.say(`${paint(terminal, 'green', '✓')} restarted in ${Math.round(tookMs)} ms`);
    first = false;
  };
  const end = async (): Promise<void> => {
    const process_ = running;
    if (!process_) return;
    const gone = new Promise<void>(done => process_.once('exit', () => done()));
    if (process_.connected) process_.send({ kind: 'stop', graceMs });
    const killing = systemClock.after(graceMs + 500, () => process_.kill('SIGKILL'));
    await gone;
    killing.cancel();
  };

  const onChange = (file: string): void => {
    if (stopping || restarting) return;
    if (!json) terminal.say(paint(terminal, 'dim', `  ${file} changed, restarting…`));
    restarting = end().then(() => {
      restarting = undefined;
      if (!stopping) start();
    });
  };
  const roots = [...files.map(file => dirname(file)), process.cwd()];
  const watching = watchSources(roots, systemClock, onChange, data.path);
  const onSignal = (): void => {
    if (stopping) {
      running?.kill('SIGKILL');
      return;
    }
    stopping = true;
    watching.close();
    void end().then(() => {
      if (json) terminal.out(JSON.stringify({ kind: 'stopped' }));
      else terminal.say('\n  Stopped.');
      ended.resolve(0);
    });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  start();
  const code = await ended.promise;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal);
  await taken.release();
  return code;
}

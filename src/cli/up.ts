/** `tandem up`: the app as processes on this machine, under a supervisor, until Ctrl-C. */
import { writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { systemHost } from '../app/host.ts';
import { checkRestored } from '../backup/restore.ts';
import { every, systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { secretText, systemRandom } from '../core/random.ts';
import { hidden, parseNatsAddress } from '../log/nats-address.ts';
import { nodeSpawner } from '../recovery/node-spawner.ts';
import { processBirth } from '../recovery/process-birth.ts';
import { openRecordFiles } from '../recovery/record-files.ts';
import type { SupervisorState } from '../recovery/state-file.ts';
import { type StoryEvent, Supervisor, supervisorDefaults } from '../recovery/supervisor.ts';
import type { AppLink } from './app-link.ts';
import { claimIdentity } from './cluster-identity.ts';
import { type Command, dataFlag, type Invocation, jsonLines, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings, type Settings } from './config.ts';
import { controlAddress, openControl } from './control.ts';
import { type DataDirectory, openDataDirectory, refuseHalfRestore } from './data-directory.ts';
import { gatewayFlags } from './gateway-settings.ts';
import { type InspectedService, inspectFiles } from './inspect.ts';
import { linkAnswers } from './link-answers.ts';
import { inheritedArguments, ownScript } from './own-script.ts';
import { beside, choosePort } from './ports.ts';
import { processSpecs } from './process-specs.ts';
import { openProgress } from './progress.ts';
import { stateStore, stillRuns, takeData } from './running-app.ts';
import { statusBlock } from './status-block.ts';
import { openSupervisorLink, type SupervisorLink } from './supervisor-link.ts';
import type { Terminal } from './terminal.ts';

export const command: Command = {
  usage: ['up FILE… [--scale NAME=N]… [--port N] [--data DIR]'],
  summary: 'Runs services as processes on this machine: instances, gateways on one port, engine, naming, monitor.',
  details: [
    'Everything listens on loopback unless --host says otherwise. Ctrl-C drains and stops; a second Ctrl-C kills.',
    'When the supervisor itself is killed, the app goes on; the same command takes over what still runs.',
    'Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage.',
  ].join('\n'),
  examples: ['tandem up hello.ts', 'tandem up inventory.ts orders.ts --scale inventory=10 --port 8080'],
  flags: {
    scale: {
      type: 'string',
      multiple: true,
      value: 'NAME=N',
      help: 'Instances of a service (default 1); may be repeated',
    },
    port: {
      type: 'string',
      short: 'p',
      value: 'N',
      help: 'Port of the gateways (default 3000, or the next free one; 0: any)',
    },
    host: { type: 'string', value: 'HOST', help: 'Address that gateways listen on (default 127.0.0.1)' },
    gateways: { type: 'string', value: 'N', help: 'Gateway processes that share the port (default 2)' },
    data: dataFlag,
    'log-level': {
      type: 'string',
      value: 'LEVEL',
      help: 'Least level of records: debug, info, warn, error, silent (default info)',
    },
    zone: { type: 'string', value: 'NAME', help: 'Failure zone of this machine' },
    weight: {
      type: 'string',
      value: 'N',
      help: "Share of the work for this machine's instances, as against other machines' (1)",
    },
    engine: {
      type: 'string',
      value: 'ADDRESS',
      help: 'embedded (default), or a NATS cluster: nats://a:4222,b:4222?monitor=http://a:8222,http://b:8222',
    },
    'link-host': {
      type: 'string',
      value: 'HOST',
      help: 'Address of this machine that processes of others reach its own at (default 127.0.0.1)',
    },
    dns: {
      type: 'string',
      value: '[HOST:]PORT',
      help: 'Where names of the app are answered by DNS (default: any free port of --link-host)',
    },
    'link-tls': {
      type: 'string',
      value: 'DIR',
      help: 'Directory with ca.crt, tls.crt, tls.key: processes speak mutual TLS with each other (default: no TLS)',
    },
    claim: { type: 'boolean', help: 'On a cluster: this app is the one whose data is there, with another secret' },
    ...gatewayFlags,
    json: jsonLines,
  },
  words: [0, 64],
  run: up,
};

async function up(invocation: Invocation): Promise<number> {
  const beganMs = systemClock.monotonic();
  const settings = resolveSettings(invocation, await loadConfigFile(process.cwd()));
  if (settings.files.value.length === 0)
    throw new UsageError('tandem up needs a file that exports a service: tandem up hello.ts');
  const data = openDataDirectory(settings.data.value);
  const taken = await takeData(data.path);
  try {
    refuseHalfRestore(data.path);
    return await run({ invocation, settings, data, former: taken.former, beganMs });
  } finally {
    await taken.release();
  }
}

interface UpOptions {
  readonly invocation: Invocation;
  readonly settings: Settings;
  readonly data: DataDirectory;
  readonly former: SupervisorState | undefined;
  readonly beganMs: number;
}

async function run({ invocation, settings, data, former, beganMs }: UpOptions): Promise<number> {
  const { terminal } = invocation;
  const json = invocation.flags.json === true;
  const files = settings.files.value.map(file => resolve(file));
  const services = await inspectFiles(files, settings.services);
  checkScale(settings, services);
  const cluster = settings.engine.value === 'embedded' ? undefined : settings.engine.value;
  if (cluster) await checkCluster(cluster, settings.secret ?? data.secret, invocation.flags.claim === true);
  const records = openRecordFiles(`${data.path}/records`);
  const adoption = adoptable(former);
  const doors = await chooseDoors(settings, adoption);
  const specs = processSpecs({ settings, services, data, ...doors, wanted: adoption?.wanted ?? {} });

  const progress = json ? undefined : openProgress(terminal, specs);
  let started = false;
  const host = systemHost({
    id: 'supervisor',
    write: recordWriter(records.open('supervisor-1-0')),
    zone: settings.zone.value,
    weight: settings.weight.value,
    linkTls: settings.linkTls.value,
  });
  let link: SupervisorLink | undefined;
  const supervisor = new Supervisor({
    specs,
    ...(cluster ? { node: nodeName() } : {}),
    spawner: nodeSpawner({
      script: ownScript(),
      execArgv: inheritedArguments(process.execArgv),
      env: process.env,
      records,
      clock: systemClock,
      onUnrecorded: (id, reason) => host.logger.warn('a process runs without records', { id, reason }),
    }),
    store: stateStore(data.path),
    self: { pid: process.pid, birth: processBirth(process.pid) ?? '' },
    clock: systemClock,
    random: systemRandom,
    logger: host.logger,
    onEvent: event => {
      const { kind, name, id, pid, message } = event;
      if ((kind === 'exited' || kind === 'stopped') && id !== undefined) link?.buried(id);
      host.logger[kind === 'gave-up' ? 'error' : 'info'](`${name} ${kind}: ${message}`, { kind, name, id, pid });
      if (!started) progress?.onEvent(event);
      else if (!json) tellEvent(terminal, event);
    },
  });
  const control = controlAddress(data.path);
  supervisor.setFacts({
    control,
    files,
    host: settings.host.value,
    ...doors,
    services: services.map(({ name }) => name),
  });

  const ended = Promise.withResolvers<number>();
  const stop = stopper(supervisor, terminal, json, ended.resolve);
  const onSignal = (): void => void stop(supervisorDefaults.stopGraceMs);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const tidying = every(systemClock, 10_000, () => {
    const live = supervisor.list().map(({ id }) => id);
    try {
      records.rotate();
      records.prune(new Set([...live, 'supervisor-1-0']));
    } catch (cause) {
      host.logger.warn('old records could not be tidied away', { error: cause });
    }
  });

  const engine = () => supervisor.list().find(({ role }) => role === 'engine');
  let server: { close(graceMs?: number): Promise<void> } | undefined;
  try {
    server = await openControl(control, {
      $ps: () => ({ processes: supervisor.list(), facts: { ...doors, control, files } }),
      $engine: () => ({ address: cluster ?? engine()?.info.address ?? '', linkTls: settings.linkTls.value ?? null }),
      $story: () => supervisor.story,
      $scale: async ({ name, count }) => {
        await supervisor.scale(name, count);
        return null;
      },
      $stop: ({ graceMs }) => stop(graceMs),
      ...linkAnswers(() => linked(link)),
    });
    await supervisor.start(former);
    started = true;
    progress?.end();
    link = await openSupervisorLink({
      host,
      engineAddress: cluster ?? engine()?.info.address ?? '',
      linkHost: settings.linkHost.value,
      engineId: () => engine()?.id,
      onVerdict: (id, verdict) => supervisor.report(id, verdict),
    });
    const status = {
      tookMs: systemClock.monotonic() - beganMs,
      gatewayUrl: infoOf(supervisor, 'gateway').url ?? '',
      gateways: supervisor.list().filter(({ role }) => role === 'gateway').length,
      dashboardUrl: infoOf(supervisor, 'monitor').url,
      dns: infoOf(supervisor, 'naming').address,
      data: data.path,
      services: services.map(({ name, routes }) => ({
        name,
        instances: supervisor.list().filter(({ spec }) => spec === name).length,
        routes,
      })),
      notes: doors.note ? [doors.note] : [],
      hint: 'Ctrl-C drains and stops. From another terminal: tandem ps, logs, call, scale, doctor.',
    };
    const { gatewayUrl, dashboardUrl, dns } = status;
    supervisor.setFacts({
      gatewayUrl,
      dashboardUrl,
      dns,
      engine: cluster ? hidden(cluster) : infoOf(supervisor, 'engine').address,
    });
    terminal.out(json ? JSON.stringify({ kind: 'up', ...status }) : statusBlock(terminal, status));
    return await ended.promise;
  } catch (failure) {
    progress?.end();
    if (TandemError.from(failure).code === 'CLOSED') return await ended.promise;
    await supervisor.stop(2000);
    throw failure;
  } finally {
    tidying.cancel();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, onSignal);
    await link?.close().catch(() => {});
    await server?.close(200);
  }
}

/** Opens it once with all checks, so that what it lacks is said before anything starts. @throws CONFIG, UNSUPPORTED, UNAVAILABLE */
async function checkCluster(address: string, secret: string, claims: boolean): Promise<void> {
  const { openNatsEngine } = await import('../log/nats-engine.ts');
  const { logger } = systemHost({ id: 'supervisor', write: () => {}, level: 'silent' });
  const engine = await openNatsEngine({ address, name: 'tandem up', clock: systemClock, random: systemRandom, logger });
  try {
    await checkRestored(engine, systemClock);
    await claimIdentity(engine, parseNatsAddress(address).app, secret, claims, systemClock);
  } finally {
    await engine.close();
  }
}

/** This machine in ids and DNS names. */
function nodeName(): string {
  const name = hostname()
    .toLowerCase()
    .replace(/\..*$/, '')
    .replace(/[^a-z0-9-]/g, '');
  return name || 'node';
}

/** The first time drains, the second time kills. */
function stopper(supervisor: Supervisor, terminal: Terminal, json: boolean, ended: (code: number) => void) {
  let asked = false;
  return async (graceMs: number) => {
    if (asked) {
      if (!json) terminal.say('\n  Killing what is left.');
      await supervisor.killAll();
      ended(1);
    } else if (!json)
      terminal.say(`\n  Draining: gateways first, the engine last; at most ${graceMs / 1000} s each. Again to kill.`);
    asked = true;
    const summary = await supervisor.stop(graceMs);
    const { drained, killed, tookMs } = summary;
    if (json) terminal.out(JSON.stringify({ kind: 'stopped', ...summary }));
    else {
      const rest = killed.length > 0 ? `; killed, because they did not end in time: ${killed.join(', ')}` : '';
      terminal.say(
        `  Stopped ${drained} of ${drained + killed.length} processes cleanly in ${(tookMs / 1000).toFixed(1)} s${rest}.`,
      );
    }
    ended(killed.length > 0 ? 1 : 0);
    return summary;
  };
}

interface Doors {
  readonly port: number;
  readonly dashboardPort: number;
  readonly dashboardToken: string;
  readonly note: string | undefined;
}

/** Of a former supervisor whose processes still run, its choices; else fresh ones. */
async function chooseDoors(settings: Settings, former: SupervisorState | undefined): Promise<Doors> {
  const { port, dashboardPort, dashboardToken, host: formerHost } = former?.facts ?? {};
  const { value, source } = settings.port;
  const host = settings.host.value;
  if (typeof port === 'number' && typeof dashboardPort === 'number' && typeof dashboardToken === 'string') {
    if ((source !== 'default' && value !== 0 && value !== port) || formerHost !== host) {
      throw new TandemError(
        'CONFLICT',
        `the app still runs on ${String(formerHost)}:${port} and keeps that; end it first with tandem stop`,
      );
    }
    return { port, dashboardPort, dashboardToken, note: undefined };
  }
  const gateway = await choosePort(host, value, source !== 'default');
  const dashboard = await choosePort('127.0.0.1', beside(value, gateway.port), false);
  return {
    port: gateway.port,
    dashboardPort: dashboard.port,
    dashboardToken: secretText(16),
    note: gateway.note,
  };
}

/** The former state, when any of its processes still runs. */
function adoptable(former: SupervisorState | undefined): SupervisorState | undefined {
  return former && stillRuns(former) ? former : undefined;
}

function checkScale(settings: Settings, services: readonly InspectedService[]): void {
  const names = services.map(({ name }) => name);
  for (const name of Object.keys(settings.scale.value)) {
    if (names.includes(name) || name === 'gateway') continue;
    throw new UsageError(`--scale ${name}: there is no service '${name}'; there are: ${names.join(', ')}`);
  }
}

function infoOf(supervisor: Supervisor, role: string): Readonly<Record<string, string>> {
  return supervisor.list().find(process => process.role === role)?.info ?? {};
}

function linked(link: AppLink | undefined): AppLink {
  if (link) return link;
  throw new TandemError('UNAVAILABLE', 'the app is still starting; try again in a moment');
}

function tellEvent(terminal: Terminal, event: StoryEvent): void {
  if (['starting', 'stopping', 'stopped'].includes(event.kind)) return;
  terminal.say(`  ${event.time.slice(11, 19)}  ${event.name} ${event.message}`);
}

/** A record that the disk has no room for is dropped: the supervisor goes on. */
function recordWriter(descriptor: number): (line: string) => void {
  return line => {
    try {
      writeSync(descriptor, line.endsWith('\n') ? line : `${line}\n`);
    } catch {
      // There is nowhere left to say it.
    }
  };
}

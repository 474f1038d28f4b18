/** `tandem doctor`: every setting with its source, and whether the surroundings are fit. Exit code 1 when something is wrong. */
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { protoLockOf } from '../app/contract-lock.ts';
import { protoOf } from '../contract/proto-build.ts';
import { unlocked } from '../contract/proto-lock.ts';
import { systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { silentLogger } from '../core/logger.ts';
import { systemRandom } from '../core/random.ts';
import { hidden } from '../log/nats-address.ts';
import { type Command, dataFlag, type Invocation } from './command.ts';
import { loadConfigFile, resolveSettings, type Settings } from './config.ts';
import { ask } from './control.ts';
import { type InspectedService, inspectFiles } from './inspect.ts';
import { isFree } from './ports.ts';
import { findApp, silenceOf } from './running-app.ts';
import { columns, paint, type Terminal } from './terminal.ts';
import { troubles } from './topic-show.ts';

export const command: Command = {
  usage: ['doctor [FILE…] [--data DIR]'],
  summary: 'Checks the configuration (each value and where it came from) and the surroundings; says what to mend.',
  flags: {
    data: dataFlag,
    port: { type: 'string', short: 'p', value: 'N', help: 'Port to check' },
    engine: { type: 'string', value: 'ADDRESS', help: 'Engine to check: embedded, or nats://…' },
  },
  words: [0, 64],
  run: doctor,
};

interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly says: string;
}

const freeBytesLeast = 1_073_741_824;

async function doctor(invocation: Invocation): Promise<number> {
  const { terminal, flags } = invocation;
  const settings = resolveSettings(invocation, await loadConfigFile(process.cwd()));
  const values: (readonly [string, unknown, string])[] = Object.entries(settings)
    .filter(([name]) => name !== 'services' && name !== 'secret' && name !== 'upstreams')
    .map(([name, setting]) => {
      const { value, source } = setting as { value: unknown; source: string };
      return [name, name === 'engine' ? hidden(String(value)) : value, source];
    });
  const findings: Finding[] = [nodeVersion(), dataDirectory(settings.data.value), ...(await runningApp(settings))];
  if (settings.files.value.length > 0) {
    try {
      for (const service of await inspectFiles(settings.files.value, settings.services)) {
        findings.push(...serviceFindings(service));
        for (const { name, value, source, variable } of service.config)
          values.push([`${service.name}.${name}`, value, source === 'environment' ? variable : source]);
      }
    } catch (failure) {
      findings.push({ check: 'services', ok: false, says: TandemError.from(failure).message });
    }
  }
  if (flags.json) {
    terminal.out(
      JSON.stringify({ settings: values.map(([name, value, source]) => ({ name, value, source })), findings }),
    );
  } else show(terminal, values, findings);
  return findings.every(({ ok }) => ok) ? 0 : 1;
}

function show(
  terminal: Terminal,
  values: readonly (readonly [string, unknown, string])[],
  findings: readonly Finding[],
): void {
  const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  terminal.out('Settings\n');
  terminal.out(
    columns(
      values.map(([name, value, source]) => [name, shown(value), `from ${source}`]),
      '  ',
    ),
  );
  terminal.out('\nChecks\n');
  for (const { check, ok, says } of findings) {
    terminal.out(`  ${ok ? paint(terminal, 'green', '✓') : paint(terminal, 'red', '✗')} ${check}: ${says}`);
  }
}

/** A gRPC client counts on numbers: those that no lock keeps move with the next edit. */
function serviceFindings({ name, file, descriptor }: InspectedService): Finding[] {
  const lock = protoLockOf(file, name);
  const loose = unlocked(protoOf(descriptor, lock).file, lock);
  const open = lock === undefined && loose.length > 0;
  const note = open ? `; for gRPC clients, keep its field numbers: tandem gen proto ${file}` : '';
  const found = [{ check: `service ${name}`, ok: true, says: file + note }];
  if (lock === undefined || loose.length === 0) return found;
  const shown = `${loose.slice(0, 3).join(', ')}${loose.length > 3 ? ', …' : ''}`;
  const says = `no number is kept for ${shown}: run tandem gen proto ${file} and commit what it writes`;
  return [...found, { check: `proto ${name}`, ok: false, says }];
}

function nodeVersion(): Finding {
  return {
    check: 'node',
    ok: Number(process.versions.node.split('.')[0]) >= 24,
    says: `${process.versions.node} (24 or newer is needed)`,
  };
}

function dataDirectory(directory: string): Finding {
  const path = resolve(directory);
  const there = existsSync(path);
  let where = path;
  while (!existsSync(where) && dirname(where) !== where) where = dirname(where);
  if (!statSync(where).isDirectory()) {
    return {
      check: 'data directory',
      ok: false,
      says: `${where} is a file, not a directory; name another with --data`,
    };
  }
  try {
    accessSync(where, constants.W_OK);
  } catch {
    return {
      check: 'data directory',
      ok: false,
      says: `${where} cannot be written; change its owner or name another with --data`,
    };
  }
  const { bavail, bsize } = statfsSync(where);
  const free = bavail * bsize;
  const room = `${(free / 1_073_741_824).toFixed(1)} GB free`;
  if (free < freeBytesLeast) return { check: 'data directory', ok: false, says: `${path}: only ${room}; make room` };
  return { check: 'data directory', ok: true, says: `${path} (${there ? 'exists' : 'will be made'}, ${room})` };
}

async function runningApp(settings: Settings): Promise<Finding[]> {
  let app: ReturnType<typeof findApp>;
  try {
    app = findApp(resolve(settings.data.value));
  } catch (failure) {
    const error = TandemError.from(failure);
    const state: Finding = {
      check: 'app',
      ok: error.code === 'NOT_FOUND',
      says: error.code === 'NOT_FOUND' ? 'none runs here' : error.message,
    };
    const { value, source } = settings.port;
    const free = await isFree(settings.host.value, value);
    const taken =
      source === 'default' ? 'in use; tandem up takes the next free one' : 'in use; end what uses it or name another';
    return [state, { check: `port ${value}`, ok: free || source === 'default', says: free ? 'free' : taken }];
  }
  if (!app.control)
    return [
      {
        check: 'app',
        ok: false,
        says: silenceOf(app),
      },
    ];
  try {
    const { processes } = await ask(app.control, '$ps', null, 3000);
    const undeclared = await ask(app.control, '$undeclared', { service: undefined, timeoutMs: 3000 }, 4000);
    const topics = await ask(app.control, '$topics', { topic: undefined, timeoutMs: 3000 }, 4000);
    const ill = processes.filter(({ state }) => state !== 'ready');
    const engine = processes.find(({ role }) => role === 'engine');
    return [
      {
        check: 'app',
        ok: ill.length === 0,
        says:
          ill.length === 0
            ? `${processes.length} ${processes.length === 1 ? 'process' : 'processes'}, all ready`
            : ill.map(({ name, state, failure }) => `${name} ${state}${failure ? ` (${failure})` : ''}`).join(', '),
      },
      app.dev || settings.engine.value === 'embedded'
        ? {
            check: 'engine',
            ok: engine?.state === 'ready',
            says: `${engine?.info.address ?? (app.dev ? 'of tandem dev' : 'none')} is ${engine?.state ?? 'missing'}`,
          }
        : await clusterFinding(settings.engine.value),
      ...undeclared.map(({ service, table }) => ({
        check: `table ${service}.${table}`,
        ok: true,
        says: `has rows, and no code declares it: declare it again, or tandem table drop ${service} ${table}`,
      })),
      ...topics
        .flatMap(({ groups }) => groups)
        .flatMap(group => troubles(group).map(says => ({ check: `subscription ${group.group}`, ok: false, says }))),
    ];
  } catch (failure) {
    return [{ check: 'app', ok: false, says: `its supervisor does not answer: ${TandemError.from(failure).message}` }];
  }
}

/** Healthy is a cluster that takes an append in time, whatever it says of itself. */
async function clusterFinding(address: string): Promise<Finding> {
  const clock = systemClock;
  try {
    const { openNatsEngine } = await import('../log/nats-engine.ts');
    const engine = await openNatsEngine({
      address,
      name: 'tandem doctor',
      clock,
      random: systemRandom,
      logger: silentLogger,
    });
    try {
      const deadline = clock.monotonic() + 5000;
      const result = await engine.log.append('doctor', 'any', [Buffer.from('alive')], { deadline });
      const took = Math.round(clock.monotonic() - (deadline - 5000));
      const ok = result.kind === 'appended';
      return {
        check: 'engine',
        ok,
        says: `${hidden(address)}: ${ok ? `an append took ${took} ms` : 'an append is in doubt'}`,
      };
    } finally {
      await engine.close();
    }
  } catch (failure) {
    return { check: 'engine', ok: false, says: TandemError.from(failure).message };
  }
}

/**
 * `tandem contract check`: compares what the services offer now with what `tandem.lock.json` says they promised.
 * Additions pass; removals and narrowings fail. `--write` makes today's contracts the promise.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { breakingChanges } from '../contract/compatibility.ts';
import type { Descriptor } from '../contract/descriptor.ts';
import { brokenTopics } from '../contract/evolution.ts';
import { TandemError } from '../core/errors.ts';
import { type Command, type Invocation, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings } from './config.ts';
import { inspectFiles } from './inspect.ts';

const lockName = 'tandem.lock.json';

export const command: Command = {
  usage: ['contract check [FILE…] [--write]'],
  summary: `Compares the services' contracts with ${lockName}; exit code 1 when a caller of today would break.`,
  details:
    'Events are compared both ways, since they are stored: new code must read old events, and running code new ones (topic option compatibility: full,\n' +
    'backward, forward, none). Two services that say a topic differently are compared with each other.\n' +
    'A break that is meant is a new contract beside the old one, such as inventory.v2, or a new topic.',
  flags: { write: { type: 'boolean', help: `Make today's contracts the promise (${lockName})` } },
  words: [1, 64],
  run: check,
};

interface Lock {
  readonly format: 1;
  readonly services: Readonly<Record<string, Descriptor>>;
}

async function check(invocation: Invocation): Promise<number> {
  const { terminal, flags } = invocation;
  const [verb, ...words] = invocation.words;
  if (verb !== 'check') throw new UsageError(`tandem contract does not know '${verb}'; it knows: check`);
  const settings = resolveSettings({ ...invocation, words }, await loadConfigFile(process.cwd()));
  if (settings.files.value.length === 0)
    throw new UsageError('tandem contract check needs a file: tandem contract check inventory.ts');
  const services = await inspectFiles(settings.files.value, settings.services);
  const path = resolve(lockName);
  const lock = readLock(path);
  const found = services.flatMap(({ name, descriptor }) => {
    const before = lock?.services[name];
    return before ? breakingChanges(before, descriptor) : [];
  });
  const promised = Object.values(lock?.services ?? {});
  found.push(
    ...brokenTopics(
      promised,
      services.map(({ descriptor }) => descriptor),
    ),
  );
  if (flags.write) {
    const now = Object.fromEntries(services.map(({ name, descriptor }) => [name, descriptor]));
    const next: Lock = { format: 1, services: { ...lock?.services, ...now } };
    writeFileSync(path, `${JSON.stringify(next, undefined, 2)}\n`);
    terminal.out(
      flags.json
        ? JSON.stringify({ written: path, breaking: found })
        : `Wrote ${lockName}: ${services.map(({ name }) => name).join(', ')}`,
    );
    return 0;
  }
  if (!lock)
    throw new TandemError('NOT_FOUND', `there is no ${lockName} here; make one with tandem contract check --write`);
  const added = services.filter(({ name }) => !lock.services[name]).map(({ name }) => name);
  if (flags.json) terminal.out(JSON.stringify({ breaking: found, added }));
  else {
    for (const { where, what } of found) terminal.out(`✗ ${where}: ${what}`);
    if (added.length > 0) terminal.out(`New: ${added.join(', ')} (tandem contract check --write keeps them)`);
    if (found.length === 0)
      terminal.out(
        `${services.length} ${services.length === 1 ? 'contract keeps' : 'contracts keep'} what ${lockName} promises.`,
      );
  }
  return found.length === 0 ? 0 : 1;
}

function readLock(path: string): Lock | undefined {
  if (!existsSync(path)) return undefined;
  let lock: Lock;
  try {
    lock = JSON.parse(readFileSync(path, 'utf8')) as Lock;
  } catch (cause) {
    throw new TandemError('CORRUPT', `${path} is not JSON; restore it from version control`, { cause });
  }
  if (lock.format === 1) return lock;
  throw new TandemError(
    'UNSUPPORTED',
    `${path} has format ${String(lock.format)}, this Tandem knows 1; use the version that wrote it`,
  );
}

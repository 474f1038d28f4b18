/**
 * `tandem contract check`: compares what the services offer now with what `tandem.lock.json` says they promised.
 * Additions pass; removals and narrowings fail. `--write` makes today's contracts the promise.
 */
import { writeFileSync } from 'node:fs';
import { type ContractLock, lockName, lockPathOf, readLock } from '../app/contract-lock.ts';
import { breakingChanges } from '../contract/compatibility.ts';
import { brokenTopics } from '../contract/evolution.ts';
import { protoOf } from '../contract/proto-build.ts';
import { lockOf } from '../contract/proto-lock.ts';
import { TandemError } from '../core/errors.ts';
import { type Command, type Invocation, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings } from './config.ts';
import { inspectFiles } from './inspect.ts';

export const command: Command = {
  usage: ['contract check [FILE…] [--write]'],
  summary: `Compares the services' contracts with ${lockName}; exit code 1 when a caller of today would break.`,
  details:
    'Events are compared both ways, since they are stored: new code must read old events, and running code new ones (topic option compatibility: full,\n' +
    'backward, forward, none). Two services that say a topic differently are compared with each other. Services whose proto numbers are locked\n' +
    '(tandem gen proto) are compared in those too.\n' +
    'A break that is meant is a new contract beside the old one, such as inventory.v2, or a new topic.',
  flags: { write: { type: 'boolean', help: `Make today's contracts the promise (${lockName})` } },
  words: [1, 64],
  run: check,
};

async function check(invocation: Invocation): Promise<number> {
  const { terminal, flags } = invocation;
  const [verb, ...words] = invocation.words;
  if (verb !== 'check') throw new UsageError(`tandem contract does not know '${verb}'; it knows: check`);
  const settings = resolveSettings({ ...invocation, words }, await loadConfigFile(process.cwd()));
  if (settings.files.value.length === 0)
    throw new UsageError('tandem contract check needs a file: tandem contract check inventory.ts');
  const services = await inspectFiles(settings.files.value, settings.services);
  const path = lockPathOf(settings.files.value, process.cwd());
  const lock = readLock(path);
  const found = services.flatMap(({ name, descriptor }) => {
    const before = lock?.services[name];
    const numbers = lock?.proto?.[name];
    return [
      ...(before ? breakingChanges(before, descriptor) : []),
      ...(numbers ? protoOf(descriptor, numbers).breaks : []),
    ];
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
    const numbers = services.flatMap(({ name, descriptor }) => {
      const before = lock?.proto?.[name];
      return before ? [[name, lockOf(protoOf(descriptor, before).file, before)] as const] : [];
    });
    const proto = { ...lock?.proto, ...Object.fromEntries(numbers) };
    const next: ContractLock = {
      format: 1,
      services: { ...lock?.services, ...now },
      ...(lock?.proto && { proto }),
    };
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

/** `tandem gen`: files that others build from, made from the contracts. Each kind is one entry of `kinds`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { type ContractLock, lockName, lockPathOf, readLock } from '../app/contract-lock.ts';
import type { BreakingChange } from '../contract/compatibility.ts';
import { protoOf } from '../contract/proto-build.ts';
import { lockOf } from '../contract/proto-lock.ts';
import { protoText } from '../contract/proto-text.ts';
import { TandemError } from '../core/errors.ts';
import { type Command, type Invocation, text, UsageError } from './command.ts';
import { loadConfigFile, resolveSettings } from './config.ts';
import { type InspectedService, inspectFiles } from './inspect.ts';

interface Generated {
  /** By path: what each file should hold. */
  readonly files: ReadonlyMap<string, string>;
  readonly breaking: readonly BreakingChange[];
}
interface Kind {
  /** Directory that its files go to when none is named. */
  readonly out: string;
  generate(services: readonly InspectedService[], out: string, lockPath: string): Generated;
}

const kinds: Readonly<Record<string, Kind>> = { proto: { out: 'proto', generate: proto } };

export const command: Command = {
  usage: ['gen proto [FILE…] [--out DIR] [--check]'],
  summary: "Writes the services' contracts as .proto files, for gRPC clients in any language.",
  details:
    `Field numbers are kept in ${lockName}, beside the contracts: commit both. A field keeps its number for ever, and the number of one\n` +
    'that is gone is never given again. --check writes nothing: exit code 1 when a client of today would break, or when the files are not up to date.',
  examples: ['tandem gen proto inventory.ts --out proto', 'tandem gen proto inventory.ts --check'],
  flags: {
    out: { type: 'string', value: 'DIR', help: 'Directory for the files (default proto)' },
    check: { type: 'boolean', help: 'Write nothing; fail when something breaks or is not up to date' },
  },
  words: [1, 64],
  run: gen,
};

async function gen(invocation: Invocation): Promise<number> {
  const { terminal, flags } = invocation;
  const [name = '', ...words] = invocation.words;
  const kind = Object.hasOwn(kinds, name) ? kinds[name]! : undefined;
  if (!kind) throw new UsageError(`tandem gen does not know '${name}'; it knows: ${Object.keys(kinds).join(', ')}`);
  const settings = resolveSettings({ ...invocation, words }, await loadConfigFile(process.cwd()));
  const files = settings.files.value;
  if (files.length === 0) throw new UsageError(`tandem gen ${name} needs a file: tandem gen ${name} inventory.ts`);
  const services = await inspectFiles(files, settings.services);
  const lockPath = lockPathOf(files, process.cwd());
  const generated = kind.generate(services, text(flags, 'out') ?? kind.out, lockPath);
  const { breaking } = generated;
  if (generated.files.size === 0)
    throw new TandemError(
      'NOT_FOUND',
      `nothing in ${files.join(', ')} is public; give a method \`http\` or \`public: true\` (raw ones have no place in gRPC)`,
    );
  const stale = [...generated.files].filter(([path, content]) => contentOf(path) !== content).map(([path]) => path);
  const shown = (path: string): string => relative(process.cwd(), path) || path;
  if (!flags.check) {
    for (const path of stale) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, generated.files.get(path)!);
    }
  }
  if (flags.json) {
    const kept = [...generated.files.keys()].map(shown);
    terminal.out(JSON.stringify({ breaking, files: kept, [flags.check ? 'stale' : 'written']: stale.map(shown) }));
  } else {
    for (const { where, what } of breaking) terminal.out(`✗ ${where}: ${what}`);
    for (const path of stale) terminal.out(flags.check ? `✗ ${shown(path)} is not up to date` : `Wrote ${shown(path)}`);
    if (flags.check && stale.length > 0)
      terminal.out(`Run tandem gen ${name} ${files.join(' ')} and commit what it writes.`);
    if (stale.length === 0 && breaking.length === 0) terminal.out('Everything is up to date.');
    if (!flags.check && breaking.length > 0)
      terminal.out(
        'Clients of today break with what is marked ✗. A break that is meant is a new contract, such as inventory.v2.',
      );
  }
  return flags.check && breaking.length + stale.length > 0 ? 1 : 0;
}

function proto(services: readonly InspectedService[], out: string, lockPath: string): Generated {
  const lock = readLock(lockPath);
  const files = new Map<string, string>();
  const breaking: BreakingChange[] = [];
  const numbers = { ...lock?.proto };
  for (const { name, descriptor } of services) {
    const before = lock?.proto?.[name];
    const { file, breaks } = protoOf(descriptor, before);
    breaking.push(...breaks);
    if (file.methods.length === 0 && !before) continue;
    files.set(join(out, file.name), protoText(file));
    numbers[name] = lockOf(file, before);
  }
  const next: ContractLock = { format: 1, services: lock?.services ?? {}, proto: numbers };
  if (files.size > 0) files.set(lockPath, `${JSON.stringify(next, undefined, 2)}\n`);
  return { files, breaking };
}

function contentOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

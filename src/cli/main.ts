/** The command line: finds the command, parses its words, and turns what goes wrong into one clear line and an exit code. */

import { didYouMean } from '../contract/did-you-mean.ts';
import { catalogue, isSystemCode, TandemError, toErrorForm } from '../core/errors.ts';
import { helpOf, parse, UsageError } from './command.ts';
import { commands } from './commands.ts';
import { columns, processTerminal, type Terminal } from './terminal.ts';

/** Exit code: 0 done, 1 failed, 2 wrong usage; undefined when a role process now runs and ends by itself. */
export async function main(
  argv: readonly string[],
  given?: Terminal,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number | undefined> {
  const [name, ...args] = argv;
  if (name === 'role') {
    const { runRoleProcess } = await import('./role.ts');
    await runRoleProcess(args[0] ?? '');
    return undefined;
  }
  const terminal = given ?? processTerminal(name === 'up' || name === 'dev' || name === 'gateway');
  try {
    return await run(name, args, terminal, environment);
  } catch (thrown) {
    return failure(thrown, args.includes('--json'), terminal);
  }
}

async function run(
  name: string | undefined,
  args: readonly string[],
  terminal: Terminal,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  if (name === '--version' || name === '-v') {
    terminal.out(await version());
    return 0;
  }
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const about = commands.find(entry => entry.name === args[0]);
    terminal.out(about ? helpOf((await about.load()).command) : overview());
    return name === undefined ? 2 : 0;
  }
  const entry = commands.find(other => other.name === name);
  if (!entry) {
    const [near] = didYouMean(
      name,
      commands.map(other => other.name),
    );
    throw new UsageError(
      `there is no command '${name}'${near ? `; did you mean: tandem ${near}?` : ''}; see: tandem --help`,
    );
  }
  const { command } = await entry.load();
  const { words, flags } = parse(name, command, args);
  if (flags.help) {
    terminal.out(helpOf(command));
    return 0;
  }
  return command.run({ words, flags, terminal, environment });
}

function failure(thrown: unknown, json: boolean, terminal: Terminal): number {
  if (thrown instanceof UsageError) {
    if (json) terminal.out(JSON.stringify({ error: { code: 'USAGE', message: thrown.message } }));
    else terminal.say(`tandem: ${thrown.message}`);
    return 2;
  }
  const { code, message, declared, ...rest } = toErrorForm(thrown);
  if (json) terminal.out(JSON.stringify({ error: { code, message, ...rest, ...declared } }));
  else if (declared) {
    const data = declared.data === undefined ? '' : `: ${JSON.stringify(declared.data)}`;
    terminal.say(`tandem: the answer is the declared error ${code}${data}`);
  } else {
    terminal.say(`tandem: ${message}`);
    if (code === 'INTERNAL') terminal.say(stackOf(thrown));
    else if (isSystemCode(code) && !/[;:,]/.test(message)) terminal.say(catalogue[code].callerDoes);
  }
  return 1;
}

function stackOf(thrown: unknown): string {
  const cause = thrown instanceof TandemError ? thrown.cause : thrown;
  return cause instanceof Error ? (cause.stack ?? '') : '';
}

function overview(): string {
  return [
    'Tandem: a TypeScript app as a distributed system that looks like one computer.',
    '  tandem COMMAND [options]      tandem COMMAND --help',
    columns(
      commands.map(({ name, summary }) => [name, summary]),
      '  ',
    ),
    'First steps:\n  tandem init hello && cd hello && npm install\n  npx tandem dev hello.ts',
  ].join('\n\n');
}

async function version(): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What a command is: its flags as data, from which both parsing and the help text come, so that neither can lie. */
import { parseArgs } from 'node:util';
import { didYouMean } from '../contract/did-you-mean.ts';
import { columns, type Terminal } from './terminal.ts';

export interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What it means when it is given without a value. */
  readonly bare?: string;
  /** What stands for the value in the help: `DIR`. */
  readonly value?: string;
  readonly help: string;
}

export interface Invocation {
  readonly words: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
  readonly terminal: Terminal;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface Command {
  /** After `tandem`: `up FILE…`. */
  readonly usage: readonly string[];
  readonly summary: string;
  readonly details?: string;
  readonly examples?: readonly string[];
  readonly flags: Readonly<Record<string, Flag>>;
  /** Words it needs at least and takes at most. */
  readonly words: readonly [least: number, most: number];
  /** The exit code: 0 done, 1 failed. @throws UsageError (exit code 2), TandemError (1). */
  run(invocation: Invocation): Promise<number>;
}

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {}

export const common: Readonly<Record<string, Flag>> = {
  json: { type: 'boolean', help: 'Write the result, or the error, as one JSON value' },
  help: { type: 'boolean', short: 'h', help: 'Show this help' },
};
/** For commands that write as things happen, or more than fits in one value. */
export const jsonLines: Flag = { type: 'boolean', help: 'Write JSON, one object a line' };
export const dataFlag: Flag = { type: 'string', value: 'DIR', help: 'Data directory of the app (default .tandem)' };

export function parse(name: string, command: Command, args: readonly string[]): Pick<Invocation, 'words' | 'flags'> {
  const flags = flagsOf(command);
  const { values, positionals } = parsed(name, flags, args);
  if (values.help) return { words: positionals, flags: values };
  const [least, most] = command.words;
  if (positionals.length < least) throw new UsageError(`tandem ${name} needs more: tandem ${command.usage[0]}`);
  if (positionals.length > most) {
    throw new UsageError(`tandem ${name} does not take '${positionals[most]}': tandem ${command.usage[0]}`);
  }
  return { words: positionals, flags: values };
}

function flagsOf(command: Command): Readonly<Record<string, Flag>> {
  return { ...command.flags, ...common, ...command.flags };
}

/** `--inspect` is `--inspect=9229`, unless a number follows: then that is its value, as with any other flag. */
function withBareValues(flags: Readonly<Record<string, Flag>>, args: readonly string[]): string[] {
  const end = args.indexOf('--');
  return args.map((argument, at) => {
    const bare = argument.startsWith('--') ? flags[argument.slice(2)]?.bare : undefined;
    const given = bare === undefined || (end >= 0 && at > end) || /^\d+$/.test(args[at + 1] ?? '');
    return given ? argument : `${argument}=${bare}`;
  });
}

function parsed(
  name: string,
  flags: Readonly<Record<string, Flag>>,
  args: readonly string[],
): { readonly values: Invocation['flags']; readonly positionals: readonly string[] } {
  const options = Object.fromEntries(
    Object.entries(flags).map(([flag, { type, short, multiple }]) => [
      flag,
      { type, ...(short ? { short } : {}), ...(multiple ? { multiple } : {}) },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({
      args: withBareValues(flags, args),
      options,
      allowPositionals: true,
      strict: true,
    });
    return { values: values as Invocation['flags'], positionals };
  } catch (cause) {
    const unknown = /Unknown option '--?([^']+)'/.exec((cause as Error).message)?.[1];
    if (unknown === undefined)
      throw new UsageError(`${(cause as Error).message.split('. ')[0]}; see: tandem ${name} --help`);
    const [near] = didYouMean(unknown, Object.keys(flags));
    throw new UsageError(
      `tandem ${name} has no option --${unknown}${near ? `; did you mean --${near}?` : ''}; see: tandem ${name} --help`,
    );
  }
}

export function helpOf(command: Command): string {
  const flags = Object.entries(flagsOf(command)).map(([flag, { short, value, bare, help }]) => [
    `${short ? `-${short}, ` : ''}--${flag}${value ? (bare ? `[=${value}]` : ` ${value}`) : ''}`,
    help,
  ]);
  const parts = [command.summary, command.usage.map(usage => `  tandem ${usage}`).join('\n')];
  if (command.details) parts.push(command.details);
  parts.push(columns(flags, '  '));
  if (command.examples) parts.push(`Examples:\n${command.examples.map(example => `  ${example}`).join('\n')}`);
  return parts.join('\n\n');
}

export function text(flags: Invocation['flags'], name: string): string | undefined {
  const value = flags[name];
  return typeof value === 'string' ? value : undefined;
}

export function texts(flags: Invocation['flags'], name: string): readonly string[] {
  const value = flags[name];
  return Array.isArray(value) ? value : [];
}

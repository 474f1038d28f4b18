/** `tandem logs`: the records that the processes of an app wrote, merged by time; with --follow as they come. */
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { type Level, prettyLine } from '../monitoring/record.ts';
import { type Command, dataFlag, type Invocation, jsonLines, text, UsageError } from './command.ts';
import { dataPathOf } from './running-app.ts';
import type { Terminal } from './terminal.ts';

export const command: Command = {
  usage: ['logs [NAME] [--follow] [--tail N]'],
  summary:
    'Shows the records of all processes, or of those whose name begins with NAME (inventory, inventory-3, gateway).',
  flags: {
    data: dataFlag,
    follow: { type: 'boolean', short: 'f', help: 'Keep showing new ones until Ctrl-C' },
    tail: { type: 'string', short: 'n', value: 'N', help: 'How many old ones to show (default 100)' },
    json: jsonLines,
  },
  words: [0, 1],
  run: logs,
};

export interface RecordLine {
  readonly process: string;
  /** ISO time; empty for text that is no record, which keeps its place. */
  readonly time: string;
  readonly line: string;
}

async function logs({ words, flags, environment, terminal }: Invocation): Promise<number> {
  const tail = Number(text(flags, 'tail') ?? 100);
  if (!Number.isInteger(tail) || tail < 0)
    throw new UsageError(`--tail: '${String(flags.tail)}' is not a whole number`);
  const directory = join(await dataPathOf({ flags, environment }), 'records');
  if (!existsSync(directory))
    throw new TandemError(
      'NOT_FOUND',
      `there are no records in ${directory}; tandem up writes them, tandem dev shows them in its terminal`,
    );
  const name = words[0];
  const readers = new Map<string, () => RecordLine[]>();
  const fresh = (): RecordLine[] => {
    for (const file of readdirSync(directory)) {
      if (!file.endsWith('.ndjson') || file.endsWith('.1.ndjson') || !isOf(file, name)) continue;
      if (!readers.has(file)) readers.set(file, reader(join(directory, file), file.replace(/\.ndjson$/, '')));
    }
    return inOrder([...readers.values()].flatMap(read => read()));
  };
  const old = fresh();
  if (name !== undefined && readers.size === 0)
    throw new TandemError('NOT_FOUND', `no process is named '${name}'; tandem ps lists them`);
  show(terminal, tail === 0 ? [] : old.slice(-tail), flags.json === true);
  if (!flags.follow) return 0;
  const { watch } = await import('node:fs');
  const ended = Promise.withResolvers<number>();
  const watcher = watch(directory, () => show(terminal, fresh(), flags.json === true));
  process.once('SIGINT', () => ended.resolve(0));
  process.once('SIGTERM', () => ended.resolve(0));
  const code = await ended.promise;
  watcher.close();
  return code;
}

/** `inventory` names all its instances, `inventory-3` that one with all its lives; never `inventory-audit`. */
export function isOf(file: string, name: string | undefined): boolean {
  if (name === undefined) return true;
  const slot = file.replace(/\.ndjson$/, '').replace(/-[a-z0-9]+$/, '');
  return slot === name || slot.replace(/-\d+$/, '') === name;
}

/** By time; lines without one follow the record before them. */
export function inOrder(lines: readonly RecordLine[]): RecordLine[] {
  let last = '';
  const stamped = lines.map(line => {
    last = line.time || last;
    return { line, time: last };
  });
  return stamped.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0)).map(({ line }) => line);
}

/** Reads on from where it was; starts anew when the file was rotated. */
function reader(file: string, process: string): () => RecordLine[] {
  let at = 0;
  let rest: Buffer = Buffer.alloc(0);
  return () => {
    const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0;
    if (size < at) {
      at = 0;
      rest = Buffer.alloc(0);
    }
    if (size === at) return [];
    const buffer = Buffer.alloc(size - at);
    const descriptor = openSync(file, 'r');
    const length = readSync(descriptor, buffer, 0, buffer.length, at);
    closeSync(descriptor);
    at += length;
    const bytes = Buffer.concat([rest, buffer.subarray(0, length)]);
    // Up to the last whole line, in bytes: what was written so far may end within a character.
    const end = bytes.lastIndexOf(0x0a) + 1;
    rest = bytes.subarray(end);
    return bytes
      .toString('utf8', 0, end)
      .split('\n')
      .filter(line => line !== '')
      .map(line => ({ process, time: /^\{"time":"([^"]+)"/.exec(line)?.[1] ?? '', line }));
  };
}

function show(terminal: Terminal, lines: readonly RecordLine[], json: boolean): void {
  for (const { process, line } of lines) {
    if (json) terminal.out(isObject(line) ? line : JSON.stringify({ process, message: line }));
    else terminal.out(`${process.replace(/-[a-z0-9]+$/, '').padEnd(14)} ${pretty(line, terminal.color)}`);
  }
}

function isObject(line: string): boolean {
  try {
    return line.startsWith('{') && typeof JSON.parse(line) === 'object';
  } catch {
    return false;
  }
}

export function pretty(line: string, color: boolean): string {
  try {
    const { time, level, message, process: _, ...fields } = JSON.parse(line) as Record<string, unknown>;
    if (typeof time !== 'string' || typeof level !== 'string') return line;
    return prettyLine({ time, level: level as Level, message: String(message), fields }, color);
  } catch {
    return line;
  }
}

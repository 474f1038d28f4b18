/** Where a command writes and what it may assume of the reader. Results go to `out`, everything said on the way to `say`. */
import { wantsColor } from '../monitoring/logger.ts';

export interface Terminal {
  /** Results, for pipes: standard output. */
  out(text: string): void;
  /** Progress and notes, for people: standard error. */
  say(text: string): void;
  readonly interactive: boolean;
  readonly color: boolean;
  readonly columns: number;
}

/** A reader that left (`| head`) ends a command that only prints. An app that runs (`goesOn`) goes on, also when what it says finds no room. */
export function processTerminal(goesOn: boolean): Terminal {
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', (cause: NodeJS.ErrnoException) => {
      if (goesOn) return;
      if (cause.code !== 'EPIPE') throw cause;
      process.exit(0);
    });
  }
  return {
    out: text => void process.stdout.write(`${text}\n`),
    say: text => void process.stderr.write(`${text}\n`),
    interactive: process.stderr.isTTY === true && process.env.TERM !== 'dumb' && !process.env.CI,
    color: wantsColor(process.env, process.stdout.isTTY === true),
    columns: process.stdout.columns ?? 80,
  };
}

const codes = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36' } as const;

export function paint(terminal: Terminal, style: keyof typeof codes, text: string): string {
  return terminal.color ? `\u001b[${codes[style]}m${text}\u001b[0m` : text;
}

/** Columns of text, each as wide as its widest cell. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string {
  const most = Math.max(0, ...rows.map(row => row.length));
  const widths = Array.from({ length: most }, (_, i) => Math.max(...rows.map(row => row[i]?.length ?? 0)));
  return rows.map(row => (indent + row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')).trimEnd()).join('\n');
}

/** Bytes as people read them. */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1_048_576) return `${Math.round(bytes / 1024)} KiB`;
  return `${(bytes / 1_048_576).toFixed(1)} MiB`;
}

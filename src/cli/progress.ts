/** What is seen while an app starts: one line a role, redrawn in place on a terminal, written once when it is ready elsewhere. */
import type { StoryEvent } from '../recovery/supervisor.ts';
import { paint, type Terminal } from './terminal.ts';

export interface Progress {
  onEvent(event: StoryEvent): void;
  /** Ends it; from now on lines may follow. */
  end(): void;
}

interface Row {
  readonly name: string;
  readonly wanted: number;
  ready: Set<string>;
  note: string;
  done: boolean;
}

export function openProgress(
  terminal: Terminal,
  specs: readonly { readonly name: string; readonly instances: number }[],
  write: (text: string) => void = text => void process.stderr.write(text),
): Progress {
  const rows: Row[] = specs.map(({ name, instances }) => ({
    name,
    wanted: instances,
    ready: new Set(),
    note: '',
    done: false,
  }));
  const width = Math.max(...rows.map(row => row.name.length), 0);
  let drawn = 0;

  const line = (row: Row): string => {
    const count = row.wanted > 1 ? ` ${row.ready.size}/${row.wanted}` : '';
    const mark = row.done ? paint(terminal, 'green', '✓') : row.note ? paint(terminal, 'yellow', '!') : '·';
    const text = `  ${mark} ${row.name.padEnd(width)}${count}${row.note ? `  ${row.note}` : ''}`;
    // One row each, to be redrawn in place; elsewhere nothing is lost.
    return terminal.interactive ? text.slice(0, terminal.columns + 20) : text;
  };
  const draw = (): void => {
    if (!terminal.interactive) return;
    const up = drawn > 0 ? `\u001b[${drawn}A` : '';
    write(up + rows.map(row => `\r\u001b[2K${line(row)}\n`).join(''));
    drawn = rows.length;
  };
  draw();

  return {
    onEvent(event) {
      const row = rows.find(({ name }) => event.name === name || event.name.replace(/-\d+$/, '') === name);
      if (!row) return;
      if (event.kind === 'ready' || event.kind === 'adopted') {
        row.ready.add(event.name);
        row.done = row.ready.size >= row.wanted;
        row.note = event.kind === 'adopted' ? 'still ran, taken over' : '';
        if (row.done && !terminal.interactive) terminal.say(line(row).trimEnd());
      } else if (['exited', 'condemned', 'restarting', 'gave-up'].includes(event.kind)) {
        row.ready.delete(event.name);
        row.done = false;
        row.note = row.wanted > 1 ? `${event.name}: ${event.message}` : event.message;
        if (!terminal.interactive) terminal.say(line(row));
      }
      draw();
    },
    end() {
      drawn = 0;
    },
  };
}

/** What is told of a backup while it is written or restored, and at the end. */
import type { BackupSummary } from '../backup/take.ts';
import { isoTime } from '../core/clock.ts';
import { size, type Terminal } from './terminal.ts';

export interface BackupProgress {
  readonly tell: (done: { readonly logs: number; readonly of: number; readonly bytes: number }) => void;
  end(): void;
}

/** One line that is written over, on a terminal; nothing elsewhere. */
export function openBackupProgress(terminal: Terminal, json: boolean): BackupProgress {
  if (json || !terminal.interactive) return { tell: () => {}, end: () => {} };
  return {
    tell: ({ logs, of, bytes }) => void process.stderr.write(`\r  ${logs} of ${of} logs, ${size(bytes)} `),
    end: () => void process.stderr.write('\r\u001b[K'),
  };
}

export function tellSummary(
  terminal: Terminal,
  json: boolean,
  did: string,
  path: string,
  summary: BackupSummary,
): void {
  const { takenAt, logs, entries, blobs, bytes } = summary;
  if (json) terminal.out(JSON.stringify(summaryForm(path, summary)));
  else
    terminal.out(
      `${did}: ${path}, of ${isoTime(takenAt)}: ${logs} logs, ${entries} entries, ${blobs} blobs, ${size(bytes)}.`,
    );
}

export function summaryForm(path: string, { takenAt, logs, entries, blobs, bytes }: BackupSummary): object {
  return { path, takenAt: isoTime(takenAt), logs, entries, blobs, bytes };
}

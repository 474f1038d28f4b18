/**
 * Where processes write their records: `<directory>/<process id>.ndjson`, appended to by the process itself. Bounded:
 * a file that grew too long is copied to `.1.ndjson` and cut (its writer appends, so it goes on at the new end; records
 * of that millisecond may be lost), and only the newest files of each name are kept.
 */
import {
  closeSync,
  copyFileSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { join } from 'node:path';

export const recordLimits = {
  /** One file, before it is rotated. */
  fileBytesMax: 16_777_216,
  /** Former lives of one name (`inventory-3`) whose records are kept. */
  livesMax: 5,
  lastWordsBytes: 4096,
} as const;

export interface RecordFiles {
  readonly directory: string;
  /** A descriptor to append to; the opener closes it. @throws what the file system says, such as ENOSPC. */
  open(id: string): number;
  /** The end of what the process wrote. */
  lastWords(id: string): string | undefined;
  /** Rotates what grew too long. Call it now and then. */
  rotate(): void;
  /** Removes the records of lives beyond `livesMax`, except of those that `live` names. */
  prune(live: ReadonlySet<string>): void;
}

export function openRecordFiles(directory: string): RecordFiles {
  mkdirSync(directory, { recursive: true });
  const path = (id: string): string => join(directory, `${id}.ndjson`);
  return {
    directory,
    open: id => openSync(path(id), 'a', 0o600),
    lastWords: id => tail(path(id), recordLimits.lastWordsBytes),
    rotate() {
      for (const name of readdirSync(directory)) {
        if (name.endsWith('.1.ndjson')) continue;
        const file = join(directory, name);
        if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= recordLimits.fileBytesMax) continue;
        copyFileSync(file, file.replace(/\.ndjson$/, '.1.ndjson'));
        truncateSync(file, 0);
      }
    },
    prune(live) {
      for (const id of superseded(directory, live)) {
        rmSync(path(id), { force: true });
        rmSync(join(directory, `${id}.1.ndjson`), { force: true });
      }
    },
  };
}

function superseded(directory: string, live: ReadonlySet<string>): string[] {
  const lives = new Map<string, { id: string; at: number }[]>();
  for (const name of readdirSync(directory)) {
    const id = /^(.+?)(?:\.1)?\.ndjson$/.exec(name)?.[1];
    if (id === undefined || live.has(id) || name.endsWith('.1.ndjson')) continue;
    const slot = id.slice(0, id.lastIndexOf('-'));
    const at = statSync(join(directory, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    lives.set(slot, [...(lives.get(slot) ?? []), { id, at }]);
  }
  return [...lives.values()].flatMap(all =>
    all
      .sort((a, b) => b.at - a.at)
      .slice(recordLimits.livesMax)
      .map(life => life.id),
  );
}

function tail(file: string, bytes: number): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch {
    return undefined;
  }
  try {
    const { size } = fstatSync(descriptor);
    const from = Math.max(0, size - bytes);
    const buffer = Buffer.alloc(size - from);
    readSync(descriptor, buffer, 0, buffer.length, from);
    return buffer.toString('utf8').trim() || undefined;
  } finally {
    closeSync(descriptor);
  }
}

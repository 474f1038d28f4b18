/** The data directory: what marks one, what must not be touched, and how a newer format or a foreign directory is refused. */

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { secretText } from '../core/random.ts';

const markName = 'tandem.json';
/** The mark while it is written: a crash or a full disk leaves no half of one. */
const draftName = 'tandem.json.new';
const format = 1;
/** What a restore writes until it is whole. */
export const restoringName = 'engine.restoring';

export interface DataDirectory {
  readonly path: string;
  /** Signs session tokens; made once, so that tokens survive a restart. */
  readonly secret: string;
}

/** Opens or creates it. @throws CONFIG when it cannot be written or holds something else, UNSUPPORTED when a newer Tandem wrote it, CORRUPT when its mark is damaged. */
export function openDataDirectory(directory: string): DataDirectory {
  const path = resolve(directory);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const mark = readMark(path);
    accessSync(path, constants.W_OK);
    if (mark) return { path, secret: mark.secret };
    if (isForeign(path)) throw notOurs(path);
    return { path, secret: writeMark(path) };
  } catch (cause) {
    if (cause instanceof TandemError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new TandemError(
      'CONFIG',
      `the data directory ${path} cannot be used: ${reasons[code ?? ''] ?? message}; mend that, or name another with --data`,
      { cause },
    );
  }
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'it cannot be written',
  EROFS: 'it cannot be written',
  // What Node's recursive mkdir says below a read-only place.
  ENOENT: 'it cannot be made there',
  EPERM: 'it cannot be written',
  ENOSPC: 'its disk is full',
  EDQUOT: 'its disk is full',
  ENOTDIR: 'a part of the path is a file, not a directory',
  EEXIST: 'it is a file, not a directory',
};

/** @throws CONFIG where a restore was cut off: an app that began there would look like one that has lost everything. */
export function refuseHalfRestore(path: string): void {
  if (!existsSync(join(path, restoringName))) return;
  throw new TandemError(
    'CONFIG',
    `a restore into ${path} did not come to its end; run the same tandem restore again, or remove ${join(path, restoringName)} to begin without data`,
  );
}

/** Removes all data, and the mark with it: tokens of what is gone must not be believed. @throws CONFIG when it is not a Tandem data directory: nothing is removed then. */
export function emptyDataDirectory(directory: string): void {
  const path = resolve(directory);
  if (!existsSync(path)) return;
  if (!readMark(path) && isForeign(path)) throw notOurs(path);
  // The directory itself stays: whoever holds its lock keeps it.
  for (const name of readdirSync(path)) rmSync(join(path, name), { recursive: true, force: true });
}

function writeMark(path: string): string {
  const secret = secretText(24);
  const draft = join(path, draftName);
  try {
    const descriptor = openSync(draft, 'w', 0o600);
    try {
      writeSync(descriptor, `${JSON.stringify({ format, secret })}\n`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, join(path, markName));
  } catch (cause) {
    rmSync(draft, { force: true });
    throw cause;
  }
  return secret;
}

function readMark(path: string): { secret: string } | undefined {
  const file = join(path, markName);
  if (!existsSync(file)) return undefined;
  let mark: { format?: unknown; secret: string };
  try {
    mark = JSON.parse(readFileSync(file, 'utf8')) as { format?: unknown; secret: string };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new TandemError('CORRUPT', `${file} is damaged; restore it from a backup, or name another with --data`, {
      cause,
    });
  }
  if (mark.format === format) return mark;
  throw new TandemError(
    'UNSUPPORTED',
    `the data in ${path} has format ${String(mark.format)}, this Tandem knows ${format}; use the newer version that wrote it`,
  );
}

function isForeign(path: string): boolean {
  return readdirSync(path).some(name => name !== draftName);
}

function notOurs(path: string): TandemError {
  return new TandemError('CONFIG', `${path} is not empty and not a Tandem data directory; name another with --data`);
}

/** The data directory: what marks one, what must not be touched, and how a newer format or a foreign directory is refused. */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { secretText } from '../core/random.ts';

const markName = 'tandem.json';
const format = 1;

export interface DataDirectory {
  readonly path: string;
  /** Signs session tokens; made once, so that tokens survive a restart. */
  readonly secret: string;
}

/** Opens or creates it. @throws CONFIG when it cannot be written or holds something else, UNSUPPORTED when a newer Tandem wrote it. */
export function openDataDirectory(directory: string): DataDirectory {
  const path = resolve(directory);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const mark = readMark(path);
    if (mark) return { path, secret: mark.secret };
    if (readdirSync(path).length > 0) throw notOurs(path);
    const secret = secretText(24);
    writeFileSync(join(path, markName), `${JSON.stringify({ format, secret })}\n`, { mode: 0o600, flag: 'wx' });
    return { path, secret };
  } catch (cause) {
    if (cause instanceof TandemError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const why =
      code === 'EACCES' || code === 'EROFS' || code === 'EPERM'
        ? 'it cannot be written'
        : code === 'ENOSPC'
          ? 'its disk is full'
          : message;
    throw new TandemError(
      'CONFIG',
      `the data directory ${path} cannot be used: ${why}; mend that, or name another with --data`,
      { cause },
    );
  }
}

/** Removes it with all data. @throws CONFIG when it is not a Tandem data directory: nothing is removed then. */
export function removeDataDirectory(directory: string): void {
  const path = resolve(directory);
  if (!existsSync(path)) return;
  if (!readMark(path) && readdirSync(path).length > 0) throw notOurs(path);
  rmSync(path, { recursive: true, force: true });
}

function readMark(path: string): { secret: string } | undefined {
  const file = join(path, markName);
  if (!existsSync(file)) return undefined;
  const mark = JSON.parse(readFileSync(file, 'utf8')) as { format?: unknown; secret: string };
  if (mark.format === format) return mark;
  throw new TandemError(
    'UNSUPPORTED',
    `the data in ${path} has format ${String(mark.format)}, this Tandem knows ${format}; use the newer version that wrote it`,
  );
}

function notOurs(path: string): TandemError {
  return new TandemError('CONFIG', `${path} is not empty and not a Tandem data directory; name another with --data`);
}

/**
 * `tandem.lock.json`: what the contracts promised, kept beside them under version control. The file that counts is the nearest one, from
 * a service's own directory upwards; its proto numbers go into what the instances publish, so it must be there when they start.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import type { Descriptor } from '../contract/descriptor.ts';
import type { ProtoLock } from '../contract/proto-lock.ts';
import { TandemError } from '../core/errors.ts';

export const lockName = 'tandem.lock.json';

export interface ContractLock {
  readonly format: 1;
  readonly services: Readonly<Record<string, Descriptor>>;
  /** Field numbers by service. */
  readonly proto?: Readonly<Record<string, ProtoLock>>;
}

/** The lock of a service file; undefined where there is none. */
export function findLock(file: string): string | undefined {
  for (let directory = dirname(resolve(file)); ; directory = dirname(directory)) {
    const path = join(directory, lockName);
    if (existsSync(path)) return path;
    if (directory === dirname(directory)) return undefined;
  }
}

/** The one lock of several files, there or yet to be made: where the command runs if that is above them all, else beside the first. @throws CONFLICT. */
export function lockPathOf(files: readonly string[], workingDirectory: string): string {
  const found = new Set(files.map(findLock));
  if (found.size > 1) {
    const names = [...found].map(path => path ?? 'none').join(', ');
    throw new TandemError(
      'CONFLICT',
      `these files have different lock files (${names}); take them one after the other`,
    );
  }
  const [path] = found;
  if (path !== undefined) return path;
  const below = files.every(file => !relative(workingDirectory, resolve(file)).startsWith('..'));
  return join(below ? workingDirectory : dirname(resolve(files[0] ?? '.')), lockName);
}

/** @throws CORRUPT when it is not JSON, UNSUPPORTED when another version wrote it. */
export function readLock(path: string): ContractLock | undefined {
  if (!existsSync(path)) return undefined;
  let lock: ContractLock;
  try {
    lock = JSON.parse(readFileSync(path, 'utf8')) as ContractLock;
  } catch (cause) {
    throw new TandemError('CORRUPT', `${path} is not JSON; restore it from version control`, { cause });
  }
  if (lock.format === 1) return lock;
  throw new TandemError(
    'UNSUPPORTED',
    `${path} has format ${String(lock.format)}, this Tandem knows 1; use the version that wrote it`,
  );
}

/** The proto numbers of a service that this file defines; undefined when nobody has locked any. */
export function protoLockOf(file: string, service: string): ProtoLock | undefined {
  const path = findLock(file);
  const proto = path === undefined ? undefined : readLock(path)?.proto;
  return proto && Object.hasOwn(proto, service) ? proto[service] : undefined;
}

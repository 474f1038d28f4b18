/**
 * Loads a service file. A file exports one service (default) or several (named); whatever goes wrong here is the
 * author's to mend, so each error names the file and the mend.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Service } from '../contract/contract.ts';
import { TandemError } from '../core/errors.ts';
import { failurePlace } from './failure-place.ts';

/** @throws CONFIG when the file is missing, throws while it loads, or exports no service. */
export async function loadServices(file: string): Promise<Service[]> {
  const path = resolve(file);
  if (!existsSync(path)) {
    throw new TandemError('CONFIG', `${file} does not exist; give the path of a file that exports a service`);
  }
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TandemError('CONFIG', `${file} could not be loaded: ${reason}${failurePlace(cause, path)}`, { cause });
  }
  const services = [...new Set(Object.values(exported).flat())].filter(isService);
  if (services.length === 0) {
    throw new TandemError(
      'CONFIG',
      `${file} exports no service; end it with: export default theContract.implement({ methods: { … } })`,
    );
  }
  return services;
}

/** All services of several files. @throws CONFIG when two files define one service name. */
export async function loadFiles(
  files: readonly string[],
): Promise<{ readonly file: string; readonly service: Service }[]> {
  const found: { file: string; service: Service }[] = [];
  for (const file of files) {
    for (const service of await loadServices(file)) {
      const twin = found.find(other => other.service.contract.name === service.contract.name);
      if (twin) {
        throw new TandemError(
          'CONFIG',
          `two services are named '${service.contract.name}': in ${twin.file} and in ${file}; rename one contract`,
        );
      }
      found.push({ file, service });
    }
  }
  return found;
}

function isService(value: unknown): value is Service {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === 'service';
}

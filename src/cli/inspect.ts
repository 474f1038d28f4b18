/**
 * What the given files define, found out in a process of its own: the supervisor must outlive everything, so no user
 * code ever runs in it, not even the top level of a module.
 */
import { spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import type { Descriptor } from '../contract/descriptor.ts';
import { systemClock, type Timer } from '../core/clock.ts';
import { isSystemCode, TandemError } from '../core/errors.ts';
import { inheritedArguments, ownScript } from './own-script.ts';

const loadTimeoutMs = 30_000;

/** One value of a service's config, as `doctor` shows it. */
export interface ServiceConfig {
  readonly name: string;
  readonly variable: string;
  readonly value: string;
  readonly source: string;
}

export interface InspectedService {
  readonly file: string;
  readonly name: string;
  /** `GET /hello/:name`, in the order of the contract. */
  readonly routes: readonly string[];
  readonly config: readonly ServiceConfig[];
  readonly descriptor: Descriptor;
}

/** What no process is needed for. @throws CONFIG for a file that is missing or is a directory. */
export function checkFiles(files: readonly string[]): void {
  for (const file of files) {
    const found = statSync(file, { throwIfNoEntry: false });
    if (!found) {
      throw new TandemError('CONFIG', `${file} does not exist; give the path of a file that exports a service`);
    }
    if (found.isDirectory()) {
      throw new TandemError('CONFIG', `${file} is a directory; give the files in it that export services`);
    }
  }
}

/** In the child: everything goes back as one message. */
export async function inspectInChild(settings: {
  readonly files: readonly string[];
  readonly services?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}): Promise<{ info: Record<string, string>; close(): Promise<void> }> {
  // Top-level code may keep this process awake; without a parent nobody would end it.
  process.once('disconnect', () => process.exit(1));
  const { loadFiles } = await import('../app/load.ts');
  const { describeConfig } = await import('../app/config.ts');
  const { describeService } = await import('../contract/describe.ts');
  const found = await loadFiles(settings.files);
  const services: InspectedService[] = found.map(({ file, service }) => ({
    file,
    name: service.contract.name,
    descriptor: describeService(service),
    routes: Object.values(service.contract.methods as Record<string, { http?: string }>).flatMap(
      ({ http }) => http ?? [],
    ),
    config: describeConfig(service, settings.services?.[service.contract.name] ?? {}, process.env).map(entry => ({
      ...entry,
      value: entry.value === undefined ? '' : String(entry.value),
    })),
  }));
  return { info: { services: JSON.stringify(services) }, close: async () => {} };
}

/** @throws CONFIG as `loadFiles` does, or when the files end the process that loads them. */
export async function inspectFiles(
  files: readonly string[],
  services: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): Promise<readonly InspectedService[]> {
  checkFiles(files);
  const child = spawn(process.execPath, [...inheritedArguments(process.execArgv), ...ownScript(), 'role', 'inspect'], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { ...process.env, TANDEM_ROLE_SETTINGS: JSON.stringify({ files, services }) },
  });
  let late: Timer | undefined;
  const found = new Promise<readonly InspectedService[]>((resolve, reject) => {
    late = systemClock.after(loadTimeoutMs, () => {
      const seconds = loadTimeoutMs / 1000;
      reject(
        new TandemError(
          'CONFIG',
          `${files.join(', ')} did not load within ${seconds} s; open what takes long in resources, not at the top of the file`,
        ),
      );
    });
    child.once('message', (report: { kind: string; info?: { services: string }; code?: string; message?: string }) => {
      if (report.kind === 'ready') resolve(JSON.parse(report.info!.services) as InspectedService[]);
      else
        reject(
          new TandemError(isSystemCode(report.code ?? '') ? (report.code as 'CONFIG') : 'CONFIG', report.message ?? ''),
        );
    });
    child.once('error', cause =>
      reject(new TandemError('CONFIG', `cannot start a process: ${cause.message}`, { cause })),
    );
    child.once('exit', code => {
      reject(
        new TandemError(
          'CONFIG',
          `${files.join(', ')} ended the process that loaded it (exit code ${code}); a service file only exports, it does not exit`,
        ),
      );
    });
  });
  try {
    return await found;
  } finally {
    late?.cancel();
    child.kill('SIGKILL');
  }
}

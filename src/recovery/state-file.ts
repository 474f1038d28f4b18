/**
 * `<data>/supervisor.json`: what the next supervisor needs to take over, and what commands (`ps`, `scale`, `call`) need
 * to find a running app. Written whole or not at all (a rename), readable by its owner only: it holds the dashboard's token.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { TandemError } from '../core/errors.ts';
import type { Role } from '../failure-detection/beat.ts';

export interface SavedProcess {
  /** The slot: `inventory-3`. */
  readonly name: string;
  readonly spec: string;
  readonly index: number;
  readonly role: Role;
  readonly id: string;
  readonly pid: number;
  readonly birth: string;
  /** Wall time, ms. */
  readonly startedAt: number;
  readonly ready: boolean;
  readonly info: Readonly<Record<string, string>>;
}

export interface SupervisorState {
  readonly format: 1;
  readonly supervisor: { readonly pid: number; readonly birth: string };
  readonly startedAt: number;
  /** Wanted processes by spec name, as last scaled. */
  readonly wanted: Readonly<Record<string, number>>;
  readonly processes: readonly SavedProcess[];
  /** What the opener wants kept: addresses, URLs, the token. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export interface StateStore {
  /** @throws UNSUPPORTED when a newer Tandem wrote it, CORRUPT when it is not readable. */
  load(): SupervisorState | undefined;
  save(state: SupervisorState): void;
}

export function stateFile(path: string): StateStore {
  return {
    load: () => parseState(path, textOf(path)),
    save(state) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(`${path}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
  };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TandemError('CONFIG', `${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function parseState(path: string, text: string | undefined): SupervisorState | undefined {
  if (text === undefined) return undefined;
  let state: SupervisorState;
  try {
    state = JSON.parse(text) as SupervisorState;
  } catch (cause) {
    throw new TandemError(
      'CORRUPT',
      `${path} is not JSON; stop what still runs from it (ps aux | grep 'role engine'), then delete the file: no data is in it`,
      { cause },
    );
  }
  if (state.format === 1 && Array.isArray(state.processes)) return state;
  throw new TandemError(
    'UNSUPPORTED',
    `${path} has format ${String(state.format)}, this Tandem knows format 1; use the version that wrote it`,
  );
}

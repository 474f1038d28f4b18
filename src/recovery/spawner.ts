/**
 * How the supervisor gets at processes: starting one, taking over one that still runs from a former supervisor, and the
 * few things that can be done to it. The supervisor decides; implementations (node-spawner.ts, fakes in tests) only do.
 */
import type { Role } from '../failure-detection/beat.ts';

/** What a process says of itself over its channel. */
export type ProcessReport =
  | { readonly kind: 'ready'; readonly info: Readonly<Record<string, string>> }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** Why it could not even be started, or the last words that it wrote. */
  readonly words?: string | undefined;
}

export interface SpawnOrder {
  readonly id: string;
  readonly role: Role;
  /** Plain JSON. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface RunningProcess {
  readonly pid: number;
  /** Of process-birth.ts; empty when it could not be started. */
  readonly birth: string;
  /** Asks it to finish what it has and end within `graceMs`. */
  stop(graceMs: number): void;
  /** Ends it now (SIGKILL), also when it is stopped or stuck. */
  kill(): void;
  onReport(listener: (report: ProcessReport) => void): void;
  /** Fires once, when the process is gone and reaped. */
  onExit(listener: (exit: ProcessExit) => void): void;
}

export interface Spawner {
  spawn(order: SpawnOrder): RunningProcess;
  /** The process, when it still runs and is the one that was born then; else undefined. */
  adopt(pid: number, birth: string, id: string): RunningProcess | undefined;
}

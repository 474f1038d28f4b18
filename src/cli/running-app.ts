/** Finds the app that runs in a data directory, by the state file of its supervisor. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { processBirth } from '../recovery/process-birth.ts';
import { type StateStore, type SupervisorState, stateFile } from '../recovery/state-file.ts';
import { type Invocation, text } from './command.ts';

export interface RunningApp {
  readonly dataPath: string;
  readonly state: SupervisorState;
  /** Where its supervisor answers; undefined when that is dead. */
  readonly control: string | undefined;
}

export function dataPathOf(invocation: Pick<Invocation, 'flags' | 'environment'>): string {
  return resolve(text(invocation.flags, 'data') ?? (invocation.environment.TANDEM_DATA || '.tandem'));
}

export function stateStore(dataPath: string): StateStore {
  return stateFile(join(dataPath, 'supervisor.json'));
}

/** Whether the supervisor that wrote this state still runs. */
export function supervisorLives(state: SupervisorState): boolean {
  return state.supervisor.birth !== '' && processBirth(state.supervisor.pid) === state.supervisor.birth;
}

/** @throws NOT_FOUND when nothing runs there. */
export function findApp(dataPath: string): RunningApp {
  const state = existsSync(dataPath) ? stateStore(dataPath).load() : undefined;
  const lives = state !== undefined && supervisorLives(state);
  const left = state?.processes.filter(({ pid, birth }) => processBirth(pid) === birth) ?? [];
  if (!state || (!lives && left.length === 0)) {
    throw new TandemError(
      'NOT_FOUND',
      `no app runs with the data in ${dataPath}; start one with tandem up, or name its directory with --data`,
    );
  }
  const control = state.facts.control;
  return {
    dataPath,
    state: { ...state, processes: left },
    control: lives && typeof control === 'string' ? control : undefined,
  };
}

/** @throws UNAVAILABLE when the processes run but their supervisor does not. */
export function controlOf(app: RunningApp): string {
  if (app.control) return app.control;
  throw new TandemError(
    'UNAVAILABLE',
    `the app runs, but its supervisor (pid ${app.state.supervisor.pid}) does not answer; run the same tandem up again: it takes over what runs`,
  );
}

/** Finds the app that runs in a data directory, by the state file of its supervisor. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TandemError } from '../core/errors.ts';
import { nodeDisk } from '../log/node-disk.ts';
import { processBirth } from '../recovery/process-birth.ts';
import { type StateStore, type SupervisorState, stateFile } from '../recovery/state-file.ts';
import { type Invocation, text } from './command.ts';
import { loadConfigFile } from './config.ts';

export interface RunningApp {
  readonly dataPath: string;
  readonly state: SupervisorState;
  /** Where its supervisor answers; undefined when that is dead, or of `tandem dev` while its app does not run. */
  readonly control: string | undefined;
  /** Whether it is one of `tandem dev`. */
  readonly dev: boolean;
}

/** As `tandem up` here would choose it. @throws CONFIG when the config file cannot be loaded. */
export async function dataPathOf({ flags, environment }: Pick<Invocation, 'flags' | 'environment'>): Promise<string> {
  const given = text(flags, 'data') ?? (environment.TANDEM_DATA || undefined);
  return resolve(given ?? (await loadConfigFile(process.cwd()))?.data ?? '.tandem');
}

export function stateStore(dataPath: string): StateStore {
  return stateFile(join(dataPath, 'supervisor.json'));
}

/** Whether the supervisor that wrote this state still runs. */
export function supervisorLives(state: SupervisorState): boolean {
  return state.supervisor.birth !== '' && processBirth(state.supervisor.pid) === state.supervisor.birth;
}

/** Whether any of its processes still runs, with or without it. */
export function stillRuns(state: SupervisorState): boolean {
  return state.processes.some(({ pid, birth }) => processBirth(pid) === birth);
}

/** @throws NOT_FOUND when nothing runs there. */
export function findApp(dataPath: string): RunningApp {
  const state = existsSync(dataPath) ? stateStore(dataPath).load() : undefined;
  const lives = state !== undefined && supervisorLives(state);
  const left = state?.processes.filter(({ pid, birth }) => processBirth(pid) === birth) ?? [];
  if (!state || (!lives && left.length === 0)) {
    throw new TandemError(
      'NOT_FOUND',
      `no app runs with the data in ${dataPath}; start one with tandem up or tandem dev, or name its directory with --data`,
    );
  }
  const control = state.facts.control;
  return {
    dataPath,
    state: { ...state, processes: left },
    control: lives && typeof control === 'string' ? control : undefined,
    dev: isDev(state),
  };
}

function isDev(state: SupervisorState): boolean {
  return state.facts.dev === true;
}

/** Why an app without a control link does not answer, and what to do. */
export function silenceOf({ state, dev }: RunningApp): string {
  const { pid } = state.supervisor;
  if (!dev)
    return `the app runs, but its supervisor (pid ${pid}) does not answer; run the same tandem up again: it takes over what runs`;
  return supervisorLives(state)
    ? `tandem dev (pid ${pid}) runs, but its app does not: it starts, or waits until a file is mended; look at its terminal`
    : 'tandem dev is gone, but its app still runs; end it with tandem stop';
}

/** @throws UNAVAILABLE when there is none. */
export function controlOf(app: RunningApp): string {
  if (app.control) return app.control;
  throw new TandemError('UNAVAILABLE', silenceOf(app));
}

/** Keeps every other app off the data until it is released. @throws CONFLICT that says who has it and what to do. */
export async function takeData(
  dataPath: string,
): Promise<{ readonly former: SupervisorState | undefined; release(): Promise<void> }> {
  const inUse = (who: string): TandemError =>
    new TandemError('CONFLICT', `${who} the data in ${dataPath}; end it, or name another directory with --data`);
  const former = stateStore(dataPath).load();
  if (former && supervisorLives(former)) {
    const which = isDev(former) ? 'dev' : 'up';
    throw inUse(
      `another tandem ${which} (pid ${former.supervisor.pid}; see tandem ps, ends with tandem stop) runs with`,
    );
  }
  if (former && isDev(former) && stillRuns(former)) throw inUse('tandem dev is gone, but its app still runs with');
  const lock = await nodeDisk.lock(dataPath).catch((cause: unknown) => {
    const { code, details } = TandemError.from(cause);
    if (code !== 'CONFLICT') throw cause;
    const pid = details?.['pid'];
    throw inUse(`another tandem up or tandem dev${pid === undefined ? '' : ` (pid ${pid})`} has`);
  });
  return { former, release: () => lock.release() };
}

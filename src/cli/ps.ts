/** `tandem ps`: the processes of a running app, also when its supervisor is dead. */

import { systemClock } from '../core/clock.ts';
import { type Command, dataFlag, type Invocation } from './command.ts';
import { ask } from './control.ts';
import { dataPathOf, findApp, silenceOf, supervisorLives } from './running-app.ts';
import { columns } from './terminal.ts';

export const command: Command = {
  usage: ['ps [--data DIR]'],
  summary: 'Lists the processes of a running app: state, pid, age, restarts and where they listen.',
  flags: { data: dataFlag },
  words: [0, 0],
  run: ps,
};

interface Row {
  readonly name: string;
  readonly state: string;
  readonly pid: number | undefined;
  readonly startedAt: number;
  readonly restarts: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly address: string | undefined;
  readonly failure: string | undefined;
  /** Of one that was given up: when it is tried again (wall time, ms). */
  readonly nextTryAt: number | undefined;
}

async function ps({ flags, environment, terminal }: Invocation): Promise<number> {
  const app = findApp(await dataPathOf({ flags, environment }));
  const { residentBytes } = await import('./resident.ts');
  const shown = app.control ? (await ask(app.control, '$ps', null, 5000)).processes : undefined;
  const rows: Row[] = shown
    ? shown.map(({ name, state, pid, startedAt, restarts, info, failure, nextTryAt }) =>
        row(name, state, pid, startedAt, restarts, info, failure, nextTryAt),
      )
    : app.state.processes.map(({ name, ready, pid, startedAt, info }) =>
        row(name, ready ? 'ready' : 'starting', pid, startedAt, undefined, info, undefined, undefined),
      );
  if (flags.json) {
    const { gatewayUrl, dashboardUrl } = app.state.facts;
    const supervisor = { pid: app.state.supervisor.pid, running: supervisorLives(app.state) };
    terminal.out(JSON.stringify({ data: app.dataPath, gatewayUrl, dashboardUrl, supervisor, processes: rows }));
    return 0;
  }
  const cells = rows.map(({ name, state, pid, startedAt, restarts, memoryBytes, address, failure, nextTryAt }) => [
    name,
    state,
    String(pid ?? '-'),
    age(systemClock.now() - startedAt),
    String(restarts ?? '-'),
    memoryBytes === undefined ? '-' : `${Math.round(memoryBytes / 1_048_576)} MB`,
    (nextTryAt === undefined ? '' : `tried again in ${age(nextTryAt - systemClock.now())}: `) +
      (failure ?? address ?? ''),
  ]);
  terminal.out(columns([['NAME', 'STATE', 'PID', 'AGE', 'RESTARTS', 'MEMORY', 'WHERE'], ...cells]));
  if (!app.control && app.dev) terminal.say(silenceOf(app));
  else if (!app.control)
    terminal.say('The supervisor is not running: nothing is restarted. Run the same tandem up again to take over.');
  return 0;

  function row(
    name: string,
    state: string,
    pid: number | undefined,
    startedAt: number,
    restarts: number | undefined,
    info: Readonly<Record<string, string>>,
    failure: string | undefined,
    nextTryAt: number | undefined,
  ): Row {
    return {
      name,
      state,
      pid,
      startedAt,
      restarts,
      memoryBytes: pid === undefined ? undefined : residentBytes(pid),
      address: info.url ?? info.address,
      failure,
      nextTryAt,
    };
  }
}

/** 42s, 7m, 3h, 2d. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `tandem stop`: drains and stops a running app, also one whose supervisor is dead. */
import { sleep, systemClock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { processBirth } from '../recovery/process-birth.ts';
import type { SavedProcess } from '../recovery/state-file.ts';
import { supervisorDefaults } from '../recovery/supervisor.ts';
import { type Command, dataFlag, type Invocation } from './command.ts';
import { ask } from './control.ts';
import { keepAwake } from './keep-awake.ts';
import { dataPathOf, findApp, type RunningApp, supervisorLives } from './running-app.ts';

export const command: Command = {
  usage: ['stop [--data DIR]'],
  summary: 'Drains and stops a running app: gateways first, the engine last.',
  flags: { data: dataFlag },
  words: [0, 0],
  async run({ flags, environment, terminal }: Invocation): Promise<number> {
    const app = findApp(await dataPathOf({ flags, environment }));
    const graceMs = supervisorDefaults.stopGraceMs;
    const beganMs = systemClock.monotonic();
    const killed = await keepAwake(() =>
      app.dev && supervisorLives(app.state)
        ? stopDev(app, graceMs)
        : app.control
          ? stopSupervised(app, app.control, graceMs)
          : stopOrphans(app.state.processes, graceMs),
    );
    const stopped = app.state.processes.length - killed.length;
    const tookMs = systemClock.monotonic() - beganMs;
    if (flags.json) terminal.out(JSON.stringify({ kind: 'stopped', stopped, killed, tookMs }));
    else {
      const rest = killed.length > 0 ? `; killed, because they did not end in time: ${killed.join(', ')}` : '';
      terminal.out(
        `Stopped ${stopped} ${stopped === 1 ? 'process' : 'processes'} cleanly in ${(tookMs / 1000).toFixed(1)} s${rest}.`,
      );
    }
    return killed.length === 0 ? 0 : 1;
  },
};

/** Resolves when its supervisor is gone too, so that the next `tandem up` finds the data free. */
async function stopSupervised({ state }: RunningApp, control: string, graceMs: number): Promise<readonly string[]> {
  const { killed } = await ask(control, '$stop', { graceMs }, 6 * graceMs);
  const end = systemClock.monotonic() + graceMs;
  while (supervisorLives(state) && systemClock.monotonic() < end) await sleep(systemClock, 10);
  return killed;
}

/** It ends as at Ctrl-C, also while its app does not run. */
async function stopDev({ state }: RunningApp, graceMs: number): Promise<readonly string[]> {
  process.kill(state.supervisor.pid, 'SIGTERM');
  const end = systemClock.monotonic() + graceMs;
  while (supervisorLives(state)) {
    if (systemClock.monotonic() > end)
      throw new TandemError(
        'DEADLINE_EXCEEDED',
        `tandem dev (pid ${state.supervisor.pid}) did not end; tandem stop again kills its app`,
      );
    await sleep(systemClock, 10);
  }
  return [];
}

const order: readonly (readonly string[])[] = [['gateway'], ['instance'], ['naming', 'monitor'], ['engine']];

async function stopOrphans(processes: readonly SavedProcess[], graceMs: number): Promise<string[]> {
  const lives = ({ pid, birth }: SavedProcess): boolean => processBirth(pid) === birth;
  const killed: string[] = [];
  for (const roles of order) {
    const mine = processes.filter(process => roles.includes(process.role));
    for (const saved of mine) if (lives(saved)) process.kill(saved.pid, 'SIGTERM');
    const end = systemClock.monotonic() + graceMs;
    while (mine.some(lives) && systemClock.monotonic() < end) await sleep(systemClock, 50);
    for (const saved of mine.filter(lives)) {
      process.kill(saved.pid, 'SIGKILL');
      killed.push(saved.name);
    }
    while (mine.some(lives)) await sleep(systemClock, 10);
  }
  return killed;
}

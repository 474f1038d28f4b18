/** `tandem stop`: drains and stops a running app, also one whose supervisor is dead. */
import { sleep, systemClock } from '../core/clock.ts';
import { processBirth } from '../recovery/process-birth.ts';
import type { SavedProcess } from '../recovery/state-file.ts';
import { supervisorDefaults } from '../recovery/supervisor.ts';
import { type Command, dataFlag, type Invocation } from './command.ts';
import { ask } from './control.ts';
import { keepAwake } from './keep-awake.ts';
import { dataPathOf, findApp } from './running-app.ts';

export const command: Command = {
  usage: ['stop [--data DIR]'],
  summary: 'Drains and stops a running app: gateways first, the engine last.',
  flags: { data: dataFlag },
  words: [0, 0],
  async run({ flags, environment, terminal }: Invocation): Promise<number> {
    const app = findApp(dataPathOf({ flags, environment }));
    const graceMs = supervisorDefaults.stopGraceMs;
    const killed = app.control
      ? (await ask(app.control, '$stop', { graceMs }, 6 * graceMs)).killed
      : await keepAwake(() => stopOrphans(app.state.processes, graceMs));
    if (flags.json) terminal.out(JSON.stringify({ kind: 'stopped', killed }));
    else
      terminal.out(
        killed.length === 0 ? 'Stopped.' : `Stopped; killed, because they did not end in time: ${killed.join(', ')}`,
      );
    return killed.length === 0 ? 0 : 1;
  },
};

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

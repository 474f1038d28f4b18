/** `tandem reshard inventory`: doubles the partitions of a service's data while it is used, and shows how far that is. */
import { systemClock as clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { MapView } from './app-link.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { keepAwake } from './keep-awake.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';
import { underWay } from './table.ts';

const lookMs = 200;
/** Lines are as far apart. */
const lineMs = 1000;
/** Without a step for so long something holds it up. */
const silenceMsMax = 60_000;

export const command: Command = {
  usage: ['reshard SERVICE [--to N]'],
  summary: 'Doubles the partitions of a service, one after the other, while it is used.',
  details:
    'The instances do it; this begins it and shows how far it is. Who stops looking changes nothing: it goes on, through restarts too, and the command\n' +
    'shows it again when it is repeated. Writes of the one partition whose turn it is wait for a few milliseconds.',
  examples: ['tandem reshard inventory', 'tandem reshard inventory --to 128'],
  flags: {
    data: dataFlag,
    to: { type: 'string', value: 'N', help: 'Partitions afterwards; must be twice what there are (default)' },
  },
  words: [1, 1],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const service = words[0] ?? '';
    const to = countOf(flags.to);
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    const timeoutMs = limits.callTimeoutMs;
    const say = (text: string): void => {
      if (!flags.json) terminal.out(text);
    };
    const startedAt = clock.monotonic();
    let map = await ask(control, '$reshard', { service, to, timeoutMs }, timeoutMs + 1000);
    const wanted = map.to;
    let saidAt = Number.NEGATIVE_INFINITY;
    let movedAt = startedAt;
    while (map.to > map.count && map.to === wanted) {
      const now = clock.monotonic();
      if (now - saidAt >= lineMs) {
        saidAt = now;
        say(underWay(map));
      }
      if (now - movedAt > silenceMsMax) throw heldUp(map);
      await keepAwake(() => sleep(clock, lookMs));
      const next = await ask(control, '$partitionMap', { service, timeoutMs }, timeoutMs + 1000);
      if (next.version !== map.version) movedAt = clock.monotonic();
      map = next;
    }
    const seconds = Math.round((clock.monotonic() - startedAt) / 100) / 10;
    if (flags.json) terminal.out(JSON.stringify({ ...map, seconds }));
    else terminal.out(`${service} has ${wanted} partitions (after ${seconds} s).`);
    return 0;
  },
};

function heldUp(map: MapView): TandemError {
  return new TandemError(
    'UNAVAILABLE',
    `${underWay(map)} Nothing moved for ${silenceMsMax / 1000} s: tandem table show ${map.service} tells whether partitions have writers, tandem logs ${map.service} what holds them up`,
  );
}

function countOf(given: Invocation['flags'][string]): number | undefined {
  if (given === undefined) return undefined;
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1) return count;
  throw new UsageError(`--to: '${String(given)}' is not a whole number of at least 1`);
}

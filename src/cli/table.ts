/** `tandem table show`: where the partitions of each service lie, who writes them, and how far each copy is. */
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { MapView, PartitionView } from './app-link.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';
import { columns, size } from './terminal.ts';

export const command: Command = {
  usage: ['table show [SERVICE]', 'table drop SERVICE TABLE'],
  summary:
    'Shows the partitions of the services that keep data: writer, position, copies and their lag, size of the log; drops a table that no code declares.',
  details:
    'A copy is named with the entries that it is behind the log, if any; ~ before it means that it is not ready yet. Copies tell where they are with each heartbeat,\n' +
    'so under writes a small lag is as old as that. Partitions are numbered anew when they are divided (tandem reshard): no number comes twice.\n' +
    'A table that has rows and that the code no longer declares stays until `drop` deletes its rows, which cannot be undone.',
  examples: ['tandem table show', 'tandem table show inventory --json', 'tandem table drop inventory oldStock'],
  flags: { data: dataFlag },
  words: [1, 3],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const [verb, service, table] = words;
    if (verb !== 'show' && verb !== 'drop')
      throw new UsageError(`tandem table does not know '${verb}'; it knows: show, drop`);
    if (verb === 'show' ? table !== undefined : service === undefined || table === undefined)
      throw new UsageError(`usage: tandem table ${verb === 'show' ? 'show [SERVICE]' : 'drop SERVICE TABLE'}`);
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    const timeoutMs = limits.callTimeoutMs;
    if (verb === 'drop') {
      const input = { service: service!, table: table!, timeoutMs: dropTimeoutMs };
      const rows = await ask(control, '$dropTable', input, dropTimeoutMs + 1000);
      terminal.out(flags.json ? JSON.stringify({ service, table, rows }) : `${rows} rows of '${table}' are deleted.`);
      return 0;
    }
    const { maps, partitions } = await ask(control, '$tables', { service, timeoutMs }, timeoutMs + 1000);
    if (service !== undefined && partitions.length === 0)
      throw new TandemError('NOT_FOUND', `no running service '${service}' keeps data`);
    const undeclared = await ask(control, '$undeclared', { service, timeoutMs }, timeoutMs + 1000);
    if (flags.json) terminal.out(JSON.stringify({ maps, partitions, undeclared }));
    else if (partitions.length === 0) terminal.out('No running service keeps data.');
    else {
      for (const map of maps.filter(({ count, to }) => to > count)) terminal.out(underWay(map));
      terminal.out(
        columns([['SERVICE', 'PARTITION', 'WRITER', 'TAIL', 'KEPT FROM', 'LOG', 'COPIES'], ...partitions.map(row)]),
      );
    }
    if (flags.json) return 0;
    for (const { service, table, partitions } of undeclared)
      terminal.out(
        `\nNot declared: '${service}' keeps rows of a table '${table}' (in ${partitions} partitions) that its code does not declare. Declare it again, or delete them: tandem table drop ${service} ${table}`,
      );
    return 0;
  },
};

/** Many small transactions. */
const dropTimeoutMs = 600_000;

export function underWay({ service, count, to, divided }: MapView): string {
  return `${service} is being resharded from ${count} to ${to} partitions: ${divided} of ${count} divided.`;
}

function row({ service, partition, writer, tail, first, bytes, copies }: PartitionView): string[] {
  const shown = copies.map(({ instance, ready, position }) => {
    const behind = Math.max(0, tail - position);
    return `${ready ? '' : '~'}${instance}${behind > 0 ? ` -${behind}` : ''}`;
  });
  return [service, String(partition), writer ?? 'none', String(tail), String(first), size(bytes), shown.join(', ')];
}

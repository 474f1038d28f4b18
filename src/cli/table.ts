/** `tandem table show`: where the partitions of each service lie, who writes them, and how far each copy is. */
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { PartitionView } from './app-link.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';
import { columns, size } from './terminal.ts';

export const command: Command = {
  usage: ['table show [SERVICE]'],
  summary:
    'Shows the partitions of the services that keep data: writer, position, copies and their lag, size of the log.',
  details:
    'A copy is named with the entries that it is behind the log, if any; ~ before it means that it is not ready yet. Copies tell where they are with each heartbeat,\n' +
    'so under writes a small lag is as old as that.',
  examples: ['tandem table show', 'tandem table show inventory --json'],
  flags: { data: dataFlag },
  words: [1, 2],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const [verb, service] = words;
    if (verb !== 'show') throw new UsageError(`tandem table does not know '${verb}'; it knows: show`);
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    const timeoutMs = limits.callTimeoutMs;
    const partitions = await ask(control, '$tables', { service, timeoutMs }, timeoutMs + 1000);
    if (service !== undefined && partitions.length === 0)
      throw new TandemError('NOT_FOUND', `no running service '${service}' keeps data`);
    if (flags.json) terminal.out(JSON.stringify({ partitions }));
    else if (partitions.length === 0) terminal.out('No running service keeps data.');
    else
      terminal.out(
        columns([['SERVICE', 'PARTITION', 'WRITER', 'TAIL', 'KEPT FROM', 'LOG', 'COPIES'], ...partitions.map(row)]),
      );
    return 0;
  },
};

function row({ service, partition, writer, tail, first, bytes, copies }: PartitionView): string[] {
  const shown = copies.map(({ instance, ready, position }) => {
    const behind = Math.max(0, tail - position);
    return `${ready ? '' : '~'}${instance}${behind > 0 ? ` -${behind}` : ''}`;
  });
  return [service, String(partition), writer ?? 'none', String(tail), String(first), size(bytes), shown.join(', ')];
}

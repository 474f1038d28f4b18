/** `tandem topic show`: what lies in the topics, who reads them and how far, and, of one topic, its rate and busiest keys. */
import { limits } from '../core/limits.ts';
import type { GroupView, TopicView } from '../events/topic-view.ts';
import type { Invocation } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';
import { columns, size } from './terminal.ts';

export const showDetails: string =
  'show: LAG counts events that wait or are being handled; OLDEST is the age of the first that is not done; ? where nobody reads a partition or who does did not answer.\n' +
  'The rate and the busiest keys of one topic are counted when asked, over its newest events: up to 1000 of each partition, since a moment from which on none is left out.';

export async function show({ words, flags, environment, terminal }: Invocation): Promise<number> {
  const topic = words[1];
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const timeoutMs = limits.callTimeoutMs;
  const topics = await ask(control, '$topics', { topic, timeoutMs }, timeoutMs + 1000);
  if (flags.json) terminal.out(JSON.stringify({ topics }));
  else if (topics.length === 0) terminal.out('No running service knows a topic.');
  else terminal.out(topic === undefined ? overview(topics) : detail(topics[0]!));
  return 0;
}

function overview(topics: readonly TopicView[]): string {
  const head = ['TOPIC', 'PARTITIONS', 'EVENTS', 'SIZE', 'GROUP', 'LAG', 'OLDEST', 'PARKED', 'DEAD'];
  const rows = topics.flatMap(topic => {
    const own = [topic.topic, String(topic.partitions.length), String(sum(topic, 'events')), size(sum(topic, 'bytes'))];
    const groups = topic.groups.map(groupCells);
    if (groups.length === 0) return [[...own, 'none']];
    return groups.map((cells, at) => [...(at === 0 ? own : ['', '', '', '']), ...cells]);
  });
  return columns([head, ...rows]);
}

function groupCells({ group, lag, oldestWaitingMs, parked, dead, readers }: GroupView): string[] {
  const shown = `${lag ?? '?'}${readers.some(({ stopped }) => stopped) ? ' (stopped)' : ''}`;
  return [group, shown, age(oldestWaitingMs), String(parked.events), String(dead)];
}

function detail(view: TopicView): string {
  const { topic, key, partitions, groups, recent } = view;
  const recently = (at: number): string => String(recent?.partitions[at] ?? 0);
  const lines = [
    `${topic}  key ${key}  ${sum(view, 'events')} events, ${size(sum(view, 'bytes'))}`,
    '',
    columns([
      ['PARTITION', 'KEPT FROM', 'TAIL', 'EVENTS', 'SIZE', 'RECENT'],
      ...partitions.map(({ partition, first, tail, events, bytes }, at) =>
        [partition, first, tail, events, size(bytes), recently(at)].map(String),
      ),
    ]),
  ];
  for (const group of groups) {
    const { parked, dead } = group;
    const waiting = parked.keys > 0 ? `${parked.events} events of ${parked.keys} keys parked` : 'none parked';
    lines.push(
      '',
      `${group.group}  lag ${group.lag ?? '?'}, oldest ${age(group.oldestWaitingMs)}, ${waiting}, ${dead} dead`,
      columns([
        ['PARTITION', 'READER', 'POSITION', 'LAG', 'OLDEST'],
        ...group.readers.map(({ partition, instance, position, lag, oldestWaitingMs, stopped }) => [
          String(partition),
          instance ?? 'none',
          position === null ? '?' : String(position),
          `${lag ?? '?'}${stopped ? ' (stopped)' : ''}`,
          age(oldestWaitingMs),
        ]),
      ]),
      ...troubles(group),
    );
  }
  if (recent && recent.since !== null) {
    const keys = recent.keys.map(of => [of.key, String(of.events), `${(100 * of.share).toFixed(1)} %`]);
    lines.push(
      '',
      `${recent.events} events since ${recent.since}; ${rate(recent.perSecond)}/s over the last ${age(recent.overMs)}`,
      columns([['BUSIEST KEYS', 'EVENTS', 'SHARE'], ...keys]),
    );
  }
  return lines.join('\n');
}

/** What holds a group up or waits for a person, each with what to do. */
export function troubles({ group, readers, parked, dead }: GroupView): string[] {
  const of = (why: string): string => {
    const partitions = readers.filter(({ stopped }) => stopped === why).map(({ partition }) => partition);
    return `partition${partitions.length === 1 ? '' : 's'} ${partitions.join(', ')}`;
  };
  const found: string[] = [];
  if (readers.some(({ stopped }) => stopped === 'dropped'))
    found.push(
      `stopped in ${of('dropped')}: the topic's retention dropped events that ${group} had not handled; to go on with what is kept: tandem topic replay ${group} --from earliest`,
    );
  if (readers.some(({ stopped }) => stopped === 'unreadable'))
    found.push(
      `stopped in ${of('unreadable')}: the next event cannot be read, and none is skipped; tandem log verify tells more, the instance's records why (tandem logs)`,
    );
  if (parked.keys > 0)
    found.push(
      `${count(parked.keys, 'key')} parked with ${count(parked.events, 'event')}: tandem topic parked ${group} says why; then redrive, or discard`,
    );
  if (dead > 0)
    found.push(
      `${count(dead, 'dead letter')}: tandem topic dead ${group} says why; tandem topic redrive ${group} sends them again`,
    );
  return found;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function sum({ partitions }: TopicView, figure: 'events' | 'bytes'): number {
  return partitions.reduce((total, partition) => total + partition[figure], 0);
}

function rate(perSecond: number): string {
  return perSecond >= 10 ? String(Math.round(perSecond)) : perSecond.toFixed(2);
}

function age(ms: number | null): string {
  if (ms === null) return '-';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

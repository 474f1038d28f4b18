/**
 * What of a partition's rows goes where when it is divided in two (data core, rule 23). Users' rows go by their key, the
 * system's as their table says here. By table and key alone, never by value: then a delete goes where its row went.
 */
import { sideOf } from '../partitioning/partition-map.ts';

type Division = 'both' | 'none' | ((key: string) => string);

/** All system tables there are: a new one must say here where its rows belong. */
export const systemTables: ReadonlyMap<string, Division> = new Map<string, Division>([
  // A request or delivery that was answered before is recognised wherever its repeat runs.
  ['$request', 'both'],
  ['$request-time', 'both'],
  ['$delivery', 'both'],
  ['$floor', 'both'],
  // The sealed log is relayed to its end; its successors' events are counted anew.
  ['$relay', 'none'],
  ['$due', placeOfDue],
  // `key, name`, a line each.
  ['$schedule', firstLine],
  // By the name of the reader.
  ['$cursor', key => key],
  // `subscription, key` and `subscription, key, number`, a line each.
  ['$parked', key => key.slice(key.indexOf('\n') + 1)],
  ['$parked-event', key => key.slice(key.indexOf('\n') + 1, key.lastIndexOf('\n'))],
]);

/** Whether a row of a partition of `count` goes to the lower (0) or upper (1) of its two successors. */
export function keptBy(side: 0 | 1, count: number): (table: string, key: string) => boolean {
  return (table, key) => {
    const division = systemTables.get(table);
    if (division === 'both') return true;
    if (division === 'none') return false;
    return sideOf(division ? division(key) : key, count) === side;
  };
}

function firstLine(text: string): string {
  return text.slice(0, text.indexOf('\n'));
}

/** `time, kind, name`, a line each: the end of a row's life goes with the row, a schedule by its key, all else by its name, to one of the two. */
function placeOfDue(key: string): string {
  const kindAt = key.indexOf('\n') + 1;
  const nameAt = key.indexOf('\n', kindAt) + 1;
  const name = key.slice(nameAt);
  const kind = key.slice(kindAt, nameAt - 1);
  if (kind === 'schedule') return firstLine(name);
  return kind === 'row' ? name.slice(name.indexOf('\n') + 1) : name;
}

/**
 * Tables that have rows and that the code does not declare, since one was renamed or removed there: they stay, with all that
 * belongs to them, until the code declares them again or somebody drops them by name. Nothing drops them by itself, because
 * during a roll another version may still need them, and because a missing line may be a mistake.
 */

import type { Incoming, Reply } from '../core/channel.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { fallsDueNoMore } from './due.ts';
import type { RawTx } from './overlay.ts';
import type { Partition } from './partition.ts';
import { expiryOf } from './table-codec.ts';

/** What an instance answers to `$stored-tables`. */
export interface StoredTables {
  readonly declared: readonly string[];
  /** With the partitions held there in which they have rows. */
  readonly undeclared: readonly { readonly table: string; readonly partitions: readonly number[] }[];
}
/** What `$drop-rows` takes; it answers how many rows it dropped, 0 when none are left. */
export interface DropForm {
  readonly partition: number;
  readonly table: string;
}

/** Rows dropped by one transaction: few enough that other writes hardly wait. */
const dropRowsMax = 500;

export function storedTables(held: Iterable<Partition>, declared: Iterable<string>): StoredTables {
  const known = [...declared];
  const found = new Map<string, number[]>();
  for (const { number, replica } of held) {
    if (!replica.ready) continue;
    for (const table of replica.store.tables()) {
      if (table.startsWith('$') || known.includes(table)) continue;
      const partitions = found.get(table) ?? [];
      found.set(table, partitions);
      partitions.push(number);
    }
  }
  return { declared: known, undeclared: [...found].map(([table, partitions]) => ({ table, partitions })) };
}

/** @throws CONFLICT for a table that the code declares. */
export async function dropRows(
  partition: Partition,
  { table }: DropForm,
  declared: Iterable<string>,
  incoming: Incoming,
): Promise<Reply> {
  if (table.startsWith('$') || [...declared].includes(table))
    throw new TandemError('CONFLICT', `table '${table}' is declared by the code that runs: take it out there first`);
  const body = (tx: RawTx): number => dropped(tx, table);
  const { value } = await partition.transact(undefined, body, incoming.deadline, incoming.signal);
  return { body: value };
}

function dropped({ rows }: RawTx, table: string): number {
  const found = [...rows.scan(table, '', { limit: dropRowsMax })];
  for (const [key, bytes] of found) {
    const expiresAtMs = expiryOf(bytes);
    if (expiresAtMs < Number.POSITIVE_INFINITY) fallsDueNoMore(rows, expiresAtMs, 'row', `${table}\n${key}`);
    rows.set(table, key, undefined);
  }
  return found.length;
}

export function tellUndeclared({ undeclared }: StoredTables, service: string, logger: Logger): void {
  for (const { table } of undeclared)
    logger.warn('a table has rows and is not declared by this code: they stay, unread, until it is or is dropped', {
      table,
      drop: `tandem table drop ${service} ${table}`,
    });
}

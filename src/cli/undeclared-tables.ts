/** Tables that no code declares, over all instances of an app: which there are, and dropping one by name. */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Registry } from '../naming/registry.ts';
import { heirsOf, livingNumbers, newestMap, type PartitionMap, steadyMap } from '../partitioning/partition-map.ts';
import type { Sender } from '../state/keyspace.ts';
import type { StoredTables } from '../state/stored-tables.ts';

/** A table that has rows and that no instance's code declares. */
export interface UndeclaredTable {
  readonly service: string;
  readonly table: string;
  /** In how many partitions it has rows. */
  readonly partitions: number;
}

/**
 * Of a service, or of all that keep data. What one instance declares counts as declared: during a roll both versions run. Who does
 * not answer is passed over where it is for looking only.
 */
export async function undeclaredTables(
  registry: Registry,
  caller: Sender,
  wanted: string | undefined,
  deadline: number,
  everyone = false,
): Promise<readonly UndeclaredTable[]> {
  const tables: UndeclaredTable[] = [];
  for (const service of registry.services()) {
    if ((wanted !== undefined && service !== wanted) || !registry.descriptor(service)?.keyspace) continue;
    const members = registry.instances(service).filter(({ verdict }) => verdict !== 'dead');
    const settled = await Promise.allSettled(
      members.map(
        async member => (await caller.send(member, '$stored-tables', null, { deadline })).body as StoredTables,
      ),
    );
    const answers: StoredTables[] = [];
    for (const result of settled) {
      if (result.status === 'fulfilled') answers.push(result.value);
      else if (everyone) throw result.reason;
    }
    const declared = new Set(answers.flatMap(answer => answer.declared));
    const found = new Map<string, Set<number>>();
    for (const { table, partitions } of answers.flatMap(answer => answer.undeclared)) {
      if (declared.has(table)) continue;
      found.set(table, new Set([...(found.get(table) ?? []), ...partitions]));
    }
    for (const [table, { size }] of found) tables.push({ service, table, partitions: size });
  }
  return tables.sort((a, b) => (`${a.service} ${a.table}` < `${b.service} ${b.table}` ? -1 : 1));
}

export interface DropOptions {
  readonly registry: Registry;
  readonly caller: Sender;
  readonly clock: Clock;
  readonly service: string;
  readonly table: string;
  /** Monotonic ms. */
  readonly deadline: number;
}

/** Deletes all its rows, a few at a time, at the writer of each partition; answers how many. @throws NOT_FOUND, CONFLICT (declared), DEADLINE_EXCEEDED. */
export async function dropTable(options: DropOptions): Promise<number> {
  const { registry, caller, service, table, deadline } = options;
  const keyspace = registry.descriptor(service)?.keyspace;
  if (!keyspace) throw new TandemError('NOT_FOUND', `no running service '${service}' keeps data`);
  const undeclared = await undeclaredTables(registry, caller, service, deadline, true);
  if (!undeclared.some(each => each.table === table)) {
    const list = undeclared.map(each => each.table).join(', ') || 'none';
    throw new TandemError(
      'NOT_FOUND',
      `'${service}' has no table '${table}' that its code does not declare; such tables: ${list}. A declared one is taken out of the code first`,
    );
  }
  let dropped = 0;
  const map = mapOf(registry, service) ?? steadyMap(keyspace.partitions);
  for (const partition of livingNumbers(map)) dropped += await dropIn(partition, options);
  return dropped;
}

async function dropIn(partition: number, options: DropOptions): Promise<number> {
  const { registry, caller, clock, service, table, deadline } = options;
  const epochOf = (id: string): number =>
    registry.member(id)?.beat.partitions.find(line => line.partition === partition)?.epoch ?? 0;
  let dropped = 0;
  for (;;) {
    const map = mapOf(registry, service);
    const heirs = map ? heirsOf(map, partition) : [];
    if (heirs.length > 1) {
      for (const heir of heirs) dropped += await dropIn(heir, options);
      return dropped;
    }
    const ids = registry.instances(service).map(({ beat }) => beat.id);
    const writer = ids.sort((a, b) => epochOf(b) - epochOf(a))[0] ?? '';
    const member = registry.member(writer);
    try {
      if (!member || epochOf(writer) === 0)
        throw new TandemError('UNAVAILABLE', `partition ${partition} has no writer`);
      const rows = Number((await caller.send(member, '$drop-rows', { partition, table }, { deadline })).body);
      if (rows === 0) return dropped;
      dropped += rows;
    } catch (thrown) {
      const { code } = TandemError.from(thrown);
      // Deleting what is gone already is no harm: whatever became of the last try, the next goes on from there.
      const again = code === 'UNAVAILABLE' || code === 'MOVED' || code === 'CLOSED' || code === 'INTERRUPTED';
      if (!again || clock.monotonic() >= deadline) throw thrown;
      await sleep(clock, 100);
    }
  }
}

function mapOf(registry: Registry, service: string): PartitionMap | undefined {
  return newestMap(registry.instances(service).map(({ beat }) => beat.map));
}

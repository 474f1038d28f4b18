/** The first entry of a partition's log, which says whose it is (data core, rule 20): made, found and checked. */
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import type { Engine, Entry } from '../log/engine.ts';
import { readNote } from '../log/restore-note.ts';
import { decodeEntry, encodeEntry, type Genesis, type LogEntry } from './entry.ts';
import { lost, recreated, wrongPartitions } from './lost-log.ts';
import { beganAs, type Origin } from './origin.ts';
import type { Head } from './store.ts';

const readBytes = 1_048_576;

/** That of a log which goes on from no other. */
export function genesisEntry(genesis: Genesis, author: string, time: number): Uint8Array {
  return encodeEntry({ parent: '', author, epoch: 0, time, genesis, writes: [], emitted: [] });
}

export interface Beginning extends LogReader, Omit<Genesis, 'incarnation' | 'predecessor'> {
  readonly instance: string;
  readonly random: Random;
  /** Whether some other member says that it has entries of this log. */
  readonly knownElsewhere: () => boolean;
}

/** Begins a log that has no more than barriers up to `position`, unless another was faster. Answers its tail. */
export async function beginLog(beginning: Beginning, position: number): Promise<number> {
  const { engine, log, service, partition, partitions, instance, clock, random, engineTimeoutMs } = beginning;
  if (beginning.knownElsewhere()) {
    const tail = await tailOf(beginning);
    if (tail > position) return tail;
    return refuseKnown(beginning, tail);
  }
  const body = genesisEntry({ incarnation: random.id(), service, partition, partitions }, instance, clock.now());
  const result = await engine.log.append(log, position, [body], { deadline: clock.monotonic() + engineTimeoutMs });
  if (result.kind === 'unknown')
    throw new TandemError('UNAVAILABLE', 'the fate of a genesis entry is unknown; looking again');
  return tailOf(beginning);
}

/**
 * Others say that they know entries of a log that has none. @throws LOG_LOST, or UNAVAILABLE to look again where a backup was
 * restored, since they may not have seen yet that their copies are of before.
 */
export async function refuseKnown({ engine, log, clock, engineTimeoutMs }: LogReader, tail: number): Promise<never> {
  if (!(await readNote(engine, clock, engineTimeoutMs))?.done) throw lost(log, tail, tail);
  throw new TandemError('UNAVAILABLE', `${log} is not in the backup that was restored, but others still have copies`);
}

interface LogReader {
  readonly engine: Engine;
  readonly log: string;
  readonly clock: Clock;
  readonly engineTimeoutMs: number;
}

/** From position 1 to the genesis, where there is one, and maybe more; undefined when they are trimmed. */
export async function firstEntries({ engine, log, clock, engineTimeoutMs }: LogReader): Promise<Entry[] | undefined> {
  const entries: Entry[] = [];
  try {
    for (;;) {
      const from = (entries.at(-1)?.position ?? 0) + 1;
      const more = await engine.log.read(log, from, readBytes, { deadline: clock.monotonic() + engineTimeoutMs });
      entries.push(...more);
      if (more.length === 0 || more.some(says)) return entries;
    }
  } catch (thrown) {
    if (TandemError.from(thrown).code !== 'NOT_FOUND') throw thrown;
    return undefined;
  }
}

/** A barrier; 0 for a log that has not begun. */
export async function tailOf({ engine, log, clock, engineTimeoutMs }: LogReader): Promise<number> {
  try {
    return await engine.log.barrier(log, { deadline: clock.monotonic() + engineTimeoutMs });
  } catch (thrown) {
    if (TandemError.from(thrown).code === 'NOT_FOUND') return 0;
    throw thrown;
  }
}

/** Whether an entry is more than what a barrier left. */
export function says({ body }: Entry): boolean {
  return body.length > 0;
}

/** A log that begins anew under another identity is not a repair of ours but a loss. Trimmed, its snapshots say who it is. */
export async function refuseOther(reader: LogReader, known: string): Promise<void> {
  const first = (await firstEntries(reader))?.find(says);
  const found = first && decodeEntry(first.body).genesis?.incarnation;
  if (found && found !== known) throw recreated(reader.log, known, found);
}

export interface Expected {
  readonly log: string;
  readonly service: string;
  readonly partition: number;
  readonly partitions: number;
  readonly origin?: Origin | undefined;
  /** Incarnation that is known; empty when none is. */
  readonly known: string;
  /** Whether a genesis must come here, and only here. */
  readonly isFirst: boolean;
  /** What the copy is so far. */
  readonly head: Head;
}

/** False when the copy did not begin as its log says that it does. @throws what else is wrong with the log. */
export function checkGenesis(expected: Expected, position: number, { genesis }: LogEntry): boolean {
  const { log, service, partition, partitions, origin, known, isFirst, head } = expected;
  if (isFirst !== (genesis !== undefined))
    throw new TandemError('CORRUPT', `${log}: genesis and first position do not agree at ${position}`);
  if (!genesis) return true;
  if (known !== '' && genesis.incarnation !== known) throw recreated(log, known, genesis.incarnation);
  if (genesis.partitions !== partitions) throw wrongPartitions(service, partitions, genesis.partitions);
  if (genesis.service !== service || genesis.partition !== partition)
    throw new TandemError('CORRUPT', `${log} holds the data of ${genesis.service}/${genesis.partition}`);
  return (
    !origin || beganAs(log.slice(0, log.lastIndexOf('/') + 1) + origin.partition, origin, head, genesis.predecessor)
  );
}

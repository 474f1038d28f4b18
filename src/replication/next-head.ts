/** What a run of entries does to a copy: its rows' changes, and who and when it is afterwards. Pure. */
import type { LogEntry } from './entry.ts';
import { renewed } from './incarnation.ts';
import type { Head, Write } from './store.ts';

export interface Applied {
  readonly position: number;
  readonly entry: LogEntry;
}

/** `hash` is that of the last entry that has one, at `hashPosition`. */
export function nextHead(
  head: Head,
  batch: readonly Applied[],
  hash: string,
  hashPosition: number,
): { writes: Write[]; head: Omit<Head, 'digest'> } {
  let { position, incarnation, epoch, writer, heir, time, ancestors, sealedAt, sealed, medium, renewals, emittedAt } =
    head;
  const writes: Write[] = [];
  for (const { position: at, entry } of batch) {
    position = at;
    for (const write of entry.writes) writes.push(write);
    time = Math.max(time, entry.time);
    if (entry.genesis) {
      const { predecessor } = entry.genesis;
      incarnation = entry.genesis.incarnation;
      medium = undefined;
      renewals = undefined;
      emittedAt = 0;
      if (predecessor) {
        ancestors = [predecessor.label, ...predecessor.ancestors];
        sealedAt = predecessor.position;
      }
    }
    if (entry.emitted.length > 0) emittedAt = at;
    if (entry.seal) sealed = entry.seal.incarnations;
    if (entry.claims) {
      epoch = entry.epoch;
      writer = entry.author;
      heir = '';
      if (entry.medium !== undefined) ({ medium, renewals } = renewed({ medium, renewals }, at, entry.medium));
    } else if (entry.resignsTo !== undefined && entry.author === writer) {
      writer = '';
      heir = entry.resignsTo;
    }
  }
  const next = { position, hash, hashPosition, time, incarnation, epoch, writer, heir };
  const more = {
    ...(medium === undefined ? {} : { medium }),
    ...(renewals ? { renewals } : {}),
    ...(ancestors ? { ancestors, sealedAt } : {}),
    ...(sealed ? { sealed } : {}),
    ...(emittedAt === undefined ? {} : { emittedAt }),
  };
  return { writes, head: { ...next, ...more } };
}

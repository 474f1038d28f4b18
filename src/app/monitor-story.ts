/**
 * The failure story: what changed, when, told so that a person can follow a failure and its recovery without reading records.
 * It compares one look at the members with the one before; bounded, the oldest lines go.
 */
import type { Member } from '../failure-detection/beat.ts';
import type { StoryEvent } from './monitor-state.ts';

export interface Story {
  observe(members: readonly Member[], wallMs: number): void;
  /** Adds a line from elsewhere: the supervisor, an alert. */
  tell(wallMs: number, tone: StoryEvent['tone'], subject: string, text: string): void;
  /** Newest first. */
  readonly events: readonly StoryEvent[];
}

interface Seen {
  readonly verdict: string;
  readonly ready: boolean;
  readonly draining: boolean;
  readonly name: string;
}

const eventsMax = 300;

export function openStory(): Story {
  const events: StoryEvent[] = [];
  let sequence = 0;
  let seen: Map<string, Seen> | undefined;
  /** By service and partition: who wrote last, and since when nobody does. */
  const writers = new Map<string, { id: string; name: string; missingSince: number | undefined }>();

  const tell = (at: number, tone: StoryEvent['tone'], subject: string, text: string): void => {
    sequence += 1;
    events.unshift({ sequence, at, tone, subject, text });
    if (events.length > eventsMax) events.pop();
  };

  return {
    events,
    tell,
    observe(members, wallMs) {
      const now = new Map<string, Seen>();
      for (const { beat, verdict } of members)
        now.set(beat.id, { verdict, ready: beat.ready, draining: beat.draining, name: nameOf(beat.id) });
      if (seen === undefined) {
        if (now.size > 0)
          tell(
            wallMs,
            'neutral',
            'monitor',
            `started watching ${now.size} ${now.size === 1 ? 'process' : 'processes'}`,
          );
      } else for (const [id, after] of now) compare(id, seen.get(id), after, wallMs);
      for (const [id, before] of seen ?? [])
        if (!now.has(id) && before.verdict !== 'dead') tell(wallMs, 'neutral', before.name, 'left');
      if (now.size > 0) seen = now;
      followWriters(members, wallMs);
    },
  };

  function compare(_id: string, before: Seen | undefined, after: Seen, at: number): void {
    const { name } = after;
    if (before === undefined) {
      tell(at, 'neutral', name, after.ready ? 'joined, ready' : 'joined, starting');
      return;
    }
    if (before.verdict !== after.verdict) {
      if (after.verdict === 'alive') tell(at, 'good', name, `alive again (was ${before.verdict})`);
      else tell(at, after.verdict === 'suspect' ? 'neutral' : 'bad', name, meanings[after.verdict] ?? after.verdict);
    }
    if (!before.draining && after.draining) tell(at, 'neutral', name, 'draining: takes no new calls');
    else if (before.ready !== after.ready && after.verdict !== 'dead')
      tell(at, after.ready ? 'good' : 'neutral', name, after.ready ? 'ready' : 'no longer ready');
  }

  function followWriters(members: readonly Member[], at: number): void {
    const found = new Map<string, { id: string; name: string; epoch: number }>();
    for (const { beat, verdict } of members) {
      if (verdict === 'dead' || beat.service === undefined) continue;
      for (const { partition, epoch } of beat.partitions) {
        const key = `${beat.service} ${partition}`;
        if (epoch > (found.get(key)?.epoch ?? 0)) found.set(key, { id: beat.id, name: nameOf(beat.id), epoch });
      }
    }
    const moves = new Map<string, { service: string; from: string; to: string; count: number; gapMs: number }>();
    for (const [key, { id, name }] of found) {
      const before = writers.get(key);
      if (before !== undefined && before.id !== id) {
        const service = key.slice(0, key.indexOf(' '));
        const group = `${service} ${before.name} ${name}`;
        const move = moves.get(group) ?? { service, from: before.name, to: name, count: 0, gapMs: 0 };
        move.count += 1;
        move.gapMs = Math.max(move.gapMs, before.missingSince === undefined ? 0 : at - before.missingSince);
        moves.set(group, move);
      }
      writers.set(key, { id, name, missingSince: undefined });
    }
    for (const [key, writer] of writers) if (!found.has(key)) writer.missingSince ??= at;
    for (const { service, from, to, count, gapMs } of moves.values()) {
      const gap = gapMs > 0 ? ` after ${(gapMs / 1000).toFixed(1)} s without a writer` : '';
      const what = `${count} ${count === 1 ? 'partition' : 'partitions'} of ${service}`;
      tell(at, 'good', to, from === to ? `writes ${what} again${gap}` : `took over ${what} from ${from}${gap}`);
    }
  }
}

const meanings: Readonly<Record<string, string>> = {
  dead: 'dead: its work moves to others',
  stuck: 'stuck: alive, but its main loop does not move; taken out of rotation',
  slow: 'slow: gets less work',
  suspect: 'suspect: its heartbeats are late',
};

/** `inventory-3-9k2f0c` is one life of `inventory-3`. */
export function nameOf(id: string): string {
  const cut = id.lastIndexOf('-');
  return cut > 0 ? id.slice(0, cut) : id;
}

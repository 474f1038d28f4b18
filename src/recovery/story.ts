/** The story of an app as its supervisor lived it: what happened, to whom, and what was done. Bounded; newest last. */
import { type Clock, isoTime } from '../core/clock.ts';

export type StoryKind =
  | 'starting'
  | 'ready'
  | 'adopted'
  | 'exited'
  | 'failed'
  | 'condemned'
  | 'restarting'
  | 'gave-up'
  | 'stopping'
  | 'stopped'
  | 'killed'
  | 'scaled';

export interface StoryEvent {
  /** Wall time, ISO 8601. */
  readonly time: string;
  readonly kind: StoryKind;
  /** The slot (`inventory-3`), or the service for `scaled`. */
  readonly name: string;
  /** The process (`inventory-3-9k2f0c`), where there is one. */
  readonly id?: string | undefined;
  readonly pid?: number | undefined;
  readonly message: string;
}

const eventsMax = 1000;

export interface Story {
  add(event: Omit<StoryEvent, 'time'>): void;
  readonly events: readonly StoryEvent[];
}

export function openStory(clock: Clock, onEvent: ((event: StoryEvent) => void) | undefined): Story {
  const events: StoryEvent[] = [];
  return {
    events,
    add(event) {
      const told = { time: isoTime(clock.now()), ...event };
      events.push(told);
      if (events.length > eventsMax) events.shift();
      onEvent?.(told);
    },
  };
}

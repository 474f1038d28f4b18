/**
 * Heartbeats from the main loop itself, over a bus at hand: for the one process of `dev` and for the simulator. A busy
 * loop delays them, which the worker variant (`start-beats.ts`) is there to avoid.
 */
import { every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import type { Bus } from '../log/engine.ts';
import { entryFormatRead, type Load } from './beat.ts';
import { beatSubject, encodeBeat, farewell } from './beat-form.ts';
import type { BeatOptions, BeatSender } from './beat-sender.ts';

export interface BeatsInLoopOptions extends BeatOptions {
  readonly bus: Bus;
  /** Own load; default: nothing but the calls under way. */
  readonly measure?: () => Omit<Load, 'inflight'>;
}

const unmeasured = { cpu: 0, memoryBytes: 0, loopDelayMs: 0 };

export function startBeatsInLoop(options: BeatsInLoopOptions): BeatSender {
  const { bus, clock, identity, read, measure = () => unmeasured } = options;
  const subject = beatSubject(identity.id);
  const startedAt = clock.now();
  let sequence = 0;
  let closed = false;
  const send = (): void => {
    if (closed || !bus.connected) return;
    const { inflight, ...rest } = read();
    const load = { inflight, ...measure() };
    bus.publish(
      subject,
      encodeBeat({
        entryFormat: entryFormatRead,
        ...identity,
        startedAt,
        ...rest,
        load,
        sequence: ++sequence,
        sentAt: clock.now(),
        mainLoopSilentMs: 0,
      }),
    );
  };
  send();
  const timer = every(clock, limits.beatIntervalMs, send);
  const unwatch = bus.onConnection(connected => {
    if (connected) send();
  });
  return {
    changed: send,
    async close() {
      if (closed) return;
      closed = true;
      timer.cancel();
      unwatch();
      if (bus.connected) bus.publish(subject, farewell);
    },
  };
}

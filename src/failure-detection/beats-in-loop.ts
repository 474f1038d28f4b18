/**
 * Heartbeats from the main loop itself, over a bus at hand: for the one process of `dev` and for the simulator. A busy
 * loop delays them, which the worker variant (`start-beats.ts`) is there to avoid.
 */
import { type Clock, every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import type { Bus } from '../log/engine.ts';
import type { Load } from './beat.ts';
import { beatSubject, encodeBeat, farewell } from './beat-form.ts';
import type { BeatIdentity, BeatStatus, Beats } from './beat-source.ts';

export interface BeatsInLoopOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly identity: BeatIdentity;
  readonly status: () => BeatStatus;
  /** Own load; default: nothing but the calls under way. */
  readonly measure?: () => Omit<Load, 'inflight'>;
}

const unmeasured = { cpu: 0, memoryBytes: 0, loopDelayMs: 0 };

export function startBeatsInLoop(options: BeatsInLoopOptions): Beats {
  const { bus, clock, identity, status, measure = () => unmeasured } = options;
  const subject = beatSubject(identity.id);
  let sequence = 0;
  let closed = false;
  const send = (): void => {
    if (closed || !bus.connected) return;
    const { inflight, ...rest } = status();
    const load = { inflight, ...measure() };
    bus.publish(
      subject,
      encodeBeat({ ...identity, ...rest, load, sequence: ++sequence, sentAt: clock.now(), mainLoopSilentMs: 0 }),
    );
  };
  send();
  const timer = every(clock, limits.beatIntervalMs, send);
  const unwatch = bus.onConnection(connected => {
    if (connected) send();
  });
  return {
    refresh: send,
    async close() {
      if (closed) return;
      closed = true;
      timer.cancel();
      unwatch();
      if (bus.connected) bus.publish(subject, farewell);
    },
  };
}

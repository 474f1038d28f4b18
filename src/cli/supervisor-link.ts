/**
 * The supervisor as a member of the app: it hears the heartbeats, so that it learns what a parent cannot see (a stuck
 * loop, a paused process), and can call and publish for commands from another terminal.
 */
import { type Host, linkAddress } from '../app/host.ts';
import { linkDialer } from '../communication/link-dialer.ts';
import { type Clock, every, type Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Verdict } from '../failure-detection/beat.ts';
import { beatSubject, farewell } from '../failure-detection/beat-form.ts';
import type { Log } from '../log/engine.ts';
import { holding } from '../log/hold.ts';
import { reachEngine } from '../log/reach-engine.ts';
import type { Registry } from '../naming/registry.ts';
import { type AppLink, openAppLink } from './app-link.ts';

/** A verdict counts when it lasts: to kill what was only slow to be heard would be the worse cure. */
const verdictLastsMs = 2000;

/** The engine carries the bus, so no beat tells that it hangs: it is asked. Three silences of this long condemn it. */
const probe = { intervalMs: 1000, timeoutMs: 3000, silencesMax: 3 } as const;

export interface SupervisorLinkOptions {
  readonly host: Host;
  readonly engineAddress: string;
  readonly linkHost: string;
  /** The engine's process, when it is one of ours. */
  readonly engineId: () => string | undefined;
  readonly onVerdict: (id: string, verdict: Verdict) => void;
}

export interface SupervisorLink extends AppLink {
  /** Says farewell on the bus for a process that was reaped: it cannot do so itself, and others would wait for its silence. */
  buried(id: string): void;
}

export async function openSupervisorLink(options: SupervisorLinkOptions): Promise<SupervisorLink> {
  const { host, engineAddress: address, linkHost } = options;
  const { clock, random, logger, meter, transports } = host;
  const id = `supervisor-1-${random.id().slice(0, 6)}`;
  const dialer = linkDialer({ transports, clock, random, logger, meter });
  const engine = holding(await reachEngine({ dialer, address, name: id, clock, random, logger }), clock);
  const link = await openAppLink({ id, host, engine, listen: linkAddress(linkHost, host.linkTls) });
  const watching = watch({ ...options, clock, registry: link.registry, log: engine.log });
  return {
    ...link,
    buried: member => engine.bus.publish(beatSubject(member), farewell),
    async close() {
      watching.cancel();
      await link.close();
      await engine.close();
      await dialer.close();
    },
  };
}

interface WatchOptions extends Pick<SupervisorLinkOptions, 'engineId' | 'onVerdict'> {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly log: Log;
}

function watch({ clock, registry, log, engineId, onVerdict }: WatchOptions): Timer {
  /** Since when each ill member is ill (monotonic ms). */
  const illSinceMs = new Map<string, number>();
  let silences = 0;
  const judge = (): void => {
    const nowMs = clock.monotonic();
    const ill = registry.members().filter(({ verdict }) => verdict === 'stuck' || verdict === 'dead');
    for (const id of illSinceMs.keys()) if (!ill.some(({ beat }) => beat.id === id)) illSinceMs.delete(id);
    for (const { beat, verdict } of ill) {
      const sinceMs = illSinceMs.get(beat.id) ?? nowMs;
      illSinceMs.set(beat.id, sinceMs);
      if (nowMs - sinceMs < verdictLastsMs) continue;
      illSinceMs.delete(beat.id);
      onVerdict(beat.id, verdict);
    }
  };
  return every(clock, probe.intervalMs, async () => {
    judge();
    const id = engineId();
    try {
      await log.barrier('supervisor/probe', { deadline: clock.monotonic() + probe.timeoutMs });
      silences = 0;
    } catch (failure) {
      silences = TandemError.from(failure).code === 'DEADLINE_EXCEEDED' && id === engineId() ? silences + 1 : 0;
    }
    if (silences < probe.silencesMax || id === undefined) return;
    silences = 0;
    onVerdict(id, 'stuck');
  });
}

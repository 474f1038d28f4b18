/**
 * Strategies that were switched by hand, app-wide: the newest entry of a log of the engine holds them all, so that they
 * outlive every process, and processes that start later know them too. Who switches tells the others over the bus; a message
 * that is lost is made up for by a look at the log now and then. Two who switch at once do not undo each other's work
 * (compare-and-append).
 */
import { isStrategy, type Strategy } from '../contract/balance.ts';
import { type Clock, every, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Closable } from '../core/lifecycle.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Bus, EngineOptions, Log } from '../log/engine.ts';

/** By service. */
export type Switches = Readonly<Record<string, Strategy>>;

interface Known {
  readonly position: number;
  readonly switches: Switches;
}

export interface SwitchesOptions {
  readonly engine: { readonly log: Log; readonly bus: Bus };
  readonly clock: Clock;
  readonly random: Random;
}

const log = 'settings/strategies';
const subject = 'control.strategies';
/** Between two looks at the log, for who missed a message. */
const lookEveryMs = 10_000;

/** Keeps a process up to date: `apply` hears of every service whose switch changed, undefined where it was taken back. */
export function followSwitches(
  options: SwitchesOptions & {
    readonly logger: Logger;
    readonly apply: (service: string, strategy: Strategy | undefined) => void;
  },
): Closable {
  const { engine, clock, logger, apply } = options;
  let known: Known = { position: 0, switches: {} };
  let closed = false;
  const take = (next: Known): void => {
    if (closed || next.position <= known.position) return;
    for (const service of new Set([...Object.keys(known.switches), ...Object.keys(next.switches)]))
      if (known.switches[service] !== next.switches[service]) apply(service, next.switches[service]);
    known = next;
  };
  const look = (): void => {
    readSwitches(engine.log, { deadline: clock.monotonic() + limits.engineTimeoutMs }).then(take, cause =>
      logger.debug('the switched strategies cannot be read yet', { message: TandemError.from(cause).message }),
    );
  };
  const unsubscribe = engine.bus.subscribe(subject, (_, body) => {
    const told = decode(body);
    if (told) take(told);
  });
  const unwatch = engine.bus.onConnection(connected => connected && look());
  const timer = every(clock, lookEveryMs, look);
  look();
  return {
    close() {
      closed = true;
      timer.cancel();
      unsubscribe();
      unwatch();
    },
  };
}

/** What is switched now; at position 0 when nothing ever was. */
export async function readSwitches(logs: Log, options: EngineOptions): Promise<Known> {
  for (let attempt = 0; ; attempt++) {
    const position = await tailOf(logs, options);
    if (position === 0) return { position, switches: {} };
    try {
      const [entry] = await logs.read(log, position, 1, options);
      return { position, switches: (entry && decode(entry.body)?.switches) ?? {} };
    } catch (cause) {
      // Trimmed meanwhile: there is a newer one.
      if (TandemError.from(cause).code !== 'NOT_FOUND' || attempt === 2) throw cause;
    }
  }
}

async function tailOf(logs: Log, options: EngineOptions): Promise<number> {
  try {
    return (await logs.info(log, options)).tail;
  } catch (cause) {
    if (TandemError.from(cause).code === 'NOT_FOUND') return 0;
    throw cause;
  }
}

/**
 * Switches one service's strategy, or back to what it says itself. Gives all that is switched then.
 * @throws UNAVAILABLE when the engine does not take it; repeating it is harmless.
 */
export async function switchStrategy(
  { engine, clock, random }: SwitchesOptions,
  service: string,
  strategy: Strategy | undefined,
  deadline: number,
): Promise<Switches> {
  for (let attempt = 0; ; attempt++) {
    // An answer that is lost leaves time for another try.
    const options = { deadline: Math.min(deadline, clock.monotonic() + limits.engineTimeoutMs) };
    const { position, switches } = await readSwitches(engine.log, options);
    const { [service]: before, ...others } = switches;
    if (before === strategy) return switches;
    const next: Switches = strategy === undefined ? others : { ...others, [service]: strategy };
    const result = await engine.log.append(log, position, [encode({ position: 0, switches: next })], options);
    if (result.kind === 'appended') {
      engine.bus.publish(subject, encode({ position: result.position, switches: next }));
      await engine.log.trim(log, result.position, options).catch(() => {}); // the next one trims what this one leaves
      return next;
    }
    const waitMs = backoffMs(random, attempt, 10, 500);
    if (clock.monotonic() + waitMs >= deadline)
      throw new TandemError('UNAVAILABLE', 'the engine did not take the switch in time; repeat it', {
        outcome: 'unknown',
      });
    await sleep(clock, waitMs);
  }
}

function encode(known: Known): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(known));
}

/** Undefined for what is none, such as the empty entry of a barrier; strategies that this version does not know are left out. */
function decode(body: Uint8Array): Known | undefined {
  try {
    const { position, switches } = JSON.parse(new TextDecoder().decode(body)) as Known;
    const known = Object.entries(switches).filter(([, strategy]) => isStrategy(strategy));
    return { position, switches: Object.fromEntries(known) };
  } catch {
    return undefined;
  }
}

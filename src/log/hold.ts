/**
 * Lets a backup find a moment at which nothing is appended: on its word a process keeps its appends back for a moment, and
 * removes nothing for a while. Both are help, not proof: the word goes over the bus, which may lose it. What makes the
 * backup's cut a moment is that it saw all logs twice, with nothing between (backup/cut.ts).
 */
import { type Clock, sleep } from '../core/clock.ts';
import type { Engine } from './engine.ts';

const subject = 'control.backup';

/** How long appends wait, and how long nothing is removed, from when it is heard (ms). */
export interface HoldForm {
  readonly holdMs: number;
  readonly keepMs: number;
}

/** A process is never kept from writing for longer, whatever it hears. */
const holdMsMax = 2000;
const keepMsMax = 120_000;

export function askToHold(engine: Pick<Engine, 'bus'>, form: HoldForm): void {
  engine.bus.publish(subject, Buffer.from(JSON.stringify(form)));
}

/** The engine as a process of an app uses it. */
export function holding(engine: Engine, clock: Clock): Engine {
  let heldUntil = 0;
  let keptUntil = 0;
  let released = new AbortController();
  const unsubscribe = engine.bus.subscribe(subject, (_, body) => {
    let form: HoldForm;
    try {
      form = JSON.parse(Buffer.from(body).toString('utf8')) as HoldForm;
    } catch {
      return;
    }
    const now = clock.monotonic();
    heldUntil = now + Math.min(Number(form.holdMs) || 0, holdMsMax);
    keptUntil = now + Math.min(Number(form.keepMs) || 0, keepMsMax);
    if (form.holdMs > 0) return;
    released.abort();
    released = new AbortController();
  });
  const { log, blobs } = engine;
  const passed = async (): Promise<void> => {
    for (let left = heldUntil - clock.monotonic(); left > 0; left = heldUntil - clock.monotonic())
      await sleep(clock, left, released.signal);
  };
  return {
    bus: engine.bus,
    capabilities: engine.capabilities,
    log: {
      append: (name, expected, bodies, options) =>
        heldUntil > clock.monotonic()
          ? passed().then(() => log.append(name, expected, bodies, options))
          : log.append(name, expected, bodies, options),
      barrier: (name, options) => log.barrier(name, options),
      read: (name, from, bytesMax, options) => log.read(name, from, bytesMax, options),
      follow: (name, from, signal) => log.follow(name, from, signal),
      begin: (name, first, options) => log.begin(name, first, options),
      // It comes again with the next snapshot.
      trim: async (name, before, options) => {
        if (keptUntil <= clock.monotonic()) await log.trim(name, before, options);
      },
      info: (name, options) => log.info(name, options),
      list: (prefix, options) => log.list(prefix, options),
    },
    blobs: {
      put: (name, bytes, options) => blobs.put(name, bytes, options),
      get: (name, options) => blobs.get(name, options),
      // What is left over is collected by who removes the next.
      delete: async (name, options) => {
        if (keptUntil <= clock.monotonic()) await blobs.delete(name, options);
      },
      list: (prefix, options) => blobs.list(prefix, options),
    },
    close: () => {
      unsubscribe();
      return engine.close();
    },
  };
}

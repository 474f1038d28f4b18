/**
 * Heartbeats from a worker thread with its own connection to the engine. The main loop only ticks a shared memory; the
 * worker reports how long ago that was, so a busy loop is not taken for death, and a stuck one not for life. The worker
 * lives and dies with the process: nothing of it keeps the process alive.
 */
import { Worker } from 'node:worker_threads';
import { every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import { beatMemory } from './beat-memory.ts';
import type { BeatIdentity, BeatOptions, BeatReading, BeatSender } from './beat-sender.ts';

export interface StartBeatsOptions extends BeatOptions {
  /** Of the engine: `tcp://127.0.0.1:4711`. */
  readonly engineAddress: string;
  /** Directory of certificates, when the engine is reached over TLS. */
  readonly linkTls?: string | undefined;
  readonly logger: Logger;
}

/** Main loop to worker. */
export type ToBeatWorker =
  | {
      readonly kind: 'status';
      readonly status: Omit<BeatReading, 'inflight'>;
      readonly loopDelayMs: number;
      /** Others wait for it: beat at once. */
      readonly urgent: boolean;
    }
  | { readonly kind: 'close' };
export interface BeatWorkerData {
  readonly engineAddress: string;
  readonly linkTls: string | undefined;
  readonly identity: BeatIdentity;
  readonly startedAt: number;
  readonly memory: SharedArrayBuffer;
}

/**
 * Well below the silence from which a loop counts as slow. How late the ticks come is the loop's delay: a finer sampler would wake an
 * idle process more often than all its work does.
 */
const tickMs = limits.beatIntervalMs / 2.5;
const farewellWaitMs = 500;

export function startBeats(options: StartBeatsOptions): BeatSender {
  const { clock, logger, identity, engineAddress, linkTls, read } = options;
  const memory = beatMemory();
  const url = new URL(import.meta.url.endsWith('.ts') ? './beat-worker.ts' : './beat-worker.js', import.meta.url);
  const data: BeatWorkerData = { engineAddress, linkTls, identity, startedAt: clock.now(), memory: memory.buffer };
  const worker = new Worker(url, {
    workerData: data,
    name: 'beats',
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 },
  });
  let closed = false;
  let sentAtMs = 0;
  let sent = '';
  let tickedAtMs = clock.monotonic();
  let lateMs = 0;

  worker.unref();
  worker.on('error', cause => logger.error('the heartbeat thread failed', { message: String(cause) }));
  const exited = new Promise<void>(resolve => {
    worker.once('exit', code => {
      if (!closed) logger.error('the heartbeat thread ended; others will take this process for dead', { code });
      resolve();
    });
  });

  const beat = (): void => {
    if (closed) return;
    const { inflight, ...rest } = read();
    memory.tick(clock.now(), inflight);
    const now = clock.monotonic();
    const text = routing(rest);
    const urgent = text !== sent;
    if (!urgent && now - sentAtMs < limits.beatIntervalMs) return;
    sent = text;
    sentAtMs = now;
    const message: ToBeatWorker = { kind: 'status', status: rest, loopDelayMs: lateMs, urgent };
    lateMs = 0;
    worker.postMessage(message);
  };
  const tick = (): void => {
    const now = clock.monotonic();
    lateMs = Math.max(lateMs, now - tickedAtMs - tickMs);
    tickedAtMs = now;
    beat();
  };
  beat();
  const timer = every(clock, tickMs, tick);
  return {
    changed: beat,
    async close() {
      if (closed) return;
      closed = true;
      timer.cancel();
      worker.postMessage({ kind: 'close' } satisfies ToBeatWorker);
      let waited: (() => void) | undefined;
      const timeout = clock.after(farewellWaitMs, () => waited?.());
      await Promise.race([
        exited,
        new Promise<void>(resolve => {
          waited = resolve;
        }),
      ]);
      timeout.cancel();
      await worker.terminate();
    },
  };
}

/** What others wait for in a status; load and positions may wait for the next beat. */
function routing(status: Omit<BeatReading, 'inflight'>): string {
  const partitions = status.partitions.map(({ partition, ready, epoch }) => `${partition}${ready ? '+' : '-'}${epoch}`);
  const { map } = status;
  return `${status.ready} ${status.draining} ${map?.version} ${map?.divided} ${partitions.join()}`;
}

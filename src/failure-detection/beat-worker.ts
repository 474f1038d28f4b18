/**
 * The thread that beats: own event loop, own connection to the engine's bus. It imports little, to start fast and stay
 * small, and measures the process's CPU and memory itself, so that even a stuck process tells how it is.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { linkDialer } from '../communication/link-dialer.ts';
import { tcpTransport } from '../communication/tcp.ts';
import { tlsTransport } from '../communication/tls.ts';
import { unixTransport } from '../communication/unix.ts';
import { systemClock as clock, every } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import { silentLogger as logger } from '../core/logger.ts';
import { silentMeter as meter } from '../core/meter.ts';
import { systemRandom as random } from '../core/random.ts';
import { reachEngine } from '../log/reach-engine.ts';
import { entryFormatRead } from './beat.ts';
import { beatSubject, encodeBeat, farewell } from './beat-form.ts';
import { beatMemory } from './beat-memory.ts';
import { openSelfMeasure } from './self-measure.ts';
import type { BeatWorkerData, ToBeatWorker } from './start-beats.ts';

const data = workerData as BeatWorkerData;
const { identity } = data;
const memory = beatMemory(data.memory);
const measure = openSelfMeasure(clock);
const transports = [tcpTransport(), unixTransport()];
// What its certificates lack is in the records of the main thread.
if (data.linkTls !== undefined) transports.push(tlsTransport({ directory: data.linkTls, clock, logger }));
const dialer = linkDialer({ transports, clock, random, logger, meter });
const name = `${identity.id} beats`;
const engine = await reachEngine({ dialer, address: data.engineAddress, name, clock, random, logger });
const subject = beatSubject(identity.id);
let latest: Extract<ToBeatWorker, { kind: 'status' }> | undefined;
let sequence = 0;
/** Since when this thread runs without a pause of its own: before that, silence of the main loop proves nothing (SIGSTOP). */
let awakeSinceMs = clock.now();
let lookedMs = awakeSinceMs;

function beat(): void {
  if (!latest || !engine.bus.connected) return;
  const { tickedAtMs, inflight } = memory.read();
  const { cpu, memoryBytes } = measure.read();
  const load = { inflight, cpu, memoryBytes, loopDelayMs: latest.loopDelayMs };
  const now = clock.now();
  const mainLoopSilentMs = Math.max(0, now - Math.max(tickedAtMs, awakeSinceMs));
  engine.bus.publish(
    subject,
    encodeBeat({
      entryFormat: entryFormatRead,
      ...identity,
      startedAt: data.startedAt,
      ...latest.status,
      load,
      sequence: ++sequence,
      sentAt: now,
      mainLoopSilentMs,
    }),
  );
}

async function close(): Promise<void> {
  timer.cancel();
  latest = undefined;
  if (engine.bus.connected) engine.bus.publish(subject, farewell);
  await engine.close();
  await dialer.close();
  parentPort?.close();
}

const timer = every(clock, limits.beatIntervalMs, () => {
  const now = clock.now();
  if (now - lookedMs > limits.beatIntervalMs * 3) awakeSinceMs = now;
  lookedMs = now;
  beat();
});
engine.bus.onConnection(connected => {
  if (connected) beat();
});
parentPort?.on('message', (message: ToBeatWorker) => {
  if (message.kind === 'close') {
    void close();
    return;
  }
  latest = message;
  if (message.urgent) beat();
});

/** What a process can say about its own load: CPU share, resident memory, event-loop delay. The hands of the heartbeat. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import process from 'node:process';
import type { Clock } from '../core/clock.ts';

export interface SelfMeasure {
  /** Since the last reading: share of one core (of the whole process), memory now, p99 of the loop's delay in ms. */
  read(): { readonly cpu: number; readonly memoryBytes: number; readonly loopDelayMs: number };
  close(): void;
}

/** Finer would wake an idle process more often than all its work does. */
const resolutionMs = 40;

export function openSelfMeasure(clock: Clock, options: { readonly loop: boolean }): SelfMeasure {
  const delay = options.loop ? monitorEventLoopDelay({ resolution: resolutionMs }) : undefined;
  delay?.enable();
  let cpu = process.cpuUsage();
  let at = clock.monotonic();
  return {
    read() {
      const used = process.cpuUsage(cpu);
      const now = clock.monotonic();
      const share = (used.user + used.system) / 1000 / Math.max(1, now - at);
      cpu = process.cpuUsage();
      at = now;
      // The histogram counts the whole time between two samples, of which its own resolution is no delay.
      const p99 = delay && delay.count > 0 ? delay.percentile(99) / 1e6 - resolutionMs : 0;
      delay?.reset();
      return { cpu: share, memoryBytes: process.memoryUsage.rss(), loopDelayMs: Math.max(0, p99) };
    },
    close() {
      delay?.disable();
    },
  };
}

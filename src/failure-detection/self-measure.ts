/** What a process can say about its own load: CPU share and resident memory. The hands of the heartbeat. */
import process from 'node:process';
import type { Clock } from '../core/clock.ts';

export interface SelfMeasure {
  /** Share of one core (of the whole process) since the last reading, memory now. */
  read(): { readonly cpu: number; readonly memoryBytes: number };
}

export function openSelfMeasure(clock: Clock): SelfMeasure {
  let cpu = process.cpuUsage();
  let at = clock.monotonic();
  return {
    read() {
      const used = process.cpuUsage(cpu);
      const now = clock.monotonic();
      const share = (used.user + used.system) / 1000 / Math.max(1, now - at);
      cpu = process.cpuUsage();
      at = now;
      return { cpu: share, memoryBytes: process.memoryUsage.rss() };
    },
  };
}

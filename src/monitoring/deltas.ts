/**
 * Turns what processes have counted since they started into what happened since the last look. A process that started anew
 * has a new id, so its counts are never mixed with those of its former life.
 */
import { type HistogramPoint, histogramSince, type MetricPoint, seriesKey } from './metric-point.ts';

export interface Deltas {
  /** What happened in this process since its last look: counters and histograms as differences, gauges as they are. */
  take(processId: string, points: readonly MetricPoint[]): MetricPoint[];
  forget(processId: string): void;
}

export function openDeltas(): Deltas {
  const last = new Map<string, Map<string, MetricPoint>>();
  return {
    take(processId, points) {
      const before = last.get(processId);
      const now = new Map<string, MetricPoint>();
      const changes: MetricPoint[] = [];
      for (const point of points) {
        if (point.kind === 'gauge') {
          changes.push(point);
          continue;
        }
        const key = seriesKey(`${point.kind} ${point.name}`, point.attributes);
        now.set(key, point);
        // What a process counted before the first look has no known time: it is taken as the base, not as traffic of this second.
        if (before !== undefined) changes.push(since(point, before.get(key)));
      }
      last.set(processId, now);
      return changes;
    },
    forget: processId => void last.delete(processId),
  };
}

function since(point: MetricPoint, before: MetricPoint | undefined): MetricPoint {
  if (point.kind === 'histogram') return histogramSince(point, before as HistogramPoint | undefined);
  const base = before !== undefined && before.kind === 'counter' && before.value <= point.value ? before.value : 0;
  return { ...point, value: point.value - base };
}

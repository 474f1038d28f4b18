/**
 * Error tracking: records that tell of the same trouble become one group with a count, first and last seen. What differs
 * between two tellings (numbers, ids, quoted values) is left out of the identity. Bounded: the group that was quiet longest goes.
 */
import type { LogRecord } from './record.ts';

export interface ErrorGroup {
  readonly key: string;
  readonly service: string;
  readonly level: string;
  /** The latest telling. */
  readonly message: string;
  readonly code: string | undefined;
  readonly count: number;
  /** ISO 8601. */
  readonly firstSeen: string;
  readonly lastSeen: string;
  readonly instances: readonly string[];
}

export interface ErrorGroups {
  add(service: string, instance: string, record: LogRecord): void;
  /** Latest first. */
  list(): ErrorGroup[];
}

const instancesMax = 16;

/** Default 200 groups. */
export function openErrorGroups(groupsMax = 200): ErrorGroups {
  const groups = new Map<string, ErrorGroup>();
  return {
    add(service, instance, record) {
      const error = record.fields.error as { code?: unknown; message?: unknown } | undefined;
      const code = error?.code === undefined ? undefined : String(error.code);
      const reason = error?.message === undefined ? '' : `: ${String(error.message)}`;
      const message = `${record.message}${reason}`.slice(0, 500);
      const key = `${service} ${record.level} ${code ?? ''} ${shapeOf(message)}`;
      const before = groups.get(key);
      groups.delete(key);
      const known = before?.instances ?? [];
      groups.set(key, {
        key,
        service,
        level: record.level,
        message,
        code,
        count: (before?.count ?? 0) + 1,
        firstSeen: before?.firstSeen ?? record.time,
        lastSeen: record.time,
        instances: known.includes(instance) || known.length >= instancesMax ? known : [...known, instance],
      });
      if (groups.size > groupsMax) groups.delete(groups.keys().next().value!);
    },
    list: () => [...groups.values()].reverse(),
  };
}

/** A message without what varies from one telling to the next. */
export function shapeOf(message: string): string {
  return message
    .replace(/'[^']*'|"[^"]*"/g, '<text>')
    .replace(/\b[0-9a-z]*\d[0-9a-z-]*\b/gi, '<n>')
    .slice(0, 300);
}

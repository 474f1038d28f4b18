/**
 * The logger: records as lines of JSON for machines (the default), or pretty for a terminal. Writing a record never throws:
 * a sink that fails, or a field that cannot be read, costs that record at most.
 */
import { type Clock, isoTime } from '../core/clock.ts';
import type { Logger } from '../core/logger.ts';
import { jsonLine, type Level, type LogRecord, plain, prettyLine } from './record.ts';

export type { Level, LogRecord } from './record.ts';

export interface LoggerOptions {
  /** Takes one finished line, without its line end. */
  readonly write: (line: string) => void;
  readonly clock: Clock;
  /** The least level that is written; `silent` writes none. Default info. */
  readonly level?: Level | 'silent' | undefined;
  /** Default json. */
  readonly format?: 'json' | 'pretty' | undefined;
  /** Colours in pretty lines; the opener looks at NO_COLOR and at whether it is a terminal (`wantsColor`). Default false. */
  readonly color?: boolean | undefined;
  /** In every record: service, instance. */
  readonly fields?: Readonly<Record<string, unknown>> | undefined;
  /** Sees every record of level warn and error, written or not: error tracking (record-ring.ts). */
  readonly onProblem?: ((record: LogRecord) => void) | undefined;
}

const rank: Readonly<Record<Level | 'silent', number>> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 };

export function openLogger(options: LoggerOptions): Logger {
  const least = rank[options.level ?? 'info'];
  const pretty = options.format === 'pretty';
  const color = options.color ?? false;

  const emit = (level: Level, message: string, bound: Fields, fields: Fields | undefined): void => {
    const written = rank[level] >= least;
    const problem = rank[level] >= rank.warn && options.onProblem !== undefined;
    if (!written && !problem) return;
    try {
      const time = isoTime(options.clock.now());
      const all = plain(fields ? { ...bound, ...fields } : bound) as Record<string, unknown>;
      const record: LogRecord = { time, level, message: String(message), fields: all };
      if (written) options.write(pretty ? prettyLine(record, color) : jsonLine(record));
      if (problem) options.onProblem?.(record);
    } catch {
      // A record is not worth an accident: the work that it tells of goes on.
    }
  };
  const make = (bound: Fields): Logger => ({
    debug: (message, fields) => emit('debug', message, bound, fields),
    info: (message, fields) => emit('info', message, bound, fields),
    warn: (message, fields) => emit('warn', message, bound, fields),
    error: (message, fields) => emit('error', message, bound, fields),
    with: fields => make({ ...bound, ...fields }),
  });
  return make(options.fields ?? {});
}

type Fields = Readonly<Record<string, unknown>>;

/** no-color.org: NO_COLOR that is set and not empty wins over everything. */
export function wantsColor(env: Readonly<Record<string, string | undefined>>, isTerminal: boolean): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR && env.FORCE_COLOR !== '0') return true;
  return isTerminal && env.TERM !== 'dumb';
}

/** The level that a text (LOG_LEVEL) names; undefined when it names none. */
export function levelOf(text: string | undefined): Level | 'silent' | undefined {
  const name = text?.trim().toLowerCase();
  return name !== undefined && Object.hasOwn(rank, name) ? (name as Level | 'silent') : undefined;
}

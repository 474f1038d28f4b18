/**
 * Cron expressions: five fields (minute, hour, day of month, month, day of week), read by the wall clock of a time zone. Pure.
 * Where clocks are set, the rule is that of Vixie's cron: a job at named hours runs once for each time that it names. A time
 * that the clock skips falls due at the moment of the skip; one that comes twice falls due the first time. With `*` as its hour
 * a job goes by real time instead: it runs in both of the doubled hours and not for the one that never was.
 * Own code rather than a library, because exactly this is part of what a schedule promises, and it is a page.
 */
import { TandemError } from './errors.ts';

export interface Cron {
  /** The first time it falls due after `afterMs` (ms since 1970). Always later than it. */
  next(afterMs: number): number;
}

const minuteMs = 60_000;
const hourMs = 3_600_000;
/** 29 February on a given weekday comes at least this often, also around a year like 2100 without one. */
const searchYears = 41;

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const shape: readonly { name: string; least: number; most: number; words: readonly string[] }[] = [
  { name: 'minute', least: 0, most: 59, words: [] },
  { name: 'hour', least: 0, most: 23, words: [] },
  { name: 'day of month', least: 1, most: 31, words: [] },
  { name: 'month', least: 1, most: 12, words: months },
  { name: 'day of week', least: 0, most: 7, words: weekdays },
];

interface Fields {
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly days: ReadonlySet<number>;
  readonly months: ReadonlySet<number>;
  readonly weekdays: ReadonlySet<number>;
  /** Both days are restricted: either will do, as in every cron since 1987. */
  readonly eitherDay: boolean;
  readonly everyHour: boolean;
}

/** @throws INVALID for what is no expression, never falls due, or is no time zone. */
export function parseCron(text: string, timeZone: string): Cron {
  const fields = fieldsOf(text);
  const offsetMs = offsetsOf(timeZone);
  if (firstMatch(fields, Date.UTC(2000, 0, 1)) === undefined)
    throw new TandemError('INVALID', `cron '${text}' never falls due: no month has such a day`);
  return { next: afterMs => next(fields, offsetMs, afterMs) };
}

function fieldsOf(text: string): Fields {
  const parts = String(text).trim().split(/\s+/);
  if (parts.length !== shape.length) {
    const message = `cron '${text}' has ${parts.length} fields; it takes five: minute hour day-of-month month day-of-week, such as '0 3 * * *' for 03:00 each day`;
    throw new TandemError('INVALID', message);
  }
  const [minutes, hours, days, monthsSet, weekdaysGiven] = parts.map((part, at) => valuesOf(text, part, at));
  return {
    minutes: minutes!,
    hours: hours!,
    days: days!,
    months: monthsSet!,
    weekdays: new Set([...weekdaysGiven!].map(day => day % 7)),
    eitherDay: !parts[2]!.startsWith('*') && !parts[4]!.startsWith('*'),
    everyHour: parts[1] === '*',
  };
}

/** `*`, `7`, `mon`, `1-5`, each with `/step`, and lists of them. */
function valuesOf(text: string, field: string, at: number): ReadonlySet<number> {
  const { name, least, most, words } = shape[at]!;
  const wrong = (part: string): TandemError =>
    new TandemError(
      'INVALID',
      `cron '${text}': '${part}' is no ${name}; it takes ${least}-${most}, *, ranges (1-5), lists (1,3) and steps (*/5)`,
    );
  const numberOf = (word: string, part: string): number => {
    const named = words.indexOf(word.toLowerCase());
    const value = named >= 0 ? named + least : /^\d{1,2}$/.test(word) ? Number(word) : Number.NaN;
    if (!(value >= least && value <= most)) throw wrong(part);
    return value;
  };
  const values = new Set<number>();
  for (const part of field.split(',')) {
    const match = /^(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:\/(\d{1,2}))?$/i.exec(part);
    if (!match) throw wrong(part);
    const [, from = '', to, step] = match;
    const every = step === undefined ? 1 : Number(step);
    if (every < 1 || (from === '*' && to !== undefined)) throw wrong(part);
    const first = from === '*' ? least : numberOf(from, part);
    const open = from === '*' || (to === undefined && step !== undefined);
    const last = open ? most : numberOf(to ?? from, part);
    if (first > last) throw wrong(part);
    for (let value = first; value <= last; value += every) values.add(value);
  }
  return values;
}

/** How far the zone's wall clock is ahead of UTC at an instant. @throws INVALID */
function offsetsOf(timeZone: string): (atMs: number) => number {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'iso8601',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch (cause) {
    const message = `'${timeZone}' is no time zone; write for example 'Europe/Berlin' or 'UTC'`;
    throw new TandemError('INVALID', message, { cause });
  }
  return atMs => {
    const wall: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(atMs)) wall[type] = Number(value);
    const { year, month, day, hour, minute, second } = wall as Record<string, number>;
    return Date.UTC(year!, month! - 1, day, hour, minute, second) - Math.floor(atMs / 1000) * 1000;
  };
}

/** Wall times are held as if they were UTC, and called `wall`; `at` is an instant. */
function next(fields: Fields, offsetMs: (at: number) => number, afterMs: number): number {
  let at = afterMs;
  let wall = Math.floor((at + offsetMs(at)) / minuteMs) * minuteMs + minuteMs;
  if (!fields.everyHour) wall = Math.max(wall, endOfRepeat(offsetMs, at));
  for (;;) {
    const match = firstMatch(fields, wall);
    if (match === undefined) return Number.POSITIVE_INFINITY;
    wall = match;
    // From so near that clocks are set once at most in between; nothing falls due before.
    at = Math.max(at, wall - 40 * hourMs);
    const offset = offsetMs(at);
    const found = wall - offset;
    const nextOffset = offsetMs(found);
    if (nextOffset === offset) return found;
    const setAt = transition(offsetMs, at, found);
    at = setAt;
    const skippedTo = setAt + offsetMs(setAt);
    if (wall < skippedTo) {
      if (!fields.everyHour) return setAt;
      wall = skippedTo;
    } else if (skippedTo < setAt + offset && fields.everyHour) wall = skippedTo;
  }
}

/** Inside wall time that comes for the second time: when (wall) it is over. Else what is no later than now. */
function endOfRepeat(offsetMs: (at: number) => number, at: number): number {
  const before = at - 26 * hourMs;
  const offset = offsetMs(before);
  if (offset <= offsetMs(at)) return 0;
  return transition(offsetMs, before, at) + offset;
}

/** When, in (from, to], the offset changes; to the second, as zones define it. */
function transition(offsetMs: (at: number) => number, from: number, to: number): number {
  const offset = offsetMs(from);
  let low = Math.floor(from / 1000);
  let high = Math.ceil(to / 1000);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetMs(middle * 1000) === offset) low = middle;
    else high = middle;
  }
  return high * 1000;
}

function firstMatch(fields: Fields, from: number): number | undefined {
  let wall = from;
  const lastYear = new Date(from).getUTCFullYear() + searchYears;
  for (;;) {
    const date = new Date(wall);
    const year = date.getUTCFullYear();
    if (year > lastYear) return undefined;
    const month = date.getUTCMonth();
    const day = date.getUTCDate();
    if (!fields.months.has(month + 1)) wall = Date.UTC(year, month + 1, 1);
    else if (!dayMatches(fields, day, date.getUTCDay())) wall = Date.UTC(year, month, day + 1);
    else if (!fields.hours.has(date.getUTCHours())) wall = Date.UTC(year, month, day, date.getUTCHours() + 1);
    else if (!fields.minutes.has(date.getUTCMinutes())) wall += minuteMs;
    else return wall;
  }
}

function dayMatches({ days, weekdays: onWeekdays, eitherDay }: Fields, day: number, weekday: number): boolean {
  return eitherDay ? days.has(day) || onWeekdays.has(weekday) : days.has(day) && onWeekdays.has(weekday);
}

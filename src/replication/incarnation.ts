/**
 * When a log is no longer surely what was acknowledged (data core, rule 20): a backup was restored, its engine was repaired
 * or put back from a copy, or lost what no disk had. Each claim of a log names the medium that it is on, which is what the
 * engine knows itself by. The first one to name another begins a new incarnation at its position: what was seen of the log
 * before that position is all here, what was seen behind it under the old name is gone, and events from there on have another
 * source, so that no reader takes them for those that are gone.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../core/clock.ts';
import type { Engine } from '../log/engine.ts';
import { readNote } from '../log/restore-note.ts';
import type { Head, Renewal } from './store.ts';

/** Where a log is kept: the last restore into its engine, and the engine's own word for it. */
export async function mediumOf(engine: Engine, log: string, clock: Clock, timeoutMs: number): Promise<string> {
  const [note, { incarnation }] = await Promise.all([
    readNote(engine, clock, timeoutMs),
    engine.log.info(log, { deadline: clock.monotonic() + timeoutMs }),
  ]);
  return `${note?.id ?? ''}:${incarnation}`;
}

/** The restore that a medium is of; empty for none, and for a medium that was never named. */
export function restoreOf(medium: string | undefined): string {
  return medium?.slice(0, medium.indexOf(':')) ?? '';
}

/** What the first entry of a log can know of its medium: the engine has no word for a log before there is one. */
export function restoreAlone(medium: string | undefined): string | undefined {
  return medium === undefined ? undefined : `${restoreOf(medium)}:`;
}

/** Data that never named its medium cannot tell. */
export function isSameMedium(known: string | undefined, now: string): boolean {
  return known === undefined || known === now || known === restoreAlone(now);
}

type Identity = Pick<Head, 'incarnation' | 'renewals'>;

/** More than this in one log's life, and what was seen under the oldest names counts as gone. */
const renewalsMax = 64;

/** After a claim at `position` that names `medium`. */
export function renewed(
  head: Pick<Head, 'medium' | 'renewals'>,
  position: number,
  medium: string,
): Pick<Head, 'medium' | 'renewals'> {
  const { renewals = [] } = head;
  if (isSameMedium(head.medium, medium)) return { medium, renewals: head.renewals };
  const id = hash('sha256', medium, 'hex').slice(0, 8);
  return { medium, renewals: [...renewals, [position, id] as const].slice(-renewalsMax) };
}

/** Name of a log with its identity, as sessions and outbox stamps carry it: a re-created or restored log is another one. */
export function labelOf(log: string, { incarnation, renewals }: Identity): string {
  return labelled(log, incarnation, renewals?.at(-1));
}

/** The label that a position had when it was written. */
export function labelAt(log: string, { incarnation, renewals }: Identity, position: number): string {
  return labelled(
    log,
    incarnation,
    renewals?.findLast(([from]) => from <= position),
  );
}

function labelled(log: string, incarnation: string, renewal: Renewal | undefined): string {
  return `${log}#${incarnation}${renewal ? `~${renewal[1]}` : ''}`;
}

/** Former labels of a log, each with the position from which on what was seen under it is gone. */
export function formerLabels(
  log: string,
  { incarnation, renewals = [] }: Identity,
): [label: string, goneFrom: number][] {
  const all = renewals.map(([position], at): [string, number] => [
    labelled(log, incarnation, at === 0 ? undefined : renewals[at - 1]),
    position,
  ]);
  return renewals.length === renewalsMax ? all.slice(1) : all;
}

/** As an ancestor's name: all of it, or what was seen of it below a position, is in the logs that go on from it. */
export function ancestorsOf(log: string, head: Pick<Head, 'incarnation' | 'renewals' | 'ancestors'>): string[] {
  return [...formerLabels(log, head).map(([label, goneFrom]) => `${label}@${goneFrom}`), ...(head.ancestors ?? [])];
}

/** The reverse: a label, and from where on what was seen under it is gone. */
export function readAncestor(text: string): [label: string, goneFrom: number] {
  const at = text.lastIndexOf('@');
  return at < 0 ? [text, Number.POSITIVE_INFINITY] : [text.slice(0, at), Number(text.slice(at + 1))];
}

/**
 * Appends that one turn of the event loop asks for travel in one call, whatever logs they are of: an engine writes and syncs
 * them together anyway, and a message costs more than a small entry does (the batching of Kafka's producer, with a linger of
 * one turn). Each append keeps its own fate: a conflict or a refusal of one says nothing about its neighbours. When the
 * call's answer is lost, the fate of all of them is unknown. Each keeps its own deadline too: the call has that of the append
 * which waits longest, and who waits less long is told at its own time.
 */
import type { SendOptions } from '../core/channel.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { type ErrorForm, fromErrorForm, TandemError, toErrorForm } from '../core/errors.ts';
import type { AppendResult, EngineOptions, Log } from './engine.ts';

/** Log, expected tail (null: any), bodies. */
export type AppendForm = readonly [log: string, expected: number | null, bodies: readonly Uint8Array[]];
/** The position of the last entry; or the tail of a conflict; or why it was refused; null when its fate is unknown. */
export type FateForm = number | readonly [tail: number] | ErrorForm | null;

/** With one entry of the largest size it still fits a frame. */
const groupBytesMax = 1024 * 1024;
const groupAppendsMax = 128;

/** Deadlines that differ by less are taken for the same: those of one turn mostly are, and then no timer is set. */
const deadlineSlackMs = 50;

interface Waiting {
  readonly deadline: number;
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

export class AppendGroup {
  readonly #clock: Clock;
  readonly #send: (group: readonly AppendForm[], options: SendOptions) => Promise<unknown>;
  readonly #flushTask = (): void => this.#flush();
  #forms: AppendForm[] = [];
  #waiting: Waiting[] = [];
  #bytes = 0;
  #earliest = Number.POSITIVE_INFINITY;
  #latest = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, send: (group: readonly AppendForm[], options: SendOptions) => Promise<unknown>) {
    this.#clock = clock;
    this.#send = send;
  }

  append(
    log: string,
    expected: number | 'any',
    bodies: readonly Uint8Array[],
    { deadline }: EngineOptions,
  ): Promise<AppendResult> {
    let bytes = 0;
    for (const body of bodies) bytes += body.length;
    if (this.#forms.length > 0 && (this.#bytes + bytes > groupBytesMax || this.#forms.length >= groupAppendsMax)) {
      this.#flush();
    }
    if (this.#forms.length === 0) this.#clock.defer(this.#flushTask);
    this.#forms.push([log, expected === 'any' ? null : expected, bodies]);
    this.#bytes += bytes;
    if (deadline < this.#earliest) this.#earliest = deadline;
    if (deadline > this.#latest) this.#latest = deadline;
    return new Promise((resolve, reject) => this.#waiting.push({ deadline, resolve, reject }));
  }

  #flush(): void {
    if (this.#forms.length === 0) return;
    const now = this.#clock.monotonic();
    if (this.#earliest <= now) this.#refuseLate(now);
    const forms = this.#forms;
    const waiting = this.#waiting;
    const earliest = this.#earliest;
    const latest = this.#latest;
    this.#forms = [];
    this.#waiting = [];
    this.#bytes = 0;
    this.#earliest = Number.POSITIVE_INFINITY;
    this.#latest = Number.NEGATIVE_INFINITY;
    if (forms.length === 0) return;
    const early = latest - earliest > deadlineSlackMs ? tellAtOwnDeadline(this.#clock, waiting, latest) : undefined;
    this.#send(forms, { deadline: latest, priority: 'critical' }).then(
      fates => {
        early?.cancel();
        for (let i = 0; i < waiting.length; i++) settle(waiting[i]!, (fates as readonly FateForm[])[i] ?? null);
      },
      cause => {
        early?.cancel();
        for (const each of waiting) fail(each, cause);
      },
    );
  }

  /** Whose deadline has passed is refused alone. */
  #refuseLate(now: number): void {
    const isLate = ({ deadline }: Waiting): boolean => deadline <= now;
    for (const each of this.#waiting) if (isLate(each)) each.reject(tooLate());
    this.#forms = this.#forms.filter((_, at) => !isLate(this.#waiting[at]!));
    this.#waiting = this.#waiting.filter(each => !isLate(each));
    this.#earliest = this.#waiting.reduce((least, { deadline }) => Math.min(least, deadline), Number.POSITIVE_INFINITY);
  }
}

/** Those of a group whose deadline comes well before that of their call are told at their own; what comes later for them is not heard. */
function tellAtOwnDeadline(clock: Clock, waiting: readonly Waiting[], latest: number): Timer {
  const early = waiting.filter(({ deadline }) => latest - deadline > deadlineSlackMs);
  early.sort((a, b) => a.deadline - b.deadline);
  let timer: Timer | undefined;
  const arm = (): void => {
    const next = early[0]?.deadline;
    if (next === undefined) return;
    timer = clock.after(next - clock.monotonic(), () => {
      const due = Math.max(next, clock.monotonic());
      while (early[0] && early[0].deadline <= due)
        early.shift()!.resolve({ kind: 'unknown', cause: new Error('no answer before the deadline') });
      arm();
    });
  };
  arm();
  return { cancel: () => timer?.cancel() };
}

function settle(waiting: Waiting, fate: FateForm): void {
  if (typeof fate === 'number') waiting.resolve({ kind: 'appended', position: fate });
  else if (fate === null) waiting.resolve({ kind: 'unknown', cause: new Error('the engine does not know') });
  else if ('code' in fate) fail(waiting, fromErrorForm(fate));
  else waiting.resolve({ kind: 'conflict', tail: fate[0] });
}

/** Errors that, when they say so, are certain that nothing was done. */
const neverSent: ReadonlySet<string> = new Set([
  'UNAVAILABLE',
  'OVERLOADED',
  'CLOSED',
  'TOO_LARGE',
  'INVALID',
  'DEADLINE_EXCEEDED',
]);

function tooLate(): TandemError {
  return new TandemError('DEADLINE_EXCEEDED', 'the deadline passed before the append was sent', {
    outcome: 'not-done',
  });
}

function fail(waiting: Waiting, cause: unknown): void {
  const error = TandemError.from(cause);
  if (neverSent.has(error.code) && error.outcome === 'not-done') waiting.reject(error);
  else waiting.resolve({ kind: 'unknown', cause });
}

/** The engine's end: each append has its own fate, and the slowest of them (one sync of the disk) is that of the answer. */
export function appendAll(log: Log, group: readonly AppendForm[], options: EngineOptions): Promise<FateForm[]> {
  return Promise.all(
    group.map(([name, expected, bodies]) =>
      log.append(name, expected ?? 'any', bodies, options).then(fateOf, toErrorForm),
    ),
  );
}

function fateOf(result: AppendResult): FateForm {
  if (result.kind === 'appended') return result.position;
  return result.kind === 'conflict' ? [result.tail] : null;
}

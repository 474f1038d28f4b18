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
  resolve(result: AppendResult): void;
  reject(error: unknown): void;
}

export class AppendGroup {
  readonly #clock: Clock;
  readonly #send: (group: readonly AppendForm[], options: SendOptions) => Promise<unknown>;
  readonly #flushTask = (): void => this.#flush();
  #forms: AppendForm[] = [];
  #waiting: Waiting[] = [];
  /** Of each; beside them, since numbers alone lie in an array without a box around each. */
  #deadlines: number[] = [];
  #bytes = 0;

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
    this.#deadlines.push(deadline);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #flush(): void {
    if (this.#forms.length === 0) return;
    let forms = this.#forms;
    let waiting = this.#waiting;
    let deadlines = this.#deadlines;
    this.#forms = [];
    this.#waiting = [];
    this.#deadlines = [];
    this.#bytes = 0;
    let earliest = Number.POSITIVE_INFINITY;
    let latest = Number.NEGATIVE_INFINITY;
    for (const deadline of deadlines) {
      if (deadline < earliest) earliest = deadline;
      if (deadline > latest) latest = deadline;
    }
    const now = this.#clock.monotonic();
    if (earliest <= now) {
      const inTime = (_: unknown, at: number): boolean => deadlines[at]! > now;
      for (const [at, each] of waiting.entries()) if (!inTime(each, at)) each.reject(tooLate());
      forms = forms.filter(inTime);
      if (forms.length === 0) return;
      waiting = waiting.filter(inTime);
      deadlines = deadlines.filter(deadline => deadline > now);
    }
    const early = latest - earliest > deadlineSlackMs ? tellEarly(this.#clock, waiting, deadlines, latest) : undefined;
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
}

/** Those of a group whose deadline comes well before that of their call are told at their own; what comes later for them is not heard. */
function tellEarly(clock: Clock, waiting: readonly Waiting[], deadlines: readonly number[], latest: number): Timer {
  const early = [...deadlines.keys()].filter(at => latest - deadlines[at]! > deadlineSlackMs);
  early.sort((a, b) => deadlines[a]! - deadlines[b]!);
  let timer: Timer | undefined;
  const arm = (): void => {
    if (early.length === 0) return;
    const next = deadlines[early[0]!]!;
    timer = clock.after(next - clock.monotonic(), () => {
      const due = Math.max(next, clock.monotonic());
      while (early.length > 0 && deadlines[early[0]!]! <= due)
        waiting[early.shift()!]!.resolve({ kind: 'unknown', cause: new Error('no answer before the deadline') });
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

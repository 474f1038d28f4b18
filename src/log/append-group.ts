/**
 * Appends that one turn of the event loop asks for travel in one call, whatever logs they are of: an engine writes and syncs
 * them together anyway, and a message costs more than a small entry does (the batching of Kafka's producer, with a linger of
 * one turn). Each append keeps its own fate: a conflict or a refusal of one says nothing about its neighbours. When the
 * call's answer is lost, the fate of all of them is unknown.
 */
import type { SendOptions } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { type ErrorForm, fromErrorForm, TandemError, toErrorForm } from '../core/errors.ts';
import type { AppendResult, EngineOptions, Log } from './engine.ts';

/** Log, expected tail (null: any), bodies. */
export type AppendForm = readonly [log: string, expected: number | null, bodies: readonly Uint8Array[]];
/** The position of the last entry; or the tail of a conflict; or why it was refused; null when its fate is unknown. */
export type FateForm = number | readonly [tail: number] | ErrorForm | null;

/** With one entry of the largest size it still fits a frame. */
const groupBytesMax = 1024 * 1024;
const groupAppendsMax = 128;

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
  #bytes = 0;
  #deadline = Number.POSITIVE_INFINITY;

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
    // Who waits longer than the first deadline hears "unknown" a little early, which is always true.
    if (deadline < this.#deadline) this.#deadline = deadline;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #flush(): void {
    const forms = this.#forms;
    if (forms.length === 0) return;
    const waiting = this.#waiting;
    const deadline = this.#deadline;
    this.#forms = [];
    this.#waiting = [];
    this.#bytes = 0;
    this.#deadline = Number.POSITIVE_INFINITY;
    this.#send(forms, { deadline, priority: 'critical' }).then(
      fates => {
        for (let i = 0; i < waiting.length; i++) settle(waiting[i]!, (fates as readonly FateForm[])[i] ?? null);
      },
      cause => {
        for (const each of waiting) fail(each, cause);
      },
    );
  }
}

function settle(waiting: Waiting, fate: FateForm): void {
  if (typeof fate === 'number') waiting.resolve({ kind: 'appended', position: fate });
  else if (fate === null) waiting.resolve({ kind: 'unknown', cause: new Error('the engine does not know') });
  else if ('code' in fate) fail(waiting, fromErrorForm(fate));
  else waiting.resolve({ kind: 'conflict', tail: fate[0] });
}

/** Errors that say for certain that nothing was done. */
const neverSent: ReadonlySet<string> = new Set(['UNAVAILABLE', 'OVERLOADED', 'CLOSED', 'TOO_LARGE', 'INVALID']);

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

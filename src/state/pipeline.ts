/**
 * The write path of one partition (data core, rules 1, 2, 4, 6): transactions run on the overlay and are gathered in a
 * group; one append is in flight at most; the next group is sent when the one before was accepted. When a foreign entry
 * came first, or the fate of an append is unknown, the overlay is dropped and all that is unanswered runs again, after
 * the slot was decided and this replica has caught up. So an append never carries what was computed from a state that never was.
 */
import assert from 'node:assert';
import { type Clock, every, sleep, type Timer } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { Logger } from '../core/logger.ts';
import type { Meter } from '../core/meter.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { AppendResult, Engine } from '../log/engine.ts';
import { chainHash, encodeEntry, type LogEntry, type Seal } from '../replication/entry.ts';
import { type LargeEntries, referenceFormat } from '../replication/large-entries.ts';
import type { Replica } from '../replication/replica.ts';
import { Group } from './group.ts';
import type { StateSettings } from './keyspace.ts';
import { forgetOld } from './request-ids.ts';
import { contended, tooLate, unknownFate } from './task-errors.ts';
import { outcomeBytes, runTransaction, type Task } from './transaction.ts';

export interface PipelineOptions {
  readonly replica: Replica;
  readonly instance: string;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly meter: Meter;
  readonly settings: StateSettings;
  readonly large: LargeEntries;
  /** The entry format that every replica reads (rule 25). */
  readonly formatRead: () => number;
}

interface Append {
  readonly body: Uint8Array;
  readonly hash: string;
  readonly entry: LogEntry;
  /** What `body` refers to: stored before it is sent. */
  readonly large: { readonly blob: string; readonly bytes: Uint8Array } | undefined;
}
interface InFlight {
  readonly group: Group;
  /** The log's tail that it must meet. */
  readonly expected: number;
  /** Undefined for a barrier, which carries only checks. */
  readonly append: Append | undefined;
}
/** `undecided`: this replica stopped while nobody could say. */
type Fate = 'accepted' | 'conflict' | 'not-sent' | 'undecided';

/** Room for what an entry holds beside its transactions. */
const entryOverheadBytes = 16_384;
const sweepMs = 25;

export class Pipeline {
  readonly #o: PipelineOptions;
  readonly #bytesMax: number;
  #queue: Task[] = [];
  #group: Group;
  #inFlight: InFlight | undefined;
  /** Deciding a slot or catching up: nothing runs, nothing is sent. */
  #recovering: Promise<void> | undefined;
  /** Finding out who has a slot. */
  #deciding: Promise<unknown> | undefined;
  #scheduled = false;
  #sweep: Timer | undefined;
  #closed: TandemError | undefined;
  /** Nothing new is run or sent, as before a seal; what comes waits. */
  #held = false;
  /** Called when nothing is on its way any more. */
  #onQuiet: (() => void) | undefined;
  /** Appends in a row that the engine did not take; the pause grows with them. */
  #refusals = 0;
  /** Until then (ms of the partition's clock) no request id is old enough to be forgotten. */
  #forgetAt = 0;
  /** Entries of others that came into our way; for tests and the dashboard. */
  conflicts = 0;
  /** Bytes of large entries that were appended here. */
  largeBytes = 0;

  constructor(options: PipelineOptions) {
    this.#o = options;
    this.#bytesMax = options.engine.capabilities.entryBytesMax - entryOverheadBytes;
    this.#group = this.#newGroup();
  }

  get pending(): number {
    return this.#queue.length + this.#group.size + (this.#inFlight?.group.size ?? 0);
  }
  /** Nothing waits, runs or is on its way, not even a claim. */
  get idle(): boolean {
    return !this.#inFlight && !this.#recovering && !this.#group.wanted && this.#queue.length === 0;
  }
  /** A slot is undecided or being caught up with. */
  get recovering(): Promise<void> | undefined {
    return this.#recovering ?? this.#deciding?.then(() => {});
  }

  submit(task: Task): void {
    if (this.#closed) {
      task.reject(this.#closed);
      return;
    }
    if (this.pending >= this.#o.settings.transactionsQueuedMax) {
      task.reject(
        new TandemError('OVERLOADED', `${this.pending} transactions wait for this partition`, {
          details: { retryAfterMs: 50 },
        }),
      );
      return;
    }
    this.#queue.push(task);
    this.#watchDeadlines();
    this.#schedule();
  }

  /** Makes this instance the writer with the next entry. */
  claim(): void {
    if (this.#closed || this.#recovering) return;
    this.#group.claims = true;
    this.#schedule();
  }

  /** Names `heir` (may be empty) as the one to take over, with the next entry. */
  resign(heir: string): void {
    if (this.#recovering) return;
    this.#group.resignsTo = heir;
    this.#schedule();
  }

  /** Lets what is on its way land, and runs nothing more until `release`. False when that takes longer than `waitMs`. */
  async hold(waitMs: number): Promise<boolean> {
    this.#held = true;
    if (this.#isQuiet) return true;
    return new Promise(resolve => {
      const timer = this.#o.clock.after(waitMs, () => end(false));
      const end = (quiet: boolean): void => {
        timer.cancel();
        this.#onQuiet = undefined;
        resolve(quiet);
      };
      this.#onQuiet = () => end(true);
    });
  }

  get #isQuiet(): boolean {
    return !this.#inFlight && !this.#recovering;
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#schedule();
  }

  /** To be called while held: ends the log right after `position`, if it does end there. What waits is then refused with MOVED, never sent. */
  async seal(seal: Seal, position: number): Promise<void> {
    const { replica } = this.#o;
    if (!this.#held || !this.#isQuiet || this.#closed || !replica.ready || replica.head.position !== position) return;
    const group = this.#newGroup();
    group.seal = seal;
    const inFlight: InFlight = { group, expected: group.base, append: this.#entry(group) };
    this.#inFlight = inFlight;
    this.#settle(inFlight, await this.#fate(inFlight));
  }

  /** Refuses new transactions with `error`; those taken on go their way. */
  stop(error: TandemError): void {
    this.#closed ??= error;
  }

  /** Ends at once: what was not sent is not done, what was sent is unknown. */
  close(error: TandemError): void {
    this.stop(error);
    this.#sweep?.cancel();
    this.#sweep = undefined;
    const unsent = [...this.#queue, ...this.#group.tasks()];
    this.#queue = [];
    this.#group = this.#newGroup();
    for (const task of unsent) reject(task, error);
    for (const task of this.#inFlight?.group.tasks() ?? []) reject(task, unknownFate('this instance stopped'));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#o.clock.defer(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#recovering) return;
    if (this.#o.replica.state === 'sealed') {
      if (!this.#inFlight) this.close(this.#gone());
      return;
    }
    if (this.#held) return;
    if (!this.#o.replica.ready) {
      if (this.#queue.length + this.#group.size > 0 || this.#group.wanted) this.#recover(0);
      return;
    }
    this.#runQueue();
    if (!this.#inFlight && this.#group.wanted) void this.#send();
  }

  #runQueue(): void {
    const { replica, clock } = this.#o;
    // An empty group is made anew for its time; one that no longer builds on the log's end is run again.
    if (this.#group.size === 0 || (!this.#inFlight && this.#group.base !== replica.head.position)) this.#rerunGroup();
    while (this.#queue.length > 0 && this.#group.bytes < this.#bytesMax) {
      const task = this.#queue.shift()!;
      if (task.settled) continue;
      if (task.signal?.aborted)
        reject(task, new TandemError('CANCELED', 'the caller gave up before it ran', { outcome: 'not-done' }));
      else if (task.deadline <= clock.monotonic()) reject(task, tooLate());
      else if (task.runs > this.#o.settings.rerunsMax) reject(task, contended(task.runs));
      else if (!this.#run(task)) break;
    }
  }

  /** False when there is no room for it in this group: it waits for the next. */
  #run(task: Task): boolean {
    const group = this.#group;
    const outcome = runTransaction(task, group.rows, group.time, this.#o.settings.requestIdWindowMs);
    if (task.settled) return true; // its own body may have closed us
    const bytes = outcomeBytes(outcome);
    if (bytes > this.#bytesMax) {
      const refusal = this.#tooLarge(bytes);
      if (refusal) {
        reject(task, refusal);
        return true;
      }
    }
    if (group.bytes > 0 && group.bytes + bytes > this.#bytesMax) {
      task.runs--;
      this.#queue.unshift(task);
      return false;
    }
    group.add(task, outcome, bytes);
    return true;
  }

  /** Over what an entry holds: a large one may carry it, alone, when all read those. */
  #tooLarge(bytes: number): TandemError | undefined {
    const { transactionBytesMax: bytesMax } = limits;
    if (bytes > bytesMax)
      return new TandemError(
        'TOO_LARGE',
        `a transaction of ${bytes} bytes is over the limit of ${bytesMax}: change less at once`,
        { details: { bytes, bytesMax } },
      );
    if (this.#o.formatRead() >= referenceFormat) return undefined;
    return new TandemError(
      'TOO_LARGE',
      `a transaction of ${bytes} bytes is over ${this.#bytesMax}, and an instance of an older version, which reads no larger ones, still runs: finish the roll, then repeat`,
      { details: { bytes, bytesMax: this.#bytesMax } },
    );
  }

  /** What was run on a state that is no longer the log's end runs again. */
  #rerunGroup(): void {
    const { claims, resignsTo } = this.#group;
    this.#queue = [...this.#group.tasks(), ...this.#queue];
    this.#group = this.#newGroup();
    if (claims && this.#o.replica.head.writer !== this.#o.instance) this.#group.claims = true;
    this.#group.resignsTo = resignsTo;
  }

  #newGroup(): Group {
    const { replica, clock } = this.#o;
    const before = this.#inFlight;
    const time = Math.max(before?.group.time ?? 0, replica.head.time, clock.now());
    if (!before?.append) return new Group(replica.head.position, time, replica.store);
    return new Group(before.expected + 1, time, before.group.rows);
  }

  async #send(): Promise<void> {
    const { replica } = this.#o;
    if (this.#group.base !== replica.head.position) {
      this.#runQueue();
      if (!this.#group.wanted) return;
    }
    const group = this.#group;
    // Where a barrier is an append, an entry of our own does its work and does not come into our own way (rule 9).
    const appends = group.appends || this.#o.engine.capabilities.barrierAppends;
    const inFlight: InFlight = { group, expected: group.base, append: appends ? this.#entry(group) : undefined };
    this.#inFlight = inFlight;
    this.#group = this.#newGroup();
    this.#settle(inFlight, await this.#fate(inFlight));
  }

  #entry(group: Group): Append {
    const { replica, instance, settings } = this.#o;
    const { head } = replica;
    if (group.time >= this.#forgetAt && !group.seal)
      this.#forgetAt = forgetOld(group.rows, group.time, settings.requestIdWindowMs);
    const entry: LogEntry = {
      parent: head.hash,
      author: instance,
      epoch: group.claims ? head.epoch + 1 : head.epoch,
      time: group.time,
      claims: group.claims,
      medium: group.claims ? replica.medium : undefined,
      resignsTo: group.resignsTo,
      seal: group.seal,
      writes: group.writes(group.base + 1),
      emitted: group.emitted,
    };
    const bytes = encodeEntry(entry);
    if (bytes.length <= this.#o.engine.capabilities.entryBytesMax)
      return { body: bytes, hash: chainHash(bytes), entry, large: undefined };
    const { blob, reference } = this.#o.large.refer(replica.log, group.base + 1, entry.parent, bytes);
    return { body: reference, hash: chainHash(reference), entry, large: { blob, bytes } };
  }

  /** Sends it and finds out what became of it; comes back only with the slot decided. */
  async #fate(inFlight: InFlight): Promise<Fate> {
    const { engine, replica, logger } = this.#o;
    if (!inFlight.append) return this.#barrierFate(inFlight.expected);
    const { large } = inFlight.append;
    let result: AppendResult;
    try {
      if (large) await this.#o.large.put(large.blob, large.bytes);
      result = await engine.log.append(replica.log, inFlight.expected, [inFlight.append.body], {
        deadline: this.#engineDeadline(),
      });
    } catch (thrown) {
      logger.warn('an append was refused', { log: replica.log, message: TandemError.from(thrown).message });
      if (large) void this.#o.large.drop(large.blob);
      return 'not-sent';
    }
    if (result.kind === 'conflict') replica.noteTail(result.tail);
    if (result.kind === 'conflict' && large) void this.#o.large.drop(large.blob);
    if (result.kind !== 'unknown') return result.kind === 'appended' ? 'accepted' : 'conflict';
    logger.warn('the fate of an append is unknown; deciding its slot', {
      log: replica.log,
      position: inFlight.expected + 1,
    });
    const decided = this.#decide(inFlight.expected, inFlight.append);
    this.#deciding = decided;
    try {
      return await decided;
    } finally {
      this.#deciding = undefined;
    }
  }

  /**
   * Rule 6. The same body goes for the same slot again: compare-and-append lets one of all tries in at most. When the slot
   * is taken, reading it tells whether by us.
   */
  async #decide(expected: number, append: Append): Promise<Fate> {
    const { engine, replica, clock, random, logger } = this.#o;
    for (let attempt = 0; ; attempt++) {
      if (replica.state === 'failed' || replica.state === 'closed') return 'undecided';
      try {
        const deadline = this.#engineDeadline();
        const result = await engine.log.append(replica.log, expected, [append.body], { deadline });
        if (result.kind === 'appended') return 'accepted';
        if (result.kind === 'conflict') {
          const [slot] = await engine.log.read(replica.log, expected + 1, 1, { deadline });
          if (slot?.position === expected + 1) return chainHash(slot.body) === append.hash ? 'accepted' : 'conflict';
        }
      } catch (thrown) {
        const error = TandemError.from(thrown);
        logger.warn('a slot is still undecided', { log: replica.log, position: expected + 1, code: error.code });
        if (error.code === 'NOT_FOUND') return 'conflict'; // trimmed meanwhile: what landed is in the snapshot, its request id too
      }
      await sleep(clock, backoffMs(random, attempt, 10, 1000));
    }
  }

  /** Effectless transactions alone: true answers only if the tail, asked after they ran, is where they ran (rule 4). */
  async #barrierFate(expected: number): Promise<Fate> {
    const { engine, replica } = this.#o;
    try {
      const tail = await engine.log.barrier(replica.log, { deadline: this.#engineDeadline() });
      replica.noteTail(tail);
      if (tail < expected)
        replica.fail(new TandemError('LOG_LOST', `${replica.log} ends at ${tail}, but ${expected} was applied`));
      return tail === expected ? 'accepted' : 'conflict';
    } catch {
      return 'not-sent';
    }
  }

  #settle(inFlight: InFlight, fate: Fate): void {
    const { replica } = this.#o;
    assert(this.#inFlight === inFlight, 'one append in flight per partition');
    this.#inFlight = undefined;
    if (fate === 'undecided') {
      for (const task of inFlight.group.tasks()) reject(task, unknownFate('this replica stopped'));
      this.close(this.#gone());
      this.#onQuiet?.();
      return;
    }
    if (fate !== 'accepted') {
      const again = [...inFlight.group.tasks(), ...this.#group.tasks()];
      if (fate === 'conflict') this.conflicts++;
      else for (const task of again) task.runs--;
      this.#refusals = fate === 'conflict' ? 0 : this.#refusals + 1;
      this.#queue = [...again, ...this.#queue];
      this.#group = this.#newGroup();
      this.#recover(fate === 'conflict' ? inFlight.expected + 1 : 0);
      return;
    }
    this.#refusals = 0;
    const { append } = inFlight;
    const position = append ? inFlight.expected + 1 : inFlight.expected;
    if (append) replica.applyOwn(position, append.entry, append.hash);
    this.largeBytes += append?.large?.bytes.length ?? 0;
    this.#group.rows.below = replica.store;
    inFlight.group.answer(position);
    this.#onQuiet?.();
    if (this.#group.wanted || this.#queue.length > 0) this.#pump();
    else this.#stopWatching();
  }

  /** Catches up with the log (to `target` at least), waits a little when others are faster, and runs everything again. */
  #recover(target: number): void {
    if (this.#recovering) return;
    const { replica, clock, random, logger } = this.#o;
    const runs = Math.max(0, ...this.#queue.map(task => task.runs));
    const work = async (): Promise<void> => {
      for (let attempt = 0; !this.#closed || this.#queue.length > 0; attempt++) {
        try {
          if (target === 0) await sleep(clock, backoffMs(random, this.#refusals + attempt, 10, 500));
          else if (runs > 1) await sleep(clock, backoffMs(random, runs, 0.5, 50));
          if (replica.ended) throw this.#gone();
          await replica.untilReady(this.#engineDeadline());
          if (target > 0) await replica.catchUp(target, this.#engineDeadline());
          return;
        } catch (thrown) {
          if (replica.ended) return this.close(this.#gone());
          if (this.#queue.length === 0 && !this.#group.wanted) return;
          logger.warn('a partition cannot catch up yet', {
            log: replica.log,
            message: TandemError.from(thrown).message,
          });
          await sleep(clock, backoffMs(random, attempt, 20, 500));
        }
      }
    };
    this.#recovering = work().finally(() => {
      this.#recovering = undefined;
      this.#onQuiet?.();
      this.#pump();
    });
  }

  #gone(): TandemError {
    const { replica } = this.#o;
    if (!replica.failure) return new TandemError('CLOSED', `the replica of ${replica.log} is closed`);
    const { code, message } = replica.failure;
    return new TandemError(code, message, { outcome: 'not-done' }); // only what was never sent hears of it
  }

  /** Callers whose deadline ends first are told so: not done when it never ran into a sent group, else unknown. */
  #watchDeadlines(): void {
    this.#sweep ??= every(this.#o.clock, sweepMs, () => {
      const now = this.#o.clock.monotonic();
      this.#queue = this.#queue.filter(task => {
        if (task.deadline > now) return true;
        reject(task, tooLate());
        return false;
      });
      for (const task of [...this.#group.tasks(), ...(this.#inFlight?.group.tasks() ?? [])]) {
        if (task.deadline <= now) reject(task, unknownFate('the deadline passed'));
      }
      this.#stopWatching();
    });
  }

  #stopWatching(): void {
    if (this.pending > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }

  #engineDeadline(): number {
    return this.#o.clock.monotonic() + this.#o.settings.engineTimeoutMs;
  }
}

function reject(task: Task, error: unknown): void {
  if (task.settled) return;
  task.settled = true;
  task.reject(error);
}

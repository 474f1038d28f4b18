/**
 * The calling end of a link: one connection, many open calls. A call costs a slot of a dense array, a promise and its
 * frame; slots are used again. Until the other end has said hello nothing is encoded, so a call that ends before that was
 * certainly not sent. Afterwards the frame's place in the byte stream tells whether a lost connection may have carried it.
 */
import type { Channel, LinkEnd, Reply, SendOptions } from '../core/channel.ts';
import type { Clock, Timer } from '../core/clock.ts';
import { type ErrorForm, fromErrorForm, type SystemCode, TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { DeadlineSweep } from './deadline-sweep.ts';
import type { Reader } from './decode.ts';
import { encode } from './encode.ts';
import {
  callFlag,
  frameType,
  methodsMax,
  methodUnnumbered,
  noDeadline,
  replyFlag,
  slotBits,
  slotMask,
} from './frame.ts';
import { readHello, writeHello } from './hello.ts';
import { ItemPump } from './item-pump.ts';
import { ItemQueue } from './item-queue.ts';
import { type Connection, isRefusal } from './transport.ts';
import { Wire } from './wire.ts';

const connectTimeoutMs = 3000;
const priorities = ['default', 'critical', 'optional'] as const;

interface Unsent {
  readonly method: string;
  readonly body: unknown;
  readonly options: SendOptions;
}

class Slot {
  readonly index: number;
  id: number;
  isOpen = false;
  deadlineMs = Infinity;
  /** Place of its frame among all bytes; Infinity while it is not encoded. */
  mark = Infinity;
  unsent: Unsent | undefined;
  resolve: ((reply: Reply) => void) | undefined;
  reject: ((error: unknown) => void) | undefined;
  queue: ItemQueue | undefined;
  items: AsyncIterable<unknown> | undefined;
  pump: ItemPump | undefined;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;

  constructor(index: number) {
    this.index = index;
    this.id = index;
  }
}

export class LinkChannel implements Channel {
  readonly address: string;
  readonly #clock: Clock;
  readonly #wire: Wire;
  readonly #sweep: DeadlineSweep;
  readonly #connectTimer: Timer;
  readonly #slots: Slot[] = [];
  readonly #free: Slot[] = [];
  readonly #methods = new Map<string, number>();
  #open = 0;
  #ready = false;
  /** Why no call is taken any more: the code and message of the refusal. */
  #refusal: { code: SystemCode; message: string } | undefined;
  #end: LinkEnd = 'lost';
  #closeListeners: ((end: LinkEnd) => void)[] = [];

  constructor(connection: Connection, address: string, clock: Clock) {
    this.address = address;
    this.#clock = clock;
    this.#sweep = new DeadlineSweep(clock, nowMs => this.#expire(nowMs));
    this.#wire = new Wire(connection, clock, {
      frame: (type, id, reader) => this.#frame(type, id, reader),
      end: error => this.#ended(error),
    });
    writeHello(this.#wire);
    this.#wire.flush();
    this.#connectTimer = clock.after(connectTimeoutMs, () =>
      this.#wire.destroy(new Error(`no hello within ${connectTimeoutMs} ms`)),
    );
  }

  /** Whether calls are taken. */
  get isUsable(): boolean {
    return this.#refusal === undefined;
  }

  /** Whether the other end has said hello. */
  get isReady(): boolean {
    return this.#ready;
  }

  get openCalls(): number {
    return this.#open;
  }

  call(method: string, body: unknown, options: SendOptions, items?: AsyncIterable<unknown>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const slot = this.#take(options);
      slot.items = items;
      slot.resolve = resolve;
      slot.reject = reject;
      this.#start(slot, method, body, options);
    });
  }

  stream(method: string, body: unknown, options: SendOptions, items?: AsyncIterable<unknown>): AsyncIterable<unknown> {
    return { [Symbol.asyncIterator]: () => this.#openStream(method, body, options, items) };
  }

  onClose(listener: (end: LinkEnd) => void): void {
    if (this.#wire.isEnded) queueMicrotask(() => listener(this.#end));
    else this.#closeListeners.push(listener);
  }

  async close(): Promise<void> {
    if (this.#wire.isEnded) return;
    this.#refusal ??= { code: 'CLOSED', message: `the link to ${this.address} is closed` };
    this.#wire.finish();
    this.#wire.destroy(new Error('closed by this end'));
  }

  #openStream(
    method: string,
    body: unknown,
    options: SendOptions,
    items: AsyncIterable<unknown> | undefined,
  ): AsyncIterator<unknown> {
    let slot: Slot | undefined;
    let id = 0;
    const queue = new ItemQueue({
      grant: bytes => {
        if (slot?.isOpen && slot.id === id) this.#wire.sendNumber(frameType.credit, id, bytes);
      },
      leave: () => {
        if (slot?.isOpen && slot.id === id) this.#abandon(slot, undefined);
      },
    });
    try {
      slot = this.#take(options);
      id = slot.id;
      slot.queue = queue;
      slot.items = items;
      this.#start(slot, method, body, options);
    } catch (error) {
      queue.end(error);
    }
    return queue;
  }

  /** @throws what keeps the call from starting; all of it `not-done`. */
  #take(options: SendOptions): Slot {
    if (this.#refusal) throw this.#refused();
    if (options.signal?.aborted) {
      throw new TandemError('CANCELED', 'the call was cancelled before it was sent', { outcome: 'not-done' });
    }
    if (options.deadline <= this.#clock.monotonic()) {
      throw new TandemError('DEADLINE_EXCEEDED', 'the deadline passed before the call was sent', {
        outcome: 'not-done',
      });
    }
    if (this.#wire.queuedBytes > limits.connectionBufferBytesMax)
      throw this.#overloaded('too many bytes wait to be sent');
    const slot = this.#free.pop() ?? this.#addSlot();
    slot.isOpen = true;
    slot.deadlineMs = options.deadline;
    slot.mark = Infinity;
    this.#open++;
    return slot;
  }

  #addSlot(): Slot {
    if (this.#slots.length >= limits.callsPerConnectionMax) throw this.#overloaded('too many calls are open');
    const slot = new Slot(this.#slots.length);
    this.#slots.push(slot);
    return slot;
  }

  #overloaded(why: string): TandemError {
    return new TandemError('OVERLOADED', `${why} on the link to ${this.address}`, { details: { retryAfterMs: 50 } });
  }

  #refused(): TandemError {
    return new TandemError(this.#refusal!.code, this.#refusal!.message, { outcome: 'not-done' });
  }

  #start(slot: Slot, method: string, body: unknown, options: SendOptions): void {
    if (this.#ready) {
      this.#encodeCall(slot, method, body, options);
      if (!slot.isOpen) return;
    } else {
      slot.unsent = { method, body, options };
    }
    this.#sweep.watch(options.deadline);
    const { signal } = options;
    if (signal) {
      slot.signal = signal;
      slot.onAbort = () => this.#abandon(slot, this.#fate(slot, 'CANCELED', 'the call was cancelled'));
      signal.addEventListener('abort', slot.onAbort, { once: true });
    }
  }

  /** Fails the call when it cannot be encoded. */
  #encodeCall(slot: Slot, method: string, body: unknown, options: SendOptions): void {
    const wire = this.#wire;
    const { slab } = wire;
    const mark = wire.mark;
    const known = this.#methods.get(method);
    wire.begin(frameType.call, slot.id);
    try {
      const number = known ?? (this.#methods.size < methodsMax ? this.#methods.size : methodUnnumbered);
      const { priority } = options;
      let flags = priority === undefined ? 0 : priorities.indexOf(priority);
      if (slot.queue) flags |= callFlag.stream;
      if (slot.items) flags |= callFlag.items;
      if (options.meta !== undefined) flags |= callFlag.meta;
      if (known === undefined) flags |= callFlag.named;
      const left = Math.ceil(slot.deadlineMs - this.#clock.monotonic());
      const leftMs = left < noDeadline ? Math.max(left, 1) : noDeadline;
      slab.reserve(7);
      const { bytes } = slab;
      let { at } = slab;
      bytes[at++] = flags;
      bytes[at++] = number >>> 8;
      bytes[at++] = number;
      bytes[at++] = leftMs >>> 24;
      bytes[at++] = leftMs >>> 16;
      bytes[at++] = leftMs >>> 8;
      bytes[at++] = leftMs;
      slab.at = at;
      if (known === undefined) encode(slab, method);
      if (options.meta !== undefined) encode(slab, options.meta);
      encode(slab, body);
      wire.commit();
      slot.mark = mark;
      if (known === undefined && number !== methodUnnumbered) this.#methods.set(method, number);
    } catch (error) {
      slab.rollback();
      this.#settle(slot, error);
      return;
    }
    if (slot.items) this.#pump(slot, slot.items);
  }

  #pump(slot: Slot, items: AsyncIterable<unknown>): void {
    const { id } = slot;
    const wire = this.#wire;
    const pump = new ItemPump(items, {
      send: value => wire.send(frameType.item, id, value),
      room: () => wire.room(),
    });
    slot.pump = pump;
    const isCurrent = (): boolean => slot.isOpen && slot.id === id;
    pump.run().then(
      ended => {
        if (ended && isCurrent()) wire.signal(frameType.end, id);
      },
      error => {
        if (isCurrent()) this.#abandon(slot, error);
      },
    );
  }

  /** Ends a call that this end gives up, and tells the other. */
  #abandon(slot: Slot, error: unknown): void {
    const { id, mark } = slot;
    this.#settle(slot, error);
    if (mark !== Infinity) this.#wire.signal(frameType.cancel, id);
  }

  /** An error whose outcome says whether the frame may have reached the other end. */
  #fate(slot: Slot, code: SystemCode, message: string): TandemError {
    return new TandemError(code, message, { outcome: slot.mark === Infinity ? 'not-done' : 'unknown' });
  }

  /** Frees the slot and ends its call: with an error, or (a stream) in order. */
  #settle(slot: Slot, error: unknown, reply?: Reply): void {
    const { resolve, reject, queue, pump } = slot;
    slot.isOpen = false;
    slot.id = (slot.id + (1 << slotBits)) >>> 0;
    slot.unsent = slot.resolve = slot.reject = slot.queue = slot.items = slot.pump = undefined;
    if (slot.signal) {
      slot.signal.removeEventListener('abort', slot.onAbort!);
      slot.signal = slot.onAbort = undefined;
    }
    this.#open--;
    this.#free.push(slot);
    pump?.stop();
    if (queue) queue.end(error);
    else if (reply) resolve?.(reply);
    else reject?.(error);
    if (this.#open === 0 && this.#refusal && !this.#wire.isEnded) this.#wire.finish();
  }

  #frame(type: number, id: number, reader: Reader): void {
    if (!this.#ready) {
      this.#greet(type, reader);
      return;
    }
    if (type === frameType.goaway) {
      this.#refusal ??= { code: 'CLOSED', message: `${this.address} is stopping and takes no new calls` };
      if (this.#open === 0) this.#wire.finish();
      return;
    }
    const slot = this.#slots[id & slotMask];
    // What comes late for a call that ended is dropped.
    if (!slot?.isOpen || slot.id !== id || slot.mark === Infinity) return;
    switch (type) {
      case frameType.reply:
        this.#reply(slot, reader);
        return;
      case frameType.error:
        this.#settle(slot, readError(reader));
        return;
      case frameType.item:
        this.#item(slot, reader);
        return;
      case frameType.end:
        slot.queue ? this.#settle(slot, undefined) : this.#settle(slot, unfit('a stream'));
        return;
      case frameType.credit:
        slot.pump?.credit(reader.uint32());
    }
  }

  #greet(type: number, reader: Reader): void {
    const problem = readHello(type, reader);
    if (problem) {
      this.#refusal = { code: 'UNSUPPORTED', message: `${this.address}: ${problem}` };
      this.#wire.destroy(new Error(problem));
      return;
    }
    this.#connectTimer.cancel();
    this.#ready = true;
    this.#wire.admit();
    for (const slot of this.#slots) {
      const { unsent } = slot;
      if (!slot.isOpen || !unsent) continue;
      slot.unsent = undefined;
      this.#encodeCall(slot, unsent.method, unsent.body, unsent.options);
    }
  }

  #reply(slot: Slot, reader: Reader): void {
    if (slot.queue) {
      this.#settle(slot, unfit('no stream'));
      return;
    }
    let reply: Reply;
    try {
      const meta = reader.byte() & replyFlag.meta ? reader.value() : undefined;
      const body = reader.value();
      reply = meta === undefined ? { body } : { body, meta };
    } catch (cause) {
      // It was answered, so it was done or not; only we cannot read which.
      this.#settle(slot, new TandemError('INTERNAL', 'the answer could not be read', { cause }));
      return;
    }
    this.#settle(slot, undefined, reply);
  }

  #item(slot: Slot, reader: Reader): void {
    if (!slot.queue) {
      this.#settle(slot, unfit('a stream'));
      return;
    }
    const bytes = reader.end - reader.at;
    if (!slot.queue.push(reader.value(), bytes))
      throw new Error(`${this.address} sends more items than it was granted`);
  }

  #expire(nowMs: number): number {
    let earliest = Infinity;
    for (const slot of this.#slots) {
      if (!slot.isOpen) continue;
      if (slot.deadlineMs <= nowMs) {
        this.#abandon(
          slot,
          this.#fate(slot, 'DEADLINE_EXCEEDED', `no answer from ${this.address} before the deadline`),
        );
      } else if (slot.deadlineMs < earliest) {
        earliest = slot.deadlineMs;
      }
    }
    return earliest;
  }

  #ended(error: Error | undefined): void {
    this.#connectTimer.cancel();
    this.#sweep.close();
    const why = error ? `: ${error.message}` : '';
    const lost = this.#ready ? `the connection to ${this.address} ended${why}` : `cannot reach ${this.address}${why}`;
    if (!this.#ready && isRefusal(error)) this.#end = 'refused';
    const refused = this.#refusal;
    this.#refusal ??= { code: 'UNAVAILABLE', message: lost };
    for (const slot of this.#slots) {
      if (!slot.isOpen) continue;
      if (slot.mark < this.#wire.writtenBytes) this.#settle(slot, new TandemError('INTERRUPTED', lost));
      else this.#settle(slot, refused?.code === 'UNSUPPORTED' ? this.#refused() : new TandemError('UNAVAILABLE', lost));
    }
    const listeners = this.#closeListeners;
    this.#closeListeners = [];
    for (const listener of listeners) listener(this.#end);
  }
}

function unfit(what: string): TandemError {
  return new TandemError('UNSUPPORTED', `the method answers with ${what}`, { outcome: 'unknown' });
}

function readError(reader: Reader): Error {
  try {
    const form = reader.value() as Partial<ErrorForm> | null;
    if (typeof form?.code === 'string' && typeof form.message === 'string') return fromErrorForm(form as ErrorForm);
  } catch {
    // Falls through: an error that cannot be read is an error still.
  }
  return new TandemError('INTERNAL', 'the other end failed in a way that could not be read');
}

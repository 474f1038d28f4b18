/**
 * The answering end of one connection. Answers that are ready at once leave with the bytes of the same read; others when
 * they come. A call that its caller gave up (cancel, deadline, a lost connection) aborts its signal, but counts as running
 * until its handler is done, so the bound on running calls is a bound on work.
 */
import type { Answerer, Incoming, Priority, Reply } from '../core/channel.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError, toErrorForm } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { DeadlineSweep } from './deadline-sweep.ts';
import { containerBytes, type Reader } from './decode.ts';
import { encode } from './encode.ts';
import { callFlag, frameType, methodsMax, methodUnnumbered, noDeadline, replyFlag, slotMask } from './frame.ts';
import { readHello, writeHello } from './hello.ts';
import { ItemPump } from './item-pump.ts';
import { ItemQueue } from './item-queue.ts';
import type { Connection } from './transport.ts';
import { Wire } from './wire.ts';

const priorities: readonly Priority[] = ['default', 'critical', 'optional', 'default'];
const helloTimeoutMs = 3000;
const methodBytesMax = 256;
/** How much of a bound calls of a priority may fill. */
const priorityShare: Readonly<Record<Priority, number>> = { optional: 0.7, default: 0.9, critical: 1 };

class IncomingCall implements Incoming {
  readonly id: number;
  readonly method: string;
  readonly body: unknown;
  readonly meta: unknown;
  readonly deadline: number;
  readonly priority: Priority;
  readonly peer: string;
  readonly isStream: boolean;
  /** Memory of its body, about. */
  readonly bytes: number;
  /** The caller no longer waits: what the handler gives is dropped. */
  isGone = false;
  queue: ItemQueue | undefined;
  pump: ItemPump | undefined;
  #abort: AbortController | undefined;
  #reason: TandemError | undefined;

  constructor(
    id: number,
    method: string,
    body: unknown,
    meta: unknown,
    deadline: number,
    flags: number,
    peer: string,
    bytes: number,
  ) {
    this.id = id;
    this.method = method;
    this.body = body;
    this.meta = meta;
    this.deadline = deadline;
    this.priority = priorities[flags & callFlag.priority]!;
    this.peer = peer;
    this.isStream = (flags & callFlag.stream) !== 0;
    this.bytes = bytes;
  }

  get items(): AsyncIterable<unknown> | undefined {
    return this.queue;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#reason) this.#abort.abort(this.#reason);
    }
    return this.#abort.signal;
  }

  leave(reason: TandemError): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#reason = reason;
    this.pump?.stop();
    this.queue?.end(reason);
    this.#abort?.abort(reason);
  }
}

export interface LinkSessionEvents {
  /** Nothing runs any more, after `drain`. */
  idle(): void;
  end(error: Error | undefined): void;
}

export class LinkSession {
  readonly peer: string;
  readonly #answer: Answerer;
  readonly #clock: Clock;
  readonly #events: LinkSessionEvents;
  readonly #wire: Wire;
  readonly #sweep: DeadlineSweep;
  readonly #calls: (IncomingCall | undefined)[] = [];
  readonly #methods: string[] = [];
  readonly #helloTimer: { cancel(): void };
  #running = 0;
  #callBytes = 0;
  #greeted = false;
  #draining = false;

  constructor(connection: Connection, answer: Answerer, clock: Clock, events: LinkSessionEvents) {
    this.peer = connection.peer;
    this.#answer = answer;
    this.#clock = clock;
    this.#events = events;
    this.#sweep = new DeadlineSweep(clock, nowMs => this.#expire(nowMs));
    this.#wire = new Wire(connection, clock, {
      frame: (type, id, reader) => this.#frame(type, id, reader),
      end: error => this.#ended(error),
    });
    this.#helloTimer = clock.after(helloTimeoutMs, () => this.#wire.destroy(new Error(`${this.peer} sent no hello`)));
  }

  get running(): number {
    return this.#running;
  }

  /** Takes no new calls from now on; ends the connection when those that run are done. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (!this.#greeted) {
      this.#wire.destroy();
      return;
    }
    this.#wire.signal(frameType.goaway, 0);
    this.#wire.flush();
    if (this.#running === 0) this.#finish();
  }

  destroy(): void {
    this.#wire.destroy();
  }

  #finish(): void {
    if (!this.#wire.isEnded) this.#wire.finish();
    this.#events.idle();
  }

  #frame(type: number, id: number, reader: Reader): void {
    if (!this.#greeted) {
      this.#greet(type, reader);
      return;
    }
    if (type === frameType.call) {
      this.#call(id, reader);
      return;
    }
    const call = this.#calls[id & slotMask];
    if (!call || call.id !== id) return;
    switch (type) {
      case frameType.cancel:
        this.#calls[id & slotMask] = undefined;
        call.leave(new TandemError('CANCELED', 'the caller gave up'));
        return;
      case frameType.item:
        this.#item(call, reader);
        return;
      case frameType.end:
        call.queue?.end();
        return;
      case frameType.credit:
        call.pump?.credit(reader.uint32());
    }
  }

  #greet(type: number, reader: Reader): void {
    const problem = readHello(type, reader);
    // The answer goes out in either case, so that the other end can say which versions do not meet.
    writeHello(this.#wire);
    this.#helloTimer.cancel();
    if (problem) {
      this.#wire.finish();
      this.#ended(new Error(problem));
      return;
    }
    this.#greeted = true;
    this.#wire.admit();
  }

  #call(id: number, reader: Reader): void {
    const start = reader.at;
    const flags = reader.byte();
    const number = reader.uint16();
    const leftMs = reader.uint32();
    const method = this.#method(number, flags, reader);
    let meta: unknown;
    let body: unknown;
    try {
      meta = flags & callFlag.meta ? reader.value() : undefined;
      body = reader.value();
    } catch (error) {
      this.#fail(id, error);
      return;
    }
    const bytes = reader.end - start + reader.containers * containerBytes;
    const refusal = this.#refusal(priorities[flags & callFlag.priority]!, bytes);
    if (refusal) {
      this.#fail(id, refusal);
      return;
    }
    const deadline = leftMs === noDeadline ? Infinity : this.#clock.monotonic() + leftMs;
    const call = new IncomingCall(id, method, body, meta, deadline, flags, this.peer, bytes);
    if (flags & callFlag.items) call.queue = this.#queue(call);
    const slot = id & slotMask;
    // A slot that is used again: its caller has given the former call up (its deadline passed there first).
    this.#calls[slot]?.leave(new TandemError('CANCELED', 'the caller gave up'));
    this.#calls[slot] = call;
    this.#running++;
    this.#callBytes += bytes;
    this.#run(call);
  }

  #method(number: number, flags: number, reader: Reader): string {
    if (!(flags & callFlag.named)) {
      const method = this.#methods[number];
      if (method === undefined) throw new Error(`${this.peer} uses a method number that it never named`);
      return method;
    }
    const method = reader.value();
    if (typeof method !== 'string' || method.length > methodBytesMax)
      throw new Error(`${this.peer} sent no method name`);
    if (number !== methodUnnumbered) {
      if (number !== this.#methods.length || number >= methodsMax)
        throw new Error(`${this.peer} misnumbers its methods`);
      this.#methods.push(method);
    }
    return method;
  }

  /** Bounds hold for `critical` calls; others are turned away earlier, so that there is room for these. */
  #refusal(priority: Priority, bytes: number): TandemError | undefined {
    if (this.#draining) return new TandemError('CLOSED', 'this process is stopping and takes no new calls');
    const share = priorityShare[priority];
    if (this.#running >= limits.callsPerConnectionMax * share) return overloaded('too many calls run');
    if (this.#callBytes + bytes > limits.callBytesPerConnectionMax * share)
      return overloaded('the calls that run take too much memory');
    if (this.#wire.queuedBytes > limits.connectionBufferBytesMax * share)
      return overloaded('too many bytes of answers wait to be read');
    return undefined;
  }

  #queue(call: IncomingCall): ItemQueue {
    return new ItemQueue({
      grant: bytes => {
        if (!call.isGone) this.#wire.sendNumber(frameType.credit, call.id, bytes);
      },
      leave: () => {},
    });
  }

  #run(call: IncomingCall): void {
    let result: ReturnType<Answerer>;
    try {
      result = this.#answer(call);
    } catch (error) {
      this.#failed(call, error);
      return;
    }
    if (result instanceof Promise) {
      this.#sweep.watch(call.deadline);
      result.then(
        value => this.#answered(call, value),
        error => this.#failed(call, error),
      );
    } else {
      this.#answered(call, result);
    }
  }

  #answered(call: IncomingCall, result: Reply | AsyncIterable<unknown>): void {
    if (Symbol.asyncIterator in result) {
      if (call.isStream) {
        this.#pump(call, result);
        return;
      }
      this.#failed(call, new TandemError('UNSUPPORTED', `${call.method} answers with a stream; open it as one`));
      return;
    }
    if (call.isStream) {
      this.#failed(call, new TandemError('UNSUPPORTED', `${call.method} does not stream`));
      return;
    }
    if (!call.isGone) {
      const wire = this.#wire;
      if (wire.queuedBytes > limits.connectionBufferBytesMax) {
        this.#failed(call, overloaded('it was answered, but too many bytes of answers wait to be read', 'unknown'));
        return;
      }
      wire.begin(frameType.reply, call.id);
      try {
        const { slab } = wire;
        slab.reserve(1);
        slab.bytes[slab.at++] = result.meta === undefined ? 0 : replyFlag.meta;
        if (result.meta !== undefined) encode(slab, result.meta);
        encode(slab, result.body);
        wire.commit();
      } catch (cause) {
        wire.slab.rollback();
        this.#failed(call, new TandemError('INTERNAL', `the answer of ${call.method} could not be sent`, { cause }));
        return;
      }
    }
    this.#done(call);
  }

  #pump(call: IncomingCall, source: AsyncIterable<unknown>): void {
    const wire = this.#wire;
    const pump = new ItemPump(source, {
      send: value => wire.send(frameType.item, call.id, value),
      room: () => wire.room(),
    });
    call.pump = pump;
    this.#sweep.watch(call.deadline);
    if (call.isGone) pump.stop();
    pump.run().then(
      ended => {
        if (ended && !call.isGone) wire.signal(frameType.end, call.id);
        this.#done(call);
      },
      error => this.#failed(call, error),
    );
  }

  #failed(call: IncomingCall, error: unknown): void {
    if (!call.isGone) this.#fail(call.id, error);
    // Whoever saw the deadline first: what still runs for this call is told to stop.
    if (error instanceof TandemError && error.code === 'DEADLINE_EXCEEDED') call.leave(error);
    this.#done(call);
  }

  #fail(id: number, error: unknown): void {
    if (this.#wire.isEnded) return;
    try {
      this.#wire.send(frameType.error, id, toErrorForm(error));
    } catch (cause) {
      // Its details cannot be encoded; code and message always can.
      const { code, outcome, message } = toErrorForm(error instanceof Error ? error : cause);
      this.#wire.send(frameType.error, id, { code, outcome, message: message.slice(0, 4096) });
    }
  }

  #done(call: IncomingCall): void {
    const slot = call.id & slotMask;
    if (this.#calls[slot] === call) this.#calls[slot] = undefined;
    // What the caller still sends of its items has no reader.
    call.queue?.end();
    this.#running--;
    this.#callBytes -= call.bytes;
    if (this.#draining && this.#running === 0) this.#finish();
  }

  #item(call: IncomingCall, reader: Reader): void {
    if (!call.queue) return;
    const bytes = reader.end - reader.at;
    if (!call.queue.push(reader.value(), bytes)) throw new Error(`${this.peer} sends more items than it was granted`);
  }

  #expire(nowMs: number): number {
    let earliest = Infinity;
    for (let slot = 0; slot < this.#calls.length; slot++) {
      const call = this.#calls[slot];
      if (!call) continue;
      if (call.deadline > nowMs) {
        if (call.deadline < earliest) earliest = call.deadline;
        continue;
      }
      const error = new TandemError(
        'DEADLINE_EXCEEDED',
        `'${call.method}' was not answered within its deadline; look at what its handler waits for`,
      );
      this.#fail(call.id, error);
      this.#calls[slot] = undefined;
      call.leave(error);
    }
    return earliest;
  }

  #ended(error: Error | undefined): void {
    this.#helloTimer.cancel();
    this.#sweep.close();
    for (const call of this.#calls) call?.leave(new TandemError('CANCELED', "the caller's connection ended"));
    this.#calls.length = 0;
    this.#events.end(error);
  }
}

function overloaded(why: string, outcome: 'not-done' | 'unknown' = 'not-done'): TandemError {
  return new TandemError('OVERLOADED', `${why} on this connection`, { details: { retryAfterMs: 50 }, outcome });
}

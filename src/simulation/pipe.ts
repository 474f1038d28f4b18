/**
 * One simulated connection: two ends and, for each direction, the chunks under way. Everything that an end hears comes
 * from a timer of the clock, never from inside the call that caused it, as with a socket.
 */
import { type Connection, refusal } from '../communication/transport.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Random } from '../core/random.ts';

/** Bytes under way before `write` says false. Small, so that backpressure is met often. */
const highWaterBytes = 65_536;
const ignore = (): void => {};

export interface PipeOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly from: string;
  readonly to: string;
  readonly address: string;
  /** How long the next chunk takes. */
  readonly delayMs: () => number;
  /** Whether the connection breaks at this chunk. */
  readonly breaks: () => boolean;
  /** Whether nothing passes from `a` to `b` now. */
  readonly blocked: (a: string, b: string) => boolean;
  /** Whether the process is stopped. */
  readonly held: (name: string) => boolean;
  readonly cutTimeoutMs: number;
  readonly accept: () => ((connection: Connection) => void) | undefined;
  readonly onEnd: (ends: Ends) => void;
}

export interface Ends {
  readonly near: SimulatedConnection;
  between(a: string, b: string): boolean;
  /** Looks again at what waits: a cut, a stop or a pause has changed. */
  kick(): void;
  /** Both ends fail after a moment; what is under way is lost. */
  break(): void;
  /** The process `name` is gone: its end is silent for good. */
  lose(name: string, silent: boolean): void;
}

type Parcel = { readonly dueMs: number } & (
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'open' | 'end' }
  | { readonly kind: 'reset'; readonly error: Error | undefined }
);

export function openPipes(options: PipeOptions): Ends {
  const near = new SimulatedConnection(options, options.from, options.to, options.address);
  const far = new SimulatedConnection(options, options.to, options.from, `sim://${options.from}`);
  near.join(far);
  far.join(near);
  const ends: Ends = {
    near,
    between: (a, b) =>
      (matches(a, options.from) && matches(b, options.to)) || (matches(b, options.from) && matches(a, options.to)),
    kick: () => {
      near.kick();
      far.kick();
    },
    break: () => {
      near.failSoon(new Error('the connection broke'));
      far.failSoon(new Error('the connection broke'));
    },
    lose: (name, silent) => {
      for (const end of [near, far]) if (end.owner === name) end.vanish(silent);
    },
  };
  near.onGone = () => {
    if (far.isEnded) options.onEnd(ends);
  };
  far.onGone = () => {
    if (near.isEnded) options.onEnd(ends);
  };
  near.open();
  return ends;
}

function matches(pattern: string, name: string): boolean {
  return pattern === '*' || pattern === name;
}

export class SimulatedConnection implements Connection {
  readonly peer: string;
  /** The process whose end this is. */
  readonly owner: string;
  onData: (bytes: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onClose: (error?: Error) => void = ignore;
  onGone: () => void = ignore;
  isEnded = false;
  readonly #options: PipeOptions;
  readonly #otherOwner: string;
  #other!: SimulatedConnection;
  /** On the way from here to the other end, in order. */
  #sent: Parcel[] = [];
  #sentBytes = 0;
  #lastDueMs = 0;
  #timer: Timer | undefined;
  #cutTimer: Timer | undefined;
  #paused = false;
  #wantsDrain = false;
  #ending = false;
  #vanished = false;
  /** Fails in a moment: nothing passes any more, or a later chunk could overtake a lost one. */
  #broken = false;
  #accepted = false;

  constructor(options: PipeOptions, owner: string, otherOwner: string, peer: string) {
    this.#options = options;
    this.owner = owner;
    this.#otherOwner = otherOwner;
    this.peer = peer;
  }

  join(other: SimulatedConnection): void {
    this.#other = other;
  }

  open(): void {
    this.#send({ kind: 'open', dueMs: this.#nextDueMs() });
  }

  write(bytes: Uint8Array): boolean {
    if (this.isEnded || this.#ending || this.#broken || this.#vanished) return true;
    if (bytes.length === 0) return true;
    if (this.#options.breaks()) {
      this.failSoon(new Error('the connection broke'));
      this.#other.failSoon(new Error('the connection broke'));
      return true;
    }
    this.#sentBytes += bytes.length;
    // a network knows no messages: some chunks arrive in two parts
    const cut = this.#options.random.next() < 0.2 ? 1 + this.#options.random.below(bytes.length) : bytes.length;
    this.#send({ kind: 'bytes', bytes: bytes.subarray(0, cut), dueMs: this.#nextDueMs() });
    if (cut < bytes.length) this.#send({ kind: 'bytes', bytes: bytes.subarray(cut), dueMs: this.#nextDueMs() });
    if (this.#sentBytes < highWaterBytes) return true;
    this.#wantsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#other.kick();
  }

  end(): void {
    if (this.isEnded || this.#ending) return;
    this.#ending = true;
    this.#send({ kind: 'end', dueMs: this.#nextDueMs() });
  }

  destroy(): void {
    if (this.isEnded || this.#vanished) return;
    this.#ending = true;
    this.#send({ kind: 'reset', error: undefined, dueMs: this.#nextDueMs() });
    this.#finish(undefined);
  }

  failSoon(error: Error): void {
    this.#broken = true;
    this.#sent = [];
    this.#options.clock.after(this.#options.delayMs(), () => this.#finish(error));
  }

  vanish(silent: boolean): void {
    if (this.#vanished) return;
    this.#vanished = true;
    const wasEnded = this.isEnded;
    this.isEnded = true;
    this.#cutTimer?.cancel();
    if (silent) this.#sent = [];
    else if (!wasEnded) {
      // the kernel sends what it has, then resets
      const error = new Error('the connection was reset: the other process is gone');
      this.#send({ kind: 'reset', error, dueMs: this.#nextDueMs() });
    }
    // whoever still writes to it learns by timeout
    this.#other.kick();
    this.onGone();
  }

  kick(): void {
    this.#arm();
  }

  #nextDueMs(): number {
    this.#lastDueMs = Math.max(this.#lastDueMs, this.#options.clock.monotonic() + this.#options.delayMs());
    return this.#lastDueMs;
  }

  #send(parcel: Parcel): void {
    if (this.#broken) return;
    this.#sent.push(parcel);
    this.#arm();
  }

  /** Whether what is under way cannot arrive now: cut, the receiver paused, stopped or dead without a word. */
  #stalled(): 'cut' | 'waiting' | undefined {
    const { blocked, held } = this.#options;
    if (blocked(this.owner, this.#otherOwner) || this.#other.#vanished) return 'cut';
    if (held(this.#otherOwner) || (this.#other.#paused && this.#sent[0]?.kind === 'bytes')) return 'waiting';
    return undefined;
  }

  #arm(): void {
    const first = this.#sent[0];
    if (!first) return;
    const stalled = this.#stalled();
    if (stalled === 'cut') this.#startCutTimer();
    else this.#stopCutTimer();
    if (stalled || this.#timer) return;
    const { clock } = this.#options;
    this.#timer = clock.after(first.dueMs - clock.monotonic(), () => {
      this.#timer = undefined;
      this.#deliver();
      this.#arm();
    });
  }

  #startCutTimer(): void {
    this.#cutTimer ??= this.#options.clock.after(this.#options.cutTimeoutMs, () => {
      // the other end hears of it once the network heals
      this.#sent = [{ kind: 'reset', error: new Error('the connection was reset'), dueMs: this.#nextDueMs() }];
      this.#finish(new Error(this.#accepted ? 'the connection timed out' : `connecting to ${this.peer} timed out`));
    });
  }

  #stopCutTimer(): void {
    this.#cutTimer?.cancel();
    this.#cutTimer = undefined;
  }

  #deliver(): void {
    const parcel = this.#sent[0];
    if (!parcel || this.#stalled() || parcel.dueMs > this.#options.clock.monotonic() + 1e-9) return;
    this.#sent.shift();
    const other = this.#other;
    if (parcel.kind === 'open') this.#opened();
    else if (parcel.kind === 'bytes') {
      this.#sentBytes -= parcel.bytes.length;
      if (!other.isEnded) other.onData(parcel.bytes);
      this.#drained();
    } else if (parcel.kind === 'reset') other.#finish(parcel.error);
    else {
      other.#finish(undefined);
      this.#finish(undefined);
    }
  }

  #opened(): void {
    const accept = this.#options.accept();
    if (!accept) {
      this.#other.isEnded = true;
      this.onGone();
      this.#finish(refusal(this.peer));
      return;
    }
    this.#accepted = true;
    this.#other.#accepted = true;
    accept(this.#other);
  }

  #drained(): void {
    if (!this.#wantsDrain || this.#sentBytes >= highWaterBytes / 2 || this.isEnded) return;
    this.#wantsDrain = false;
    this.#options.clock.after(0, () => {
      if (!this.isEnded && !this.#options.held(this.owner)) this.onDrain();
    });
  }

  #finish(error: Error | undefined): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#stopCutTimer();
    const tell = (): void => {
      if (this.#vanished) return;
      if (this.#options.held(this.owner)) this.#options.clock.after(1, tell);
      else this.onClose(error);
    };
    this.#options.clock.after(0, tell);
    this.onGone();
  }
}

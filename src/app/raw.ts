/** Raw methods speak web Request and Response; over the link they travel as plain parts, and large bodies piece by piece, as fast as the other end takes them. */
import type { RawHead, RawRequestForm, RawResponseForm } from '../contract/raw.ts';
import type { Clock } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { ReplyMeta } from '../core/meta.ts';

/** What is sent in one piece, so that its length is known and it can be compressed. */
const wholeBytesMax = 1_048_576;
const pieceBytes = 65_536;

export interface RawCall {
  readonly form: RawRequestForm;
  readonly items: AsyncIterable<unknown> | undefined;
  readonly signal: AbortSignal;
}

/** @throws INTERNAL when the handler answers with something else than a Response. */
export async function answerRaw(
  handler: (request: unknown, ctx: unknown) => unknown,
  { form, items, signal }: RawCall,
  ctx: unknown,
): Promise<Response> {
  const init: RequestInit & { duplex?: 'half' } = {
    method: form.method,
    headers: form.headers.map(([name, value]): [string, string] => [name, value]),
    signal,
  };
  if (form.method !== 'GET' && form.method !== 'HEAD') {
    if (form.body === 'items' && items) {
      init.body = streamOf(items);
      init.duplex = 'half';
    } else if (form.body instanceof Uint8Array) init.body = Uint8Array.from(form.body);
  }
  const response = await handler(new Request(form.url, init), ctx);
  if (response instanceof Response) return response;
  throw new TandemError('INTERNAL', 'a raw method must answer with a Response');
}

/** For a caller that takes no stream. @throws TOO_LARGE when the body does not fit one frame. */
export async function wholeForm(response: Response): Promise<RawResponseForm> {
  const body = new Uint8Array(await response.arrayBuffer());
  if (body.length > limits.frameBytesMax / 2)
    throw new TandemError('TOO_LARGE', `a raw answer of ${body.length} bytes does not fit; stream it from elsewhere`);
  return { status: response.status, headers: [...response.headers], body };
}

function streamOf(items: AsyncIterable<unknown>): ReadableStream<Uint8Array> {
  const iterator = items[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(value as Uint8Array);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

type Read = Awaited<ReturnType<ReadableStreamDefaultReader<Uint8Array>['read']>>;

/** A head, then the body. No generator: its `return` would wait for a piece that may never come, and the handler would not hear that nobody listens. */
export class RawItems implements AsyncIterable<unknown>, AsyncIterator<unknown> {
  readonly #response: Response;
  readonly #meta: ReplyMeta;
  readonly #clock: Clock;
  readonly #ended: () => void;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #reading: Promise<Read> | undefined;
  #rest: Uint8Array | undefined;
  #isOpen = false;
  #isOver = false;

  constructor(response: Response, meta: ReplyMeta, clock: Clock, ended: () => void) {
    this.#response = response;
    this.#meta = meta;
    this.#clock = clock;
    this.#ended = ended;
    this.#reader = (response.body as ReadableStream<Uint8Array> | null)?.getReader();
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return this;
  }

  async next(): Promise<IteratorResult<unknown>> {
    try {
      if (this.#isOver) return { done: true, value: undefined };
      if (!this.#isOpen) return { done: false, value: await this.#open() };
      if (!this.#rest) {
        const { done, value } = await (this.#reading ?? this.#reader!.read());
        this.#reading = undefined;
        if (done) {
          this.#end();
          return { done: true, value: undefined };
        }
        this.#rest = bytesOf(value);
      }
      const piece = this.#rest.subarray(0, pieceBytes);
      this.#rest = this.#rest.length > pieceBytes ? this.#rest.subarray(pieceBytes) : undefined;
      return { done: false, value: piece };
    } catch (cause) {
      this.#end();
      throw cause;
    }
  }

  async return(): Promise<IteratorResult<unknown>> {
    if (!this.#isOver) {
      this.#end();
      await this.#reader?.cancel(new TandemError('CANCELED', 'nobody reads this answer any more'));
    }
    return { done: true, value: undefined };
  }

  /** A body that is there already goes along with the head. */
  async #open(): Promise<RawHead> {
    this.#isOpen = true;
    const { status, headers } = this.#response;
    const head = { status, headers: [...headers], meta: this.#meta };
    const first = await this.#soon();
    if (first === undefined) return { ...head, body: null };
    if (first.done) {
      this.#end();
      return { ...head, body: new Uint8Array() };
    }
    this.#rest = bytesOf(first.value);
    if (this.#rest.length > wholeBytesMax) return { ...head, body: null };
    const second = await this.#soon();
    if (!second?.done) {
      if (second) this.#reading = Promise.resolve(second);
      return { ...head, body: null };
    }
    this.#end();
    return { ...head, body: this.#rest };
  }

  /** What can be read without waiting. */
  async #soon(): Promise<Read | undefined> {
    if (!this.#reader) return { done: true, value: undefined };
    this.#reading ??= this.#reader.read();
    const turn = new Promise<undefined>(resolve => this.#clock.defer(() => resolve(undefined)));
    const read = await Promise.race([this.#reading, turn]);
    if (read) this.#reading = undefined;
    return read;
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ended();
  }
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new TandemError('INTERNAL', "the body of a raw method's Response must be bytes");
}

/**
 * The client side of `POST /call/<service>/<method>`. It keeps the session token (so that it reads its own writes whichever gateway or
 * instance answers), gives each call an idempotency key, and repeats a call once when the connection failed. The repeat says that it
 * is one (`tandem-repeat`): the gateway knows the contract, and refuses it where repeating is not safe.
 */
import type { Answer, AnswerMeta, CallOptions, Calls } from '../contract/call.ts';
import { systemClock } from '../core/clock.ts';
import { durationMs } from '../core/duration.ts';
import { DeclaredError, TandemError } from '../core/errors.ts';
import { systemRandom } from '../core/random.ts';
import { errorOf, metaOf, metaWithout } from './answer.ts';
import { serverEvents } from './event-stream.ts';
import { SessionTokens } from './session-tokens.ts';

export interface ClientOptions {
  /** Of a gateway: `https://api.example.com`. */
  readonly url: string;
  /** Sent as `authorization: Bearer`. */
  readonly token?: string;
  /** Default: the global one. */
  readonly fetch?: typeof fetch;
}

export interface Client extends Calls {
  /** Cancels what is under way; later calls fail with CLOSED. */
  close(): void;
}

type Options = CallOptions<unknown>;
/** The gateway's own answer to a missed deadline comes a little later than the deadline; it says more than ours. */
const timeoutSlackMs = 250;
/** For calls that name no timeout: the method's own holds at the gateway, which this client does not know. */
const waitMsMax = 60_000;

export function createClient(options: ClientOptions): Client {
  const connection = new Connection(options);
  // biome-ignore lint/suspicious/noExplicitAny: the contract's types are the promise; here any method of any service goes
  const methods = (run: (path: string, input: unknown, options?: Options) => unknown) => (contract: any) => {
    const service: string = typeof contract === 'string' ? contract : contract.name;
    return new Proxy(
      {},
      {
        // Not a thenable, so that a service's calls can pass through an await.
        get: (_none, method) =>
          typeof method === 'string' && method !== 'then'
            ? (input: unknown, callOptions?: Options) => run(`${service}/${method}`, input, callOptions)
            : undefined,
      },
    );
  };
  return {
    call: methods((path, input, callOptions = {}) => callOne(connection, path, input, callOptions)),
    try: methods((path, input, callOptions = {}) => tryOne(connection, path, input, callOptions)),
    close: () => connection.close(),
  } as Client;
}

/** A promise of the answer that is also an iterable of it: only the gateway knows which methods are streams. */
function callOne(connection: Connection, path: string, input: unknown, options: Options): unknown {
  const answer = connection.send(path, input, options).then(({ value }) => value);
  return Object.assign(answer, {
    async *[Symbol.asyncIterator]() {
      yield* (await answer) as AsyncIterable<unknown>;
    },
  });
}

async function tryOne(
  connection: Connection,
  path: string,
  input: unknown,
  options: Options,
): Promise<Answer<unknown, unknown>> {
  const key = options.idempotencyKey ?? systemRandom.id();
  try {
    return { ok: true, ...(await connection.send(path, input, { ...options, idempotencyKey: key })) };
  } catch (thrown) {
    const meta = metaWithout(key, false);
    if (thrown instanceof DeclaredError) {
      const { code, message, data } = thrown;
      return { ok: false, error: { code, message, data }, outcome: 'not-done', meta };
    }
    const { code, message, outcome } = TandemError.from(thrown);
    return { ok: false, error: { code, message }, outcome, meta };
  }
}

interface Sent {
  readonly value: unknown;
  readonly meta: AnswerMeta;
}

class Connection {
  readonly #url: string;
  readonly #token: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #closed = new AbortController();
  readonly #session = new SessionTokens();

  constructor({ url, token, fetch: given }: ClientOptions) {
    this.#url = url.replace(/\/+$/, '');
    this.#token = token;
    this.#fetch = given ?? ((request, init) => fetch(request, init));
  }

  close(): void {
    this.#closed.abort(new TandemError('CLOSED', 'this client is closed'));
  }

  /** @throws DeclaredError, TandemError. System errors go to the call's fallback first. */
  async send(path: string, input: unknown, options: Options): Promise<Sent> {
    const key = options.idempotencyKey ?? systemRandom.id();
    try {
      return await this.#within(path, input, options, key);
    } catch (thrown) {
      if (!options.fallback || thrown instanceof DeclaredError) throw thrown;
      return { value: await options.fallback(), meta: metaWithout(key, true) };
    }
  }

  /** Bounds the call by its timeout, the caller's signal and this client's life. */
  async #within(path: string, input: unknown, options: Options, key: string): Promise<Sent> {
    const waitMs = options.timeout === undefined ? waitMsMax : durationMs(options.timeout) + timeoutSlackMs;
    const late = new AbortController();
    const timer = systemClock.after(waitMs, () =>
      late.abort(new TandemError('DEADLINE_EXCEEDED', `no answer within ${options.timeout ?? '60s'}`)),
    );
    const signals = [late.signal, this.#closed.signal, ...(options.signal ? [options.signal] : [])];
    const signal = AbortSignal.any(signals);
    try {
      const body = input === undefined ? undefined : JSON.stringify(input);
      const sent = this.#session.toSend();
      const init = {
        method: 'POST',
        headers: this.#headers(options, key, body, sent),
        signal,
        ...(body !== undefined && { body }),
      };
      const response = await this.#fetchTwice(`${this.#url}/call/${path}`, init);
      this.#session.take(sent, response.headers.get('tandem-session'));
      return await this.#read(response, key);
    } catch (thrown) {
      throw signal.aborted ? abortError(signal.reason) : thrown;
    } finally {
      timer.cancel();
    }
  }

  #headers(options: Options, key: string, body: string | undefined, sent: readonly string[]): Record<string, string> {
    return {
      accept: 'application/json, text/event-stream',
      'idempotency-key': key,
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
      ...(sent.length > 0 && { 'tandem-session': sent.join(', ') }),
      ...(options.consistency && { 'tandem-consistency': options.consistency }),
      ...(options.timeout !== undefined && { 'tandem-timeout': String(options.timeout) }),
      ...(options.hedge !== undefined && { 'tandem-hedge': String(options.hedge) }),
    };
  }

  async #fetchTwice(
    url: string,
    init: RequestInit & { headers: Record<string, string>; signal: AbortSignal },
  ): Promise<Response> {
    try {
      return await this.#fetch(url, init);
    } catch (first) {
      if (init.signal.aborted) throw first;
      try {
        return await this.#fetch(url, { ...init, headers: { ...init.headers, 'tandem-repeat': '1' } });
      } catch (cause) {
        throw new TandemError('UNAVAILABLE', `${this.#url} cannot be reached`, { cause, outcome: 'unknown' });
      }
    }
  }

  async #read(response: Response, key: string): Promise<Sent> {
    const type = response.headers.get('content-type') ?? '';
    const meta = metaOf(response.headers, key);
    if (response.ok && type.startsWith('text/event-stream') && response.body) {
      return { value: items(response.body, this.#closed.signal), meta };
    }
    const text = await response.text();
    const json = /[/+]json\b/.test(type) ? JSON.parse(text) : undefined;
    if (!response.ok) throw errorOf(json, response.status);
    return { value: json, meta };
  }
}

/** @throws the problem that an `error` event carries; INTERRUPTED when the stream was cut before its end. */
async function* items(body: ReadableStream<Uint8Array>, closed: AbortSignal): AsyncGenerator<unknown, void, undefined> {
  try {
    for await (const { event, data } of serverEvents(body)) {
      if (event === 'end') return;
      if (event === 'error') {
        const problem = JSON.parse(data) as { status: number };
        throw errorOf(problem, problem.status);
      }
      yield JSON.parse(data);
    }
  } catch (thrown) {
    if (thrown instanceof TandemError || thrown instanceof DeclaredError) throw thrown;
    if (closed.aborted) throw abortError(closed.reason);
    throw new TandemError('INTERRUPTED', 'the stream was cut', { cause: thrown });
  }
  throw new TandemError('INTERRUPTED', 'the stream was cut');
}

function abortError(reason: unknown): TandemError {
  if (reason instanceof TandemError) return reason;
  return new TandemError('CANCELED', 'the call was canceled', { cause: reason });
}

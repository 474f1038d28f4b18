/**
 * One request on its way to an upstream and its answer on the way back: picked, sent, perhaps sent again, passed on as it comes.
 * It holds nothing but what one read gives: whoever cannot take more is waited for by whoever sends (back pressure), and every
 * wait has a deadline. However it ends, the target, the connection and the client each hear of it exactly once.
 */
import { TandemError } from '../core/errors.ts';
import { type AnswerListener, AnswerReader, type Framing } from './answer-reader.ts';
import type { Client } from './client.ts';
import type { Connection, ConnectionUser } from './connection.ts';
import type { Group } from './group.ts';
import type { AnswerHead, RequestHead } from './heads.ts';
import { mayRepeat } from './retry-rule.ts';
import { tunnel } from './tunnel.ts';
import type { UpstreamTarget } from './upstream-target.ts';

const noneTried: ReadonlySet<UpstreamTarget> = new Set();
/** Of the keep-alive time that a server names, so much is left unused: what is on the way must still arrive in it. */
const keepAliveMarginMs = 1000;

type Phase = 'place' | 'connect' | 'send' | 'answer' | 'body' | 'over';

export class Exchange implements ConnectionUser, AnswerListener {
  readonly #group: Group;
  readonly #client: Client;
  readonly #head: RequestHead;
  /** All of the request but its body. */
  readonly #text: string;
  readonly #startedMs: number;
  /** Where the group keeps it. */
  place = -1;
  /** Monotonic; the group looks at it. */
  deadlineMs: number = Number.POSITIVE_INFINITY;
  #phase: Phase = 'place';
  #target: UpstreamTarget | undefined;
  #connection: Connection | undefined;
  #reader: AnswerReader | undefined;
  #answerHead: AnswerHead | undefined;
  #tried: Set<UpstreamTarget> | undefined;
  #tries = 0;
  #triedAtMs = 0;
  #bodyBytes = 0;
  #bodyTaken = false;
  #isClientFull = false;
  #bodyDone: boolean;
  #waiting: AbortController | undefined;

  /** @param forwarded Lines that say for whom this is. */
  constructor(group: Group, client: Client, head: RequestHead, forwarded: string) {
    this.#group = group;
    this.#client = client;
    this.#head = head;
    this.#bodyDone = !head.hasBody;
    this.#text = requestText(head, forwarded);
    this.#startedMs = group.clock.monotonic();
    group.add(this);
  }

  start(): void {
    const { bodyBytesMax } = this.#group.form;
    if (bodyBytesMax !== undefined && this.#head.fields.length > bodyBytesMax)
      return void this.#refuseBody(bodyBytesMax);
    this.#group.budget.deposit();
    this.#try();
  }

  #try(): void {
    const { balancer, candidates, clock } = this.#group;
    const picked = balancer.pick(candidates, this.#tried ?? noneTried, this.#client.hash);
    if (picked === 'full') return void this.#waitForPlace();
    if (picked === undefined) return void this.#fail(503, 'UNAVAILABLE', 'no upstream is known', 'not-done');
    if (!picked.breaker.allows())
      return void this.#fail(
        503,
        'UNAVAILABLE',
        `no upstream answers: ${picked.lastFailure ?? 'all failed'}`,
        'not-done',
      );
    this.#tries++;
    this.#triedAtMs = clock.monotonic();
    this.#target = picked;
    picked.inflight++;
    picked.requests++;
    picked.picked.add(1);
    const { upgrade, verb } = this.#head;
    this.#reader = new AnswerReader(this, verb === 'HEAD', upgrade);
    const connection = picked.take();
    this.#connection = connection;
    connection.user = this;
    if (connection.ready && this.#bodyDone) this.#group.writes.add(connection.socket, this.#text);
    else connection.socket.write(this.#text, 'latin1');
    if (connection.ready) this.onConnect();
    else this.#wait('connect', this.#group.form.connectTimeoutMs);
  }

  async #waitForPlace(): Promise<void> {
    const { balancer, candidates, clock, form } = this.#group;
    this.#waiting = new AbortController();
    const deadline = clock.monotonic() + form.queueTimeoutMs;
    try {
      await balancer.places.wait(form.prefix, candidates, balancer.queueMax, deadline, this.#waiting.signal);
    } catch (thrown) {
      if (this.#phase === 'over') return;
      return this.#fail(503, 'OVERLOADED', TandemError.from(thrown).message, 'not-done');
    }
    if (this.#phase !== 'over') this.#try();
  }

  onConnect(): void {
    if (this.#bodyDone) return void this.#wait('answer', this.#group.form.answerTimeoutMs);
    // How long the client may take is the door's to say.
    this.#wait('send', Number.POSITIVE_INFINITY);
    this.#client.readBody();
  }

  /** Of the request's body. False: no more until `readBody`. */
  onBody(bytes: Buffer): boolean {
    if (!this.#connection) return false;
    const { bodyBytesMax, idleTimeoutMs } = this.#group.form;
    this.#bodyBytes += bytes.length;
    if (bodyBytesMax !== undefined && this.#bodyBytes > bodyBytesMax) {
      this.#refuseBody(bodyBytesMax);
      return false;
    }
    const { socket } = this.#connection;
    this.#bodyTaken = true;
    const more = this.#head.fields.chunked ? writeChunk(socket, bytes) : socket.write(bytes);
    if (!more && this.#phase === 'send') this.#wait('send', idleTimeoutMs);
    return more;
  }

  onBodyEnd(trailers: string): void {
    if (!this.#connection) return;
    this.#bodyDone = true;
    if (this.#head.fields.chunked) this.#connection.socket.write(`0\r\n${trailers}\r\n`, 'latin1');
    if (this.#phase === 'send') this.#wait('answer', this.#group.form.answerTimeoutMs);
  }

  /** Nobody waits for the answer any more; the upstream is told by the end of its connection. */
  onGone(): void {
    if (this.#phase === 'over') return;
    this.#waiting?.abort();
    this.#target?.breaker.released();
    this.#connection?.destroy();
    this.#over(499);
  }

  /** The client took what waited. */
  onClientDrain(): void {
    this.#isClientFull = false;
    if (this.#phase !== 'body') return;
    this.#wait('body', this.#group.form.idleTimeoutMs);
    this.#connection!.socket.resume();
  }

  onBytes(bytes: Buffer): void {
    try {
      this.#reader!.push(bytes);
    } catch (cause) {
      if (this.#phase === 'over') return;
      this.#failTry(`it answers what is no HTTP: ${(cause as Error).message}`, 502, false);
    }
  }

  onDrain(): void {
    if (this.#phase === 'over' || this.#bodyDone) return;
    if (this.#phase === 'send') this.#wait('send', Number.POSITIVE_INFINITY);
    this.#client.readBody();
  }

  onClose(cause: Error | undefined): void {
    const reader = this.#reader!;
    if (cause === undefined && reader.answering && reader.end()) return;
    const reason =
      cause?.message ?? (reader.begun ? 'it ended its answer too early' : 'it closed the connection without an answer');
    this.#failTry(reason, 502, false);
  }

  onTimeout(): void {
    const { connectTimeoutMs, answerTimeoutMs, idleTimeoutMs } = this.#group.form;
    if (this.#isClientFull) {
      // Nobody's failure but the client's, who takes nothing.
      this.#client.abort();
      this.onGone();
    } else if (this.#phase === 'connect')
      this.#failTry(`it took no connection within ${connectTimeoutMs} ms`, 504, true);
    else if (this.#phase === 'answer') this.#failTry(`it did not answer within ${answerTimeoutMs} ms`, 504, true);
    else this.#failTry(`nothing moved for ${idleTimeoutMs} ms`, 504, true);
  }

  onInformation(head: AnswerHead): void {
    this.#client.information(head);
  }

  onWhole(head: AnswerHead, body: Buffer): void {
    this.#answered(head);
    this.#client.whole(head, body, !this.#bodyDone);
    this.#done('length');
  }

  onHead(head: AnswerHead, framing: Framing): void {
    this.#answered(head);
    this.#wait('body', this.#group.form.idleTimeoutMs);
    this.#client.begin(head, framing, !this.#bodyDone);
  }

  onData(data: Buffer): void {
    if (this.#phase === 'over') return;
    this.#wait('body', this.#group.form.idleTimeoutMs);
    if (this.#client.write(data)) return;
    this.#isClientFull = true;
    this.#connection?.socket.pause();
  }

  onEnd(trailers: string): void {
    if (this.#phase === 'over') return;
    this.#client.end(trailers);
    this.#done(this.#reader!.framing!);
  }

  onSwitch(head: AnswerHead, rest: Buffer): void {
    this.#answered(head);
    const connection = this.#connection!;
    const target = this.#target!;
    const { clock, form } = this.#group;
    target.lose(connection);
    const theirs = connection.release();
    const ours = this.#client.switch(head);
    this.#connection = undefined;
    // Until then it counts at its target, as any other request.
    this.deadlineMs = Number.POSITIVE_INFINITY;
    tunnel(ours, theirs, rest, clock, form.tunnelIdleMs, () => this.#over(101));
  }

  #answered(head: AnswerHead): void {
    const target = this.#target!;
    const now = this.#group.clock.monotonic();
    this.#answerHead = head;
    target.breaker.succeeded();
    if (head.status < 500 || head.status === 501) this.#group.balancer.succeeded(target, now - this.#triedAtMs);
    else {
      target.failures++;
      target.lastFailure = `it answered ${head.status}`;
      this.#group.balancer.failed(target, now - this.#triedAtMs);
    }
  }

  /** The answer is complete. */
  #done(framing: Framing): void {
    const connection = this.#connection;
    const { keepAlive, fields, status } = this.#answerHead!;
    this.#connection = undefined;
    if (connection) {
      if (keepAlive && framing !== 'until close' && this.#bodyDone && !this.#reader!.surplus && !connection.closed) {
        const { clock, form } = this.#group;
        const named =
          fields.keepAliveSeconds < 0 ? Number.POSITIVE_INFINITY : fields.keepAliveSeconds * 1000 - keepAliveMarginMs;
        if (connection.socket.isPaused()) connection.socket.resume();
        this.#target!.giveBack(connection, clock.monotonic() + Math.min(form.keepAliveMs, named));
      } else connection.destroy();
    }
    this.#over(status);
  }

  /** The try failed, at the target or on the way. */
  #failTry(reason: string, status: number, timedOut: boolean): void {
    const { balancer, candidates, clock, budget, form, logger } = this.#group;
    const target = this.#target!;
    const connection = this.#connection!;
    const reader = this.#reader!;
    const { verb } = this.#head;
    const sent = connection.ready;
    // A server may close a connection that was idle while the request was on the way: nobody's failure.
    const isStale = sent && connection.served > 0 && !reader.begun && !timedOut;
    connection.destroy();
    this.#connection = undefined;
    if (!isStale) {
      target.failures++;
      target.lastFailure = reason;
      target.breaker.failed();
      balancer.failed(target, clock.monotonic() - this.#triedAtMs);
      logger.debug('a request to an upstream failed', { upstream: form.prefix, target: target.id, reason });
    } else target.breaker.released();
    const { answering: begun } = reader;
    if (!isStale) {
      this.#tried ??= new Set();
      this.#tried.add(target);
    }
    const repeat =
      (isStale || candidates.some(other => !this.#tried!.has(other))) &&
      mayRepeat({ verb, sent, bodyTaken: this.#bodyTaken, answerBegun: reader.begun, timedOut }) &&
      this.#tries < form.tries &&
      budget.withdraw();
    this.#leave();
    if (repeat) {
      this.#client.holdBody();
      this.#try();
    } else if (begun) {
      // What came cannot be taken back; that the end is missing is said by the end of the connection.
      this.#client.abort();
      this.#over(status);
    } else if (status === 504)
      this.#fail(504, 'DEADLINE_EXCEEDED', `the upstream ${target.id}: ${reason}`, sent ? 'unknown' : 'not-done');
    else if (sent) this.#fail(502, 'INTERRUPTED', `the upstream ${target.id}: ${reason}`, 'unknown');
    else this.#fail(502, 'UNAVAILABLE', `the upstream ${target.id}: ${reason}`, 'not-done');
  }

  #refuseBody(bytesMax: number): void {
    this.#connection?.destroy();
    this.#fail(413, 'TOO_LARGE', `the body is over ${bytesMax} bytes`, this.#bodyTaken ? 'unknown' : 'not-done');
  }

  #fail(status: number, code: string, detail: string, outcome: 'not-done' | 'unknown'): void {
    if (this.#answerHead) this.#client.abort();
    else this.#client.fail({ status, code, detail, outcome });
    this.#over(status);
  }

  #wait(phase: Phase, ms: number): void {
    this.#phase = phase;
    this.deadlineMs = this.#group.clock.monotonic() + ms;
  }

  /** The target has room again. */
  #leave(): void {
    const target = this.#target;
    if (!target) return;
    this.#target = undefined;
    target.inflight--;
    this.#group.freed(target);
  }

  #over(status: number): void {
    if (this.#phase === 'over') return;
    this.#phase = 'over';
    this.#leave();
    this.#group.remove(this);
    this.#group.record(this.#head.verb, status, this.#group.clock.monotonic() - this.#startedMs);
  }
}

function requestText(head: RequestHead, forwarded: string): string {
  const { verb, target, host, fields, upgrade, expectsContinue } = head;
  let text = `${verb} ${target} HTTP/1.1\r\nhost: ${host}\r\n${fields.lines}${forwarded}`;
  if (fields.chunked) text += 'transfer-encoding: chunked\r\n';
  else if (fields.length >= 0) text += `content-length: ${fields.length}\r\n`;
  if (upgrade !== undefined) text += `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  else if (fields.trailers) text += 'te: trailers\r\nconnection: te\r\n';
  if (expectsContinue) text += 'expect: 100-continue\r\n';
  return `${text}\r\n`;
}

/** As one chunk of a chunked body. */
export function writeChunk(
  socket: Pick<import('node:stream').Writable, 'cork' | 'uncork' | 'write'>,
  bytes: Buffer,
): boolean {
  socket.cork();
  socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1');
  socket.write(bytes);
  const more = socket.write('\r\n', 'latin1');
  socket.uncork();
  return more;
}

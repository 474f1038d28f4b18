/**
 * Active checks: each target is asked every interval (spread by a tenth, so that they do not fall together), on a connection of
 * its own. Thresholds in a row keep one lost packet from moving traffic; only the very first check decides at once.
 */
import type { UpstreamForm } from '../contract/upstream.ts';
import type { Clock, Timer } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import { type AnswerListener, AnswerReader } from './answer-reader.ts';
import { Connection } from './connection.ts';
import type { AnswerHead } from './heads.ts';
import type { UpstreamTarget } from './upstream-target.ts';

type Check = NonNullable<UpstreamForm['health']>;

interface Watched {
  timer: Timer | undefined;
  /** Checks in a row that ended against what is held of it. */
  against: number;
}

const spread = 0.1;

export class HealthChecks {
  readonly #check: Check;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onChange: (target: UpstreamTarget) => void;
  readonly #watched = new Map<UpstreamTarget, Watched>();

  constructor(check: Check, clock: Clock, random: Random, onChange: (target: UpstreamTarget) => void) {
    this.#check = check;
    this.#clock = clock;
    this.#random = random;
    this.#onChange = onChange;
  }

  watch(target: UpstreamTarget): void {
    if (this.#watched.has(target)) return;
    this.#watched.set(target, { timer: undefined, against: 0 });
    this.#arm(target);
  }

  forget(target: UpstreamTarget): void {
    this.#watched.get(target)?.timer?.cancel();
    this.#watched.delete(target);
  }

  close(): void {
    for (const target of [...this.#watched.keys()]) this.forget(target);
  }

  /** Asks once, now. */
  async check(target: UpstreamTarget): Promise<void> {
    const failure = await this.#ask(target);
    if (target.gone) return;
    const well = failure === undefined;
    if (!well) target.lastFailure = failure;
    const held = target.health;
    const watched = this.#watched.get(target);
    if (held === 'unknown') this.#set(target, well);
    else if ((held === 'well') === well) {
      if (watched) watched.against = 0;
    } else if (watched && ++watched.against >= (well ? this.#check.healthy : this.#check.unhealthy))
      this.#set(target, well);
  }

  #set(target: UpstreamTarget, well: boolean): void {
    const isNews = !(target.health === 'unknown' && well);
    target.health = well ? 'well' : 'ill';
    const watched = this.#watched.get(target);
    if (watched) watched.against = 0;
    if (isNews) this.#onChange(target);
  }

  #arm(target: UpstreamTarget): void {
    const watched = this.#watched.get(target);
    if (!watched) return;
    const delayMs = this.#check.intervalMs * (1 - spread + 2 * spread * this.#random.next());
    watched.timer = this.#clock.after(delayMs, () => void this.check(target).finally(() => this.#arm(target)));
  }

  /** What is wrong; undefined when all is well. */
  #ask(target: UpstreamTarget): Promise<string | undefined> {
    const { path, timeoutMs } = this.#check;
    return new Promise(resolve => {
      const end = (failure: string | undefined): void => {
        timer.cancel();
        connection.destroy();
        resolve(failure);
      };
      const answered = ({ status }: AnswerHead): void =>
        end(status >= 200 && status < 400 ? undefined : `the check was answered with ${status}`);
      const listener: AnswerListener = {
        onInformation() {},
        onWhole: answered,
        onHead: answered,
        onData() {},
        onEnd() {},
        onSwitch: answered,
      };
      const reader = new AnswerReader(listener, false, undefined);
      const connection = new Connection(target.place, () => {});
      const timer = this.#clock.after(timeoutMs, () => end(`no answer to a check within ${timeoutMs} ms`));
      connection.user = {
        onConnect() {
          if (path === undefined) return end(undefined);
          const { name, port } = target.place;
          const host = name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`;
          connection.socket.write(
            `GET ${path} HTTP/1.1\r\nhost: ${host}\r\nuser-agent: tandem-health\r\nconnection: close\r\n\r\n`,
          );
        },
        onBytes(bytes) {
          try {
            if (!reader.answering) reader.push(bytes);
          } catch (cause) {
            end(`the check was answered with what is no HTTP: ${(cause as Error).message}`);
          }
        },
        onDrain() {},
        onClose: cause => end(cause ? cause.message : 'the connection was closed without an answer'),
      };
    });
  }
}

/**
 * One record for each request that was answered: all of them, a share, or only those that went wrong on our side. The path is there
 * without its query, which may hold what nobody should read later.
 */
import type { AccessRecords } from '../contract/gateway-config.ts';
import type { Logger } from '../core/logger.ts';
import type { Random } from '../core/random.ts';

export interface Access {
  readonly verb: string;
  /** The pattern, not the path: what requests can be counted by. */
  readonly route: string;
  readonly path: string;
  readonly status: number;
  readonly code: string;
  readonly ms: number;
  readonly bytesIn?: number;
  readonly bytesOut?: number;
  readonly requestId: string;
}

export class AccessRecorder {
  readonly #logger: Logger;
  readonly #random: Random;
  readonly #share: number;
  readonly #errors: boolean;

  constructor(which: AccessRecords, logger: Logger, random: Random) {
    this.#logger = logger;
    this.#random = random;
    this.#share = which === 'all' ? 1 : typeof which === 'number' ? which : 0;
    this.#errors = which !== 'off';
  }

  /** Asked before a record is put together. */
  wants(status: number): boolean {
    if (this.#errors && status >= 500) return true;
    return this.#share === 1 || (this.#share > 0 && this.#random.next() < this.#share);
  }

  note(access: Access, more: Readonly<Record<string, unknown>>): void {
    this.#logger.info('request', { ...access, ms: Math.round(access.ms * 1000) / 1000, ...more });
  }
}

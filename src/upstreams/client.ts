/** Who waits for the answer, as an exchange sees it: a connection that this room reads itself, or a request of node:http. */
import type { Duplex } from 'node:stream';
import type { Framing } from './answer-reader.ts';
import type { AnswerHead } from './heads.ts';

export interface Failure {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly outcome: 'not-done' | 'unknown';
}

export interface Client {
  /** Stands for its address, for strategies that keep a client at its target. */
  readonly hash: number;
  /** From now on the request's body is handed over, until that returns false. */
  readBody(): void;
  /** Nothing of it was handed over yet, and is not to be until `readBody`. */
  holdBody(): void;
  /** An interim answer (1xx). */
  information(head: AnswerHead): void;
  /** @param last The request is not complete, so the connection cannot go on after this answer. */
  whole(head: AnswerHead, body: Buffer, last: boolean): void;
  begin(head: AnswerHead, framing: Framing, last: boolean): void;
  /** False: no more until `onClientDrain`. */
  write(data: Buffer): boolean;
  end(trailers: string): void;
  /** Instead of an answer. */
  fail(failure: Failure): void;
  /** The answer that was begun will never be complete. */
  abort(): void;
  /** 101: gives what carries the other protocol from now on. */
  switch(head: AnswerHead): Duplex;
}

export function problemText({ status, code, detail, outcome }: Failure): string {
  return JSON.stringify({
    type: `urn:tandem:error:${code}`,
    title: reasons[status] ?? 'Error',
    status,
    detail,
    code,
    outcome,
  });
}

export const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

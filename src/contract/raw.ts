/** How a raw method's web Request and Response cross the link: plain data; small bodies in one piece, others as items. */
import type { ReplyMeta } from '../core/meta.ts';

export interface RawRequestForm {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Null when there is none; `items`: its pieces are the call's items. */
  readonly body: Uint8Array | null | 'items';
  /** Opened as a stream: what comes is a RawHead, then the pieces of its body. Its time is that of the whole answer, so this is for the head. */
  readonly streams?: { readonly headTimeoutMs: number };
}

export interface RawResponseForm {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

/** The first item of a streamed answer. */
export interface RawHead extends Omit<RawResponseForm, 'body'> {
  /** Null: its pieces follow. */
  readonly body: Uint8Array | null;
  readonly meta: ReplyMeta;
}

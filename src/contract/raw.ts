/** How a raw method's web Request and Response cross the link: plain data, body in one piece. */
export interface RawRequestForm {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Null when there is none. */
  readonly body: Uint8Array | null;
}
export interface RawResponseForm {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

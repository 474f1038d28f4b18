/** What travels with every call beside its input, in the link's frame. Short and plain; absent fields cost nothing. */
export interface CallMeta {
  /** Made by the outermost caller, kept through retries and hedges; nested calls derive theirs (data core, rule 15). */
  readonly requestId?: string;
  /** Wall time in ms at which the id was born. Absent for ids given from outside (an Idempotency-Key). */
  readonly born?: number;
  /** An earlier try of this request may have been done, or may yet be. */
  readonly repeated?: boolean;
  readonly traceparent?: string;
  readonly consistency?: 'strong' | 'sequential' | 'eventual';
  /** The session's causal past: [log, position] pairs (data core, rule 12). */
  readonly session?: SessionForm;
  /** Times this call was forwarded. */
  readonly hops?: number;
  readonly caller?: {
    readonly service?: string;
    readonly instance?: string;
    readonly address?: string;
    readonly tenant?: string;
    readonly headers?: Readonly<Record<string, string>>;
  };
}

export interface SessionForm {
  readonly positions: readonly (readonly [log: string, position: number])[];
  /** Pairs were dropped: a log that is not listed is read behind a barrier. */
  readonly overflowed?: boolean;
}

/** What travels back with an answer. */
export interface ReplyMeta {
  readonly instance?: string;
  readonly level?: 'strong' | 'sequential' | 'eventual';
  readonly degraded?: boolean;
  readonly staleness?: { readonly entries: number; readonly ms: number };
  readonly session?: SessionForm;
}

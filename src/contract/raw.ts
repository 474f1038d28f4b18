/** How a raw method's web Request and Response cross the link: plain data, body in one piece. */
export interface RawRequestForm {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Undefined when there is none (always for GET and HEAD). */
  readonly body: Uint8Array | undefined;
}
export interface RawResponseForm {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

export function toRequest(form: RawRequestForm, signal: AbortSignal): Request {
  const body = form.body as Uint8Array<ArrayBuffer> | undefined;
  const headers = form.headers.map(([name, value]): [string, string] => [name, value]);
  return new Request(form.url, { method: form.method, headers, signal, ...(body && { body }) });
}

export async function fromResponse(response: Response): Promise<RawResponseForm> {
  return {
    status: response.status,
    headers: [...response.headers],
    body: new Uint8Array(await response.arrayBuffer()),
  };
}

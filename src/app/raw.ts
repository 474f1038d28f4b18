/** Raw methods speak web Request and Response; over the link they travel as plain parts. */
import type { RawRequestForm, RawResponseForm } from '../contract/raw.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';

/** @throws INTERNAL when the handler answers with something else than a Response; TOO_LARGE when its body does not fit one frame. */
export async function answerRaw(
  handler: (request: unknown, ctx: unknown) => unknown,
  form: RawRequestForm,
  ctx: unknown,
): Promise<RawResponseForm> {
  const init: RequestInit = {
    method: form.method,
    headers: form.headers.map(([name, value]): [string, string] => [name, value]),
  };
  if (form.body && form.method !== 'GET' && form.method !== 'HEAD') init.body = Uint8Array.from(form.body);
  const response = await handler(new Request(form.url, init), ctx);
  if (!(response instanceof Response)) throw new TandemError('INTERNAL', 'a raw method must answer with a Response');
  const body = new Uint8Array(await response.arrayBuffer());
  if (body.length > limits.frameBytesMax / 2)
    throw new TandemError('TOO_LARGE', `a raw answer of ${body.length} bytes does not fit; stream it from elsewhere`);
  return { status: response.status, headers: [...response.headers], body };
}

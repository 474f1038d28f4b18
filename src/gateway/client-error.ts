/**
 * What never became a request: bytes that are no HTTP/1.1, headers over the limit, a client too slow to finish. Node's strict parser finds
 * them (two lengths, length and chunked together, bare line feeds); the answer names the fault and the connection ends, since its framing is in doubt.
 */
import type { Duplex } from 'node:stream';

interface Fault {
  readonly status: number;
  readonly reason: string;
  readonly detail: string;
}

const faults: Readonly<Record<string, Fault>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    reason: 'Request Header Fields Too Large',
    detail: 'the headers are over the limit; send fewer or shorter ones',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    reason: 'Request Timeout',
    detail: 'the request did not arrive in time',
  },
};
const malformed: Fault = { status: 400, reason: 'Bad Request', detail: 'this is not a well-formed HTTP/1.1 request' };

export function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  const open = (socket as Duplex & { _httpMessage?: { headersSent: boolean } })._httpMessage;
  if (!socket.writable || error.code === 'ECONNRESET' || open?.headersSent) {
    socket.destroy();
    return;
  }
  const { status, reason, detail } = faults[error.code ?? ''] ?? malformed;
  const body = JSON.stringify({
    type: 'urn:tandem:error:INVALID',
    title: reason,
    status,
    detail,
    code: 'INVALID',
    outcome: 'not-done',
  });
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

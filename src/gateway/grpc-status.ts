/**
 * Errors as gRPC says them: a status code and message, and in `grpc-status-details-bin` a google.rpc.Status whose details hold what a program
 * looks at: ErrorInfo (reason = our code, domain = the contract, metadata with outcome and request id), BadRequest with the fields that
 * are wrong, RetryInfo, and the data of a declared error as its own message.
 *
 * UNAVAILABLE is kept for what was certainly not done, because gRPC's own retries repeat it; an interrupted call is UNKNOWN.
 */
import { type ProtoField, type ProtoFile, type ProtoMessage, plainField } from '../contract/proto-file.ts';
import { DeclaredError, type SystemCode, TandemError } from '../core/errors.ts';
import { problemOf, retryAfterSeconds } from './problem.ts';
import { encode } from './proto-codec.ts';

export const grpcCodes = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcCode = keyof typeof grpcCodes;

export const systemStatuses: Readonly<Record<SystemCode, GrpcCode>> = {
  INVALID: 'INVALID_ARGUMENT',
  DENIED: 'PERMISSION_DENIED',
  NOT_FOUND: 'UNIMPLEMENTED',
  CONFLICT: 'FAILED_PRECONDITION',
  TOO_LARGE: 'RESOURCE_EXHAUSTED',
  UNSUPPORTED: 'UNIMPLEMENTED',
  CROSS_PARTITION: 'INVALID_ARGUMENT',
  EXPIRED: 'FAILED_PRECONDITION',
  OVERLOADED: 'RESOURCE_EXHAUSTED',
  MOVED: 'UNAVAILABLE',
  UNAVAILABLE: 'UNAVAILABLE',
  INTERRUPTED: 'UNKNOWN',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  CANCELED: 'CANCELLED',
  CLOSED: 'UNAVAILABLE',
  LOG_LOST: 'DATA_LOSS',
  CORRUPT: 'DATA_LOSS',
  CONFIG: 'INTERNAL',
  INTERNAL: 'INTERNAL',
};

/** Of declared errors, by the HTTP status that the contract gives them. */
export const declaredStatuses: Readonly<Record<number, GrpcCode>> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  408: 'DEADLINE_EXCEEDED',
  409: 'FAILED_PRECONDITION',
  410: 'NOT_FOUND',
  412: 'FAILED_PRECONDITION',
  416: 'OUT_OF_RANGE',
  422: 'INVALID_ARGUMENT',
  429: 'RESOURCE_EXHAUSTED',
  501: 'UNIMPLEMENTED',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

export interface GrpcStatus {
  readonly code: GrpcCode;
  /** Ours: `OVERLOADED`, `outOfStock`. */
  readonly reason: string;
  readonly message: string;
  /** Bytes of a google.rpc.Status. */
  readonly details: Buffer;
}

/** Room for other headers within the 8 KiB that most clients take; a status that is larger goes without its details. */
const detailsBytesMax = 4096;
const messageMax = 1024;
const issuesMax = 20;

export function grpcStatusOf(
  thrown: unknown,
  file: ProtoFile | undefined,
  method: string,
  requestId: string,
): GrpcStatus {
  const problem = problemOf(thrown, requestId);
  const code = codeOf(thrown);
  const message = problem.detail.slice(0, messageMax);
  const parts = [
    anyOf(errorInfo, { reason: problem.code, domain: file?.contract ?? 'tandem', metadata: metadataOf(problem) }),
  ];
  if (thrown instanceof DeclaredError) {
    const data = file?.errors.get(`${method}.${thrown.code}`);
    if (data && thrown.data !== undefined) parts.push(anyOf(data, thrown.data));
  }
  if (Array.isArray(problem.issues)) {
    const issues = problem.issues.slice(0, issuesMax) as { path: string; message: string }[];
    const violations = issues.map(({ path, message: description }) => ({
      field: String(path),
      description: String(description),
    }));
    parts.push(anyOf(badRequest, { fieldViolations: violations }));
  }
  const seconds = retryAfterSeconds(thrown);
  if (seconds !== undefined) parts.push(anyOf(retryInfo, { retryDelay: { seconds } }));
  const status = { code: grpcCodes[code], message };
  let details = encode(statusMessage, { ...status, details: parts });
  if (details.length > detailsBytesMax) details = encode(statusMessage, { ...status, details: parts.slice(0, 1) });
  return { code, reason: problem.code, message, details };
}

function codeOf(thrown: unknown): GrpcCode {
  if (!(thrown instanceof DeclaredError)) return systemStatuses[TandemError.from(thrown).code];
  return declaredStatuses[thrown.status] ?? (thrown.status < 500 ? 'FAILED_PRECONDITION' : 'INTERNAL');
}

function metadataOf(problem: ReturnType<typeof problemOf>): Record<string, string> {
  const metadata: Record<string, string> = { outcome: problem.outcome, requestId: problem.requestId };
  for (const [name, value] of Object.entries(problem.details ?? {}))
    metadata[name] = typeof value === 'string' ? value : JSON.stringify(value);
  if (Array.isArray(problem.didYouMean)) metadata.didYouMean = problem.didYouMean.join(', ');
  return metadata;
}

function anyOf(message: ProtoMessage, value: unknown): { typeUrl: string; value: string } {
  return { typeUrl: `type.googleapis.com/${message.fullName}`, value: encode(message, value).toString('base64') };
}

function known(fullName: string, ...fields: ProtoField[]): ProtoMessage {
  const name = fullName.slice(fullName.lastIndexOf('.') + 1);
  return { name, fullName, form: 'object', fields, reserved: [] };
}
const anyMessage = known('google.protobuf.Any', plainField(1, 'type_url', 'string'), plainField(2, 'value', 'bytes'));
const statusMessage = known(
  'google.rpc.Status',
  plainField(1, 'code', 'int32'),
  plainField(2, 'message', 'string'),
  plainField(3, 'details', 'message', { message: anyMessage, label: 'repeated' }),
);
const errorInfo = known(
  'google.rpc.ErrorInfo',
  plainField(1, 'reason', 'string'),
  plainField(2, 'domain', 'string'),
  plainField(3, 'metadata', 'string', { label: 'map' }),
);
const violation = known(
  'google.rpc.BadRequest.FieldViolation',
  plainField(1, 'field', 'string'),
  plainField(2, 'description', 'string'),
);
const badRequest = known(
  'google.rpc.BadRequest',
  plainField(1, 'field_violations', 'message', { message: violation, label: 'repeated' }),
);
const duration = known('google.protobuf.Duration', plainField(1, 'seconds', 'int64'), plainField(2, 'nanos', 'int32'));
const retryInfo = known('google.rpc.RetryInfo', plainField(1, 'retry_delay', 'message', { message: duration }));

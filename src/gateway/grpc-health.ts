/**
 * grpc.health.v1: whether this gateway, or a service behind it, takes calls. The empty name is the gateway itself; a contract is known by its own name and by
 * its full name in protobuf. Serving is a service of which some instance is ready.
 */
import { type ProtoEnum, type ProtoFile, type ProtoMessage, plainField } from '../contract/proto-file.ts';
import { DeclaredError } from '../core/errors.ts';
import type { Registry } from '../naming/registry.ts';
import type { LocalHandler } from './grpc-table.ts';

type Status = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

const statusEnum: ProtoEnum = {
  name: 'ServingStatus',
  fullName: 'grpc.health.v1.ServingStatus',
  values: [
    { name: 'UNKNOWN', number: 0, value: undefined },
    { name: 'SERVING', number: 1, value: 'SERVING' },
    { name: 'NOT_SERVING', number: 2, value: 'NOT_SERVING' },
    { name: 'SERVICE_UNKNOWN', number: 3, value: 'SERVICE_UNKNOWN' },
  ],
  reserved: [],
};
const request: ProtoMessage = {
  name: 'HealthCheckRequest',
  fullName: 'grpc.health.v1.HealthCheckRequest',
  form: 'object',
  fields: [plainField(1, 'service', 'string')],
  reserved: [],
};
const response: ProtoMessage = {
  name: 'HealthCheckResponse',
  fullName: 'grpc.health.v1.HealthCheckResponse',
  form: 'object',
  fields: [plainField(1, 'status', 'enum', { enum: statusEnum })],
  reserved: [],
};
const check = { name: 'Check', method: 'Check', input: request, output: response, inputStream: false };

export const healthFile: ProtoFile = {
  name: 'grpc/health/v1/health.proto',
  package: 'grpc.health.v1',
  serviceName: 'grpc.health.v1.Health',
  contract: undefined,
  methods: [
    { ...check, outputStream: false },
    { ...check, name: 'Watch', method: 'Watch', outputStream: true },
  ],
  errors: new Map(),
  messages: [request, response],
  enums: [statusEnum],
  imports: [],
};

export interface HealthParts {
  readonly registry: Pick<Registry, 'instances' | 'onChange'>;
  /** The contract of a name; undefined of an unknown one. */
  readonly contractOf: (name: string) => string | undefined;
  readonly ready: () => boolean;
}

export function healthHandlers(parts: HealthParts): Readonly<Record<string, LocalHandler>> {
  const statusOf = (name: string): Status => {
    if (name === '') return parts.ready() ? 'SERVING' : 'NOT_SERVING';
    const contract = parts.contractOf(name);
    if (contract === undefined) return 'SERVICE_UNKNOWN';
    const takes = parts.registry.instances(contract).some(({ beat, verdict }) => beat.ready && verdict !== 'dead');
    return takes && parts.ready() ? 'SERVING' : 'NOT_SERVING';
  };
  return {
    Check: async function* (items) {
      const status = statusOf(await serviceOf(items));
      if (status === 'SERVICE_UNKNOWN') throw new DeclaredError('unknownService', 404, undefined);
      yield { status };
    },
    Watch: async function* (items, signal) {
      const service = await serviceOf(items);
      let last: Status | undefined;
      let wake: (() => void) | undefined;
      const stir = (): void => wake?.();
      const unwatch = parts.registry.onChange(stir);
      signal.addEventListener('abort', stir);
      try {
        while (!signal.aborted) {
          const changed = new Promise<void>(resolve => {
            wake = resolve;
          });
          const status = statusOf(service);
          if (status !== last) yield { status };
          last = status;
          if (!signal.aborted) await changed;
        }
      } finally {
        unwatch();
        signal.removeEventListener('abort', stir);
      }
    },
  };
}

async function serviceOf(items: AsyncIterable<unknown>): Promise<string> {
  for await (const item of items) return (item as { service: string }).service;
  return '';
}

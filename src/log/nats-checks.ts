/**
 * What a NATS server must be before a log is trusted to it. Older ones lose acknowledged entries when servers are killed or
 * let two writers win (measured: 2.9.10; fixed step by step up to 2.12.9), and one that syncs now and then, which is the
 * default, loses what it acknowledged when its machines lose power together.
 */
import { TandemError } from '../core/errors.ts';
import type { NatsAddress } from './nats-address.ts';

export const versionMin = '2.12.9';

/** @throws UNSUPPORTED. */
export function checkVersion(version: string): void {
  if (compare(version, versionMin) >= 0) return;
  throw new TandemError(
    'UNSUPPORTED',
    `nats-server ${version} loses acknowledged entries under faults; use ${versionMin} or newer`,
  );
}

/** @throws CONFIG when a server says that it does not sync before it acknowledges, or none can be asked. */
export async function checkSync(address: NatsAddress, get: (url: string) => Promise<unknown>): Promise<void> {
  if (address.sync === 'unchecked') return;
  if (address.monitors.length === 0) {
    throw new TandemError(
      'CONFIG',
      "whether NATS syncs before it acknowledges can only be seen at its monitoring port: add monitor=http://host:8222 (one per server) to the engine's address, or sync=unchecked if you answer for `sync_interval: always` yourself",
    );
  }
  for (const monitor of address.monitors) {
    const config = syncOf(await get(`${monitor.replace(/\/$/, '')}/varz`).catch(cause => unreachable(monitor, cause)));
    if (config === undefined)
      throw new TandemError('CONFIG', `the server at ${monitor} runs without JetStream: set \`jetstream {…}\``);
    if (!config)
      throw new TandemError(
        'CONFIG',
        `the server at ${monitor} acknowledges before it syncs: set \`jetstream { sync_interval: always }\``,
      );
  }
}

function unreachable(monitor: string, cause: unknown): never {
  throw new TandemError('UNAVAILABLE', `the monitoring address ${monitor} does not answer`, {
    cause,
    outcome: 'not-done',
  });
}

/** Undefined without JetStream. */
function syncOf(varz: unknown): boolean | undefined {
  const { jetstream } = varz as { jetstream?: { config?: { sync_always?: boolean } } };
  return jetstream?.config && jetstream.config.sync_always === true;
}

/** What must hold of a stream, and how it is said to a person. */
const streamRules: readonly (readonly [field: string, wanted: unknown])[] = [
  ['retention', 'limits'],
  ['storage', 'file'],
  ['discard', 'new'],
  ['max_age', 0],
  ['max_msgs', -1],
  ['max_bytes', -1],
  ['max_msgs_per_subject', -1],
  ['deny_delete', true],
];

/** @throws CONFIG for a stream that could make gaps, or has fewer copies than promised. */
export function checkStream(name: string, config: Readonly<Record<string, unknown>>, replicas: number): void {
  for (const [field, wanted] of streamRules) {
    const found = config[field] ?? (typeof wanted === 'number' ? wanted : undefined);
    if (found !== wanted)
      throw new TandemError('CONFIG', `stream ${name} has ${field} ${String(found)}, a log needs ${String(wanted)}`);
  }
  const copies = Number(config['num_replicas'] ?? 1);
  if (copies < replicas)
    throw new TandemError(
      'CONFIG',
      `stream ${name} has ${copies} replicas, ${replicas} are promised: raise num_replicas`,
    );
}

function compare(a: string, b: string): number {
  const parts = (text: string): number[] => text.split(/[.-]/).slice(0, 3).map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < 3; i++) if (left[i] !== right[i]) return (left[i] ?? 0) - (right[i] ?? 0);
  return 0;
}

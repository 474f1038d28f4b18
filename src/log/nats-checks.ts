/**
 * What a NATS server must be before a log is trusted to it. Older ones lose acknowledged entries when servers are killed or
 * let two writers win (measured: 2.9.10; fixed step by step up to 2.12.9), and one that syncs now and then, which is the
 * default, loses what it acknowledged when its machines lose power together.
 */
import { TandemError } from '../core/errors.ts';
import type { NatsAddress } from './nats-address.ts';

export const versionMin = '2.12.9';
/** From here on without what 2.12.9 mended, until 2.14.1 mended it there too. */
const unmendedFrom = '2.13.0';
const mendedAgain = '2.14.1';

/** @throws UNSUPPORTED. */
export function checkVersion(version: string): void {
  const unmended = compare(version, unmendedFrom) >= 0 && compare(version, mendedAgain) < 0;
  if (compare(version, versionMin) >= 0 && !unmended) return;
  throw new TandemError(
    'UNSUPPORTED',
    `nats-server ${version} loses acknowledged entries under faults; use ${unmended ? mendedAgain : versionMin} or newer`,
  );
}

/** Copies of each stream, for a server that is one of a cluster or not. @throws CONFIG when they cannot be, or are too few. */
export function replicasOf({ replicas, servers }: NatsAddress, cluster: string | undefined): number {
  if (cluster === undefined && replicas !== undefined && replicas > 1)
    throw new TandemError(
      'CONFIG',
      `replicas=${replicas} needs a cluster, but NATS at ${servers.join(', ')} is a single server: give each server a \`cluster {…}\`, or leave replicas out`,
    );
  if (cluster !== undefined && replicas !== undefined && replicas < 3)
    throw new TandemError(
      'CONFIG',
      `replicas=${replicas} are too few for the cluster '${cluster}': each log would go with one server; set replicas=3, or leave it out`,
    );
  return replicas ?? (cluster === undefined ? 1 : 3);
}

/** What must hold of a stream; what is not listed in its configuration counts as 0, false or nothing. */
const streamRules: readonly (readonly [field: string, wanted: unknown, otherwise?: unknown])[] = [
  ['retention', 'limits'],
  ['storage', 'file'],
  ['discard', 'new'],
  ['max_age', 0, 0],
  ['max_msgs', -1, -1],
  ['max_bytes', -1, -1],
  ['max_msgs_per_subject', -1, -1],
  ['max_msg_size', -1, -1],
  ['deny_delete', true],
  ['deny_purge', false, false],
  ['allow_rollup_hdrs', false, false],
  ['allow_msg_ttl', false, false],
  ['allow_atomic', true],
  ['allow_direct', true],
  ['sealed', false, false],
  ['no_ack', false, false],
  // Acknowledges before it writes, whatever the server's sync_interval is.
  ['persist_mode', 'default', 'default'],
  ['mirror', undefined],
  ['sources', undefined],
];

/** @throws CONFIG for a stream that could make gaps, lose what it acknowledged, or has fewer copies than promised. */
export function checkStream(name: string, config: Readonly<Record<string, unknown>>, replicas: number): void {
  for (const [field, wanted, otherwise] of streamRules) {
    const found = config[field] || otherwise;
    if (found === wanted) continue;
    const needs = wanted === undefined ? 'none' : String(wanted);
    throw new TandemError('CONFIG', `stream ${name} has ${field} ${JSON.stringify(found)}, a log needs ${needs}`);
  }
  const copies = Number(config['num_replicas'] ?? 1);
  if (copies < replicas)
    throw new TandemError(
      'CONFIG',
      `stream ${name} has ${copies} replicas, ${replicas} are promised: raise num_replicas`,
    );
}

/** By the numbers alone: a build before a release counts as the release. */
function compare(a: string, b: string): number {
  const parts = (text: string): number[] => text.split(/[.-]/).slice(0, 3).map(Number);
  const [left, right] = [parts(a), parts(b)];
  for (let i = 0; i < 3; i++) if (left[i] !== right[i]) return (left[i] ?? 0) - (right[i] ?? 0);
  return 0;
}

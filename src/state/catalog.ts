/**
 * The partition map of a service: one small log, `catalog/<service>`, whose last entry says into how many partitions its
 * data is cut (data core, rules 20, 24). It is read before any partition is opened, so that an instance with another idea
 * of the count touches nothing, and begun by whoever comes first: compare-and-append lets one beginning in.
 */
import type { Clock } from '../core/clock.ts';
import { sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import { pack, unpack } from '../replication/codec.ts';
import { wrongPartitions } from '../replication/lost-log.ts';

export interface CatalogOptions {
  readonly service: string;
  /** What this instance's code says. */
  readonly partitions: number;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly engineTimeoutMs: number;
}

const mapFormat = 1;
const readBytes = 65_536;

/** @throws CONFIG when the data has another count, UNSUPPORTED for a map of a newer version, what the engine throws. */
export async function checkCatalog(options: CatalogOptions): Promise<void> {
  const { service, partitions, engine, clock, random, engineTimeoutMs } = options;
  const log = `catalog/${service}`;
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + engineTimeoutMs });
  for (let attempt = 0; ; attempt++) {
    const { found, seen } = await lastMap(engine, log, at);
    if (found !== undefined) {
      if (found !== partitions) throw wrongPartitions(service, partitions, found);
      return;
    }
    // It lands only where all before it was read and said nothing; a beginning of unknown fate is read in the next round.
    const result = await engine.log.append(log, seen, [pack([mapFormat, 1, partitions])], at());
    if (result.kind === 'appended') return;
    await sleep(clock, backoffMs(random, attempt, 5, 500));
  }
}

async function lastMap(
  engine: Engine,
  log: string,
  at: () => { deadline: number },
): Promise<{ found: number | undefined; seen: number }> {
  let found: number | undefined;
  let seen = 0;
  for (;;) {
    const entries = await engine.log.read(log, seen + 1, readBytes, at());
    if (entries.length === 0) return { found, seen };
    for (const { position, body } of entries) {
      seen = position;
      if (body.length > 0) found = partitionsOf(log, body);
    }
  }
}

function partitionsOf(log: string, body: Uint8Array): number {
  const [format, , partitions] = unpack(body) as [number, number, number];
  if (format === mapFormat) return partitions;
  throw new TandemError(
    'UNSUPPORTED',
    `${log} holds a partition map of format ${format}; this version reads ${mapFormat}: update tandem on this instance`,
  );
}

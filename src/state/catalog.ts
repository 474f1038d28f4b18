/**
 * The partition map of a service: one small log, `catalog/<service>`, whose last entry says into how many partitions its
 * data is cut, and how far a doubling of that count has come (data core, rules 20, 23, 24). It is read before any partition
 * is opened, begun by whoever comes first, and changed by compare-and-append, so that of two that see the same one wins.
 * It is where a change under way is kept: whoever writes the partition whose turn it is goes on from here.
 */
import { type Clock, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Engine } from '../log/engine.ts';
import {
  afterDividing,
  dividing,
  heirsOf,
  newerMap,
  type PartitionMap,
  sliceOf,
  steadyMap,
} from '../partitioning/partition-map.ts';
import { pack, unpack } from '../replication/codec.ts';

export interface CatalogContext {
  readonly service: string;
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly engineTimeoutMs: number;
}
export interface CatalogOptions extends CatalogContext {
  readonly logger: Logger;
  /** What this instance's code says: the count that data begins with. */
  readonly partitions: number;
  readonly onChange: () => void;
}

/** A count that never changed. Older code reads it. */
const countFormat = 1;
const mapFormat = 2;
const readBytes = 65_536;
/** Reads of its log that did not reach a version, after which the log's end is asked for. */
const doubtAttempt = 3;

export function catalogLog(service: string): string {
  return `catalog/${service}`;
}

export class Catalog {
  readonly log: string;
  readonly #options: CatalogOptions;
  readonly #stop = new AbortController();
  /** What the log says. */
  #written: PartitionMap | undefined;
  /** That, and what was seen of it since: a sealed partition is divided, whatever the log says yet. */
  #map: PartitionMap;
  #refreshing: Promise<void> | undefined;
  #appending = false;
  #following: Promise<void> | undefined;

  constructor(options: CatalogOptions) {
    this.#options = options;
    this.log = catalogLog(options.service);
    this.#map = steadyMap(options.partitions);
  }

  get map(): PartitionMap {
    return this.#map;
  }
  /** As the log has it. */
  get written(): PartitionMap {
    return this.#written ?? this.#map;
  }
  /** Whether the map was read or begun. */
  get known(): boolean {
    return this.#written !== undefined;
  }
  /** Whether the count ever changed, or is about to: then sessions carry the map's version. */
  get changes(): boolean {
    return this.#map.to > this.#map.first;
  }

  /** @throws UNSUPPORTED for a map of a newer version, what the engine throws. */
  async open(): Promise<void> {
    const { partitions, service, logger } = this.#options;
    const map = await readMap(this.#options, partitions);
    this.#map = map;
    this.#written = map;
    if (map.count !== partitions && map.first !== partitions)
      logger.warn('the data has another count of partitions than the code says, and keeps it', {
        service,
        data: map.count,
        code: partitions,
        change: `tandem reshard ${service}`,
      });
    this.#following = this.#follow();
  }

  /** Reads what the log has now; safe to call often, one read at a time. */
  refresh(): Promise<void> {
    this.#refreshing ??= readMap(this.#options, this.#options.partitions)
      .then(map => this.#learn(map))
      .finally(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  /** Resolves when this map is of `version` at least; undefined when it is. @throws DEADLINE_EXCEEDED, what the engine throws. */
  until(version: number, deadline: number): Promise<void> | undefined {
    return this.#map.version >= version ? undefined : this.#until(version, deadline);
  }

  async #until(version: number, deadline: number): Promise<void> {
    const { clock, random } = this.#options;
    for (let attempt = 0; this.#map.version < version; attempt++) {
      if (clock.monotonic() >= deadline)
        throw new TandemError('DEADLINE_EXCEEDED', `${this.log} was not read up to ${version} in time`, {
          outcome: 'not-done',
        });
      await this.refresh().catch(() => {});
      if (this.#map.version < version && attempt === doubtAttempt) await this.#checkAhead(version, deadline);
      if (this.#map.version < version) await sleep(clock, backoffMs(random, attempt, 5, 200), this.#stop.signal);
      if (this.#stop.signal.aborted) throw new TandemError('CLOSED', 'this instance is stopping');
    }
  }

  /** @throws LOG_LOST for a version that its log does not reach: what saw it is of before a restore. */
  async #checkAhead(version: number, deadline: number): Promise<void> {
    const tail = await this.#options.engine.log.barrier(this.log, { deadline }).catch(() => version);
    if (tail >= version) return;
    throw new TandemError(
      'LOG_LOST',
      `this session saw ${this.log} up to ${version}, but it ends at ${tail}, as after a restore. Begin a new session, and find out what was lost`,
      { details: { session: 'over' } },
    );
  }

  /** Whether the log says so now. False when it cannot be read. */
  async isDivided(number: number): Promise<boolean> {
    await this.refresh().catch(() => {});
    return heirsOf(this.#map, number).length > 1;
  }

  /** A log of this service that someone saw: one of a later count than this map knows is a reason to read it anew. */
  async noteLog(label: string): Promise<void> {
    const prefix = `state/${this.#options.service}/`;
    if (!label.startsWith(prefix)) return;
    const number = Number(label.slice(prefix.length, label.indexOf('#')));
    if (sliceOf(this.#map.first, number).count > this.#map.to) await this.refresh();
  }

  /** The log of this partition ends with a seal. */
  sealed(number: number): void {
    if (dividing(this.#map) === number) this.#learn(afterDividing(this.#map), this.#written);
    // Not the one that is known to be next: others have gone further than is known here.
    else void this.refresh().catch(() => {});
  }

  /** Both successors of the partition whose turn it was go on: it is the next one's. Written by whoever sees it first. */
  async divided(number: number): Promise<void> {
    const { engine, clock, engineTimeoutMs, logger, service } = this.#options;
    const { written } = this;
    if (this.#appending || dividing(written) !== number) return;
    this.#appending = true;
    try {
      const next = afterDividing(written);
      const deadline = clock.monotonic() + engineTimeoutMs;
      const result = await engine.log.append(this.log, written.version, [encodeMap(next)], { deadline });
      if (result.kind === 'appended') {
        this.#learn({ ...next, version: result.position });
        if (next.count === next.to) logger.info('resharded', { service, partitions: next.count });
      } else await this.refresh();
    } finally {
      this.#appending = false;
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }

  #learn(map: PartitionMap, written: PartitionMap | undefined = map): void {
    this.#written = written && this.#written ? newerMap(this.#written, written) : (written ?? this.#written);
    const before = this.#map;
    this.#map = newerMap(before, map);
    if (this.#map !== before) this.#options.onChange();
  }

  async #follow(): Promise<void> {
    const { engine, clock, random, logger } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        for await (const entries of engine.log.follow(this.log, this.written.version + 1, signal)) {
          for (const { position, body } of entries) {
            const map = decodeMap(this.log, position, body);
            if (map) this.#learn(map);
          }
          attempt = 0;
        }
      } catch (thrown) {
        const { code, message } = TandemError.from(thrown);
        logger.warn('following the partition map was interrupted', { log: this.log, code, message });
      }
      await sleep(clock, backoffMs(random, attempt, 50, 2000), signal);
    }
  }
}

/** The map as it is; begun with `partitions` when there is none, and undefined or NOT_FOUND without that. */
async function readMap(context: CatalogContext, partitions: number | undefined): Promise<PartitionMap> {
  const { service, engine, clock, random, engineTimeoutMs } = context;
  const log = catalogLog(service);
  const at = (): { deadline: number } => ({ deadline: clock.monotonic() + engineTimeoutMs });
  for (let attempt = 0; ; attempt++) {
    let found: PartitionMap | undefined;
    let seen = 0;
    for (let entries = await engine.log.read(log, 1, readBytes, at()); entries.length > 0; ) {
      for (const { position, body } of entries) {
        seen = position;
        found = decodeMap(log, position, body) ?? found;
      }
      entries = await engine.log.read(log, seen + 1, readBytes, at());
    }
    if (found) return found;
    if (partitions === undefined) throw new TandemError('NOT_FOUND', `service '${service}' keeps no data here`);
    // It lands only where all before it was read and said nothing; a beginning of unknown fate is read in the next round.
    const result = await engine.log.append(log, seen, [pack([countFormat, 1, partitions])], at());
    if (result.kind === 'appended') return steadyMap(partitions, result.position);
    await sleep(clock, backoffMs(random, attempt, 5, 500));
  }
}

/** The map of a service that keeps data. @throws NOT_FOUND */
export function readCatalog(context: CatalogContext): Promise<PartitionMap> {
  return readMap(context, undefined);
}

/** Most partitions that a service may have: each is a log, and a line in every heartbeat. */
export const partitionsMax = 4096;

/**
 * Begins to double the count; the instances do the rest. While a change to `to` is under way this changes nothing.
 * @throws INVALID (`to` is not twice the count), CONFLICT (another change is under way), NOT_FOUND (it keeps no data).
 */
export async function beginResharding(context: CatalogContext, to: number | undefined): Promise<PartitionMap> {
  const { service, engine, clock, random, engineTimeoutMs } = context;
  for (let attempt = 0; ; attempt++) {
    const map = await readMap(context, undefined);
    const { count, divided } = map;
    if (map.to > count) {
      if (to === undefined || to === map.to) return map;
      throw new TandemError(
        'CONFLICT',
        `'${service}' is being resharded from ${count} to ${map.to} partitions (${divided} of ${count} divided): wait for its end`,
        { details: { count, to: map.to, divided } },
      );
    }
    const wanted = to ?? 2 * count;
    if (to === count) return map;
    if (wanted !== 2 * count)
      throw new TandemError(
        'INVALID',
        `'${service}' has ${count} partitions; a reshard doubles them: --to ${2 * count}`,
        {
          details: { count, to: 2 * count },
        },
      );
    if (wanted > partitionsMax)
      throw new TandemError('INVALID', `'${service}' has ${count} partitions; ${partitionsMax} is the limit`);
    const next = { ...map, to: wanted, divided: 0 };
    const deadline = clock.monotonic() + engineTimeoutMs;
    const result = await engine.log.append(catalogLog(service), map.version, [encodeMap(next)], { deadline });
    if (result.kind === 'appended') return { ...next, version: result.position };
    await sleep(clock, backoffMs(random, attempt, 5, 500));
  }
}

function encodeMap({ first, count, to, divided }: PartitionMap): Uint8Array {
  return pack([mapFormat, first, count, to, divided]);
}

/** Undefined for what a barrier left. */
function decodeMap(log: string, position: number, body: Uint8Array): PartitionMap | undefined {
  if (body.length === 0) return undefined;
  const fields = unpack(body) as number[];
  if (fields[0] === countFormat) return steadyMap(fields[2]!, position);
  if (fields[0] === mapFormat) {
    const [, first, count, to, divided] = fields as [number, number, number, number, number];
    return { version: position, first, count, to, divided };
  }
  throw new TandemError(
    'UNSUPPORTED',
    `${log} holds a partition map of format ${fields[0]}; this version reads up to ${mapFormat}: update tandem on this instance`,
  );
}

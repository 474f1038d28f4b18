/**
 * What the events of each topic have looked like: one small log, `catalog/topics`, with an entry for each version that a service
 * ever started with. An instance compares its own with all of them before it reads or publishes anything, and does not start
 * with one that could not live in the same log; compare-and-append makes sure that no version enters unseen by another.
 */
import type { Descriptor, TopicForm } from '../contract/descriptor.ts';
import { type SaidTopic, saidBy, saysSame, topicChanges } from '../contract/evolution.ts';
import { type Clock, isoTime, sleep } from '../core/clock.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import { backoffMs, type Random } from '../core/random.ts';
import type { Log } from '../log/engine.ts';
import { pack, unpack } from '../replication/codec.ts';

export interface TopicCatalogOptions {
  readonly descriptor: Descriptor;
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  /** Absolute, monotonic ms. */
  readonly deadline: number;
}

interface Version extends SaidTopic {
  /** Wall ms. */
  readonly at: number;
}

const name = 'catalog/topics';
const format = 1;
const readBytes = 1_048_576;

/** Notes versions that are new. @throws CONFIG when one cannot live beside what the topic's log holds, what the engine throws. */
export async function checkTopics(options: TopicCatalogOptions): Promise<void> {
  const { descriptor, log, clock, random } = options;
  const mine = saidBy(descriptor);
  if (mine.length === 0) return;
  const at = (): { deadline: number } => ({
    deadline: Math.min(options.deadline, clock.monotonic() + limits.engineTimeoutMs),
  });
  for (let attempt = 0; ; attempt++) {
    const { versions, tail } = await readAll(log, at);
    const fresh = mine.filter(said => !versions.some(version => saysSame(version, said)));
    for (const said of fresh) checkOne(said, versions);
    if (fresh.length === 0) return;
    const bodies = fresh.map(({ service, topic }) => pack([format, service, clock.now(), JSON.stringify(topic)]));
    const result = await log.append(name, tail, bodies, at());
    if (result.kind === 'appended') return;
    if (clock.monotonic() >= options.deadline)
      throw new TandemError(
        'UNAVAILABLE',
        'the topics of this service could not be noted in time; is the engine running?',
      );
    await sleep(clock, backoffMs(random, attempt, 5, 500));
  }
}

function checkOne(said: SaidTopic, versions: readonly Version[]): void {
  const { service, topic } = said;
  const ofTopic = versions.filter(version => version.topic.name === topic.name);
  // A version that was let in without a check begins a new series.
  const began = ofTopic.findLastIndex(version => version.topic.compatibility === 'none');
  for (const before of ofTopic.slice(Math.max(0, began))) {
    const [first, ...more] = topicChanges(before, said);
    if (!first) continue;
    const others = more.length > 0 ? ` (and ${more.length} more)` : '';
    throw new TandemError(
      'CONFIG',
      `service '${service}': ${first.where}: ${first.what}${others}; compared with what '${before.service}' started with at ${isoTime(before.at)}. ` +
        `A new field can be optional or have a default; for any other change name a new topic, such as '${topic.name}.v2'. { compatibility: 'none' } on the topic lets a change of the schema pass, and what then cannot be read becomes dead letters`,
      { details: { topic: topic.name, changes: [first, ...more].slice(0, 20) } },
    );
  }
}

async function readAll(log: Log, at: () => { deadline: number }): Promise<{ versions: Version[]; tail: number }> {
  const versions: Version[] = [];
  for (let tail = 0; ; ) {
    const entries = await log.read(name, tail + 1, readBytes, at());
    if (entries.length === 0) return { versions, tail };
    for (const { position, body } of entries) {
      tail = position;
      if (body.length > 0) versions.push(versionOf(body));
    }
  }
}

function versionOf(body: Uint8Array): Version {
  const [found, service, at, topic] = unpack(body) as [number, string, number, string];
  if (found === format) return { service, at, topic: JSON.parse(topic) as TopicForm };
  throw new TandemError(
    'UNSUPPORTED',
    `${name} holds an entry of format ${found}; this version reads ${format}: update tandem on this instance`,
  );
}

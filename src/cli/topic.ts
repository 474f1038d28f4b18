/**
 * `tandem topic publish orders.placed '{"orderId":"1"}'`: publishes an event; done means durable. `dead` and `redrive`
 * show what a subscription gave up on, and send it into its topic again once the reason is gone.
 */
import { isoTime, systemClock, timeOf } from '../core/clock.ts';
import { type Duration, durationMs } from '../core/duration.ts';
import { TandemError } from '../core/errors.ts';
import { limits } from '../core/limits.ts';
import type { When } from '../events/later.ts';
import { json } from './call.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';
import { show, showDetails } from './topic-show.ts';

const shownMax = 20;
const shownCharactersMax = 2000;
/** Letters of one redrive are sent one after another. */
const redriveTimeoutMs = 60_000;

export const command: Command = {
  usage: [
    'topic show [TOPIC]',
    'topic publish TOPIC JSON [--delay 5m | --at TIME]',
    'topic dead SERVICE.SUBSCRIPTION [--limit N]',
    'topic redrive SERVICE.SUBSCRIPTION [--limit N]',
    'topic parked SERVICE.SUBSCRIPTION [--limit N]',
    'topic discard SERVICE.SUBSCRIPTION KEY',
    'topic replay SERVICE.SUBSCRIPTION --from earliest|TIME|POSITION [--partition N]',
  ],
  summary: 'Shows topics, their readers and lag; publishes an event; shows and redrives dead letters.',
  details:
    `${showDetails}\n` +
    'publish: when it returns, the event is durable. Its key is checked; its other fields are checked by whoever reads them. With --delay or --at\n' +
    'it waits, durable too, with a service that subscribes to the topic, and is published by that when its time has come.\n' +
    "redrive: each dead letter comes again at the end of its topic, for that subscription only, and is no dead letter any more. With onDead: 'park' its key goes on instead, in order.\n" +
    'parked, discard: keys that wait because an event of theirs was given up; discard drops that event, and those behind it go on.\n' +
    'replay: the subscription reads its topic again, as a new generation: handlers run again, live events follow. TIME is such as 2026-11-23T10:00Z, or 2h (ago).',
  examples: [
    'tandem topic show inventory.reserved',
    `tandem topic publish inventory.reserved '{"sku":"A","qty":1,"orderId":"7"}'`,
    `tandem topic publish inventory.reserved '{"sku":"A","qty":1,"orderId":"7"}' --delay 5m`,
    'tandem topic dead notifications.tellShipped',
    'tandem topic redrive notifications.tellShipped',
    'tandem topic replay revenue.book --from 2h',
  ],
  flags: {
    data: dataFlag,
    delay: { type: 'string', value: 'TIME', help: 'Publish after so long: 30s, 5m, 1h, 7d' },
    at: { type: 'string', value: 'TIME', help: 'Publish at a time: 2026-03-01T08:00:00Z' },
    limit: {
      type: 'string',
      value: 'N',
      help: `Dead letters or keys, oldest first (default: dead and parked ${shownMax}, redrive all)`,
    },
    from: { type: 'string', value: 'WHERE', help: 'replay: earliest, a time, or a position (with --partition)' },
    partition: { type: 'string', value: 'N', help: 'replay: this partition of the topic only' },
  },
  words: [1, 3],
  async run(invocation: Invocation): Promise<number> {
    const verb = invocation.words[0] ?? '';
    if (verb === 'show' && invocation.words.length <= 2) return show(invocation);
    if (verb === 'publish') return publish(invocation);
    const act = verbs.get(verb);
    if (!act)
      throw new UsageError(
        `tandem topic does not know '${verb}'; it knows: show, publish, ${[...verbs.keys()].join(', ')}`,
      );
    const { words } = invocation;
    const subscription = words[1] ?? '';
    if (words.length > 2 && verb !== 'discard')
      throw new UsageError(`tandem topic ${verb} does not take '${words[2]}'`);
    if (!/^[^.]+\.[^.]+$/.test(subscription))
      throw new UsageError(`'${subscription}' is not SERVICE.SUBSCRIPTION, such as notifications.tellShipped`);
    return act(invocation, subscription);
  },
};

/** What can be done to `SERVICE.SUBSCRIPTION`. */
const verbs = new Map<string, (invocation: Invocation, subscription: string) => Promise<number>>([
  ['dead', dead],
  ['redrive', redrive],
  ['parked', parked],
  ['discard', discard],
  ['replay', replay],
]);

async function publish({ words, flags, environment, terminal }: Invocation): Promise<number> {
  const [, topic = '', body] = words;
  if (body === undefined) throw new UsageError('tandem topic publish needs more: tandem topic publish TOPIC JSON');
  const event = json(body, 'the event');
  const when = whenOf(flags);
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  await ask(control, '$publish', { topic, event, when, timeoutMs: limits.callTimeoutMs }, limits.callTimeoutMs + 1000);
  const later = flags.delay !== undefined ? `in ${flags.delay}` : flags.at !== undefined ? `at ${flags.at}` : undefined;
  if (flags.json) terminal.out(JSON.stringify({ topic, published: later === undefined, ...(later && { later }) }));
  else terminal.out(later ? `Kept for ${topic}; it is published ${later}.` : `Published to ${topic}.`);
  return 0;
}

function whenOf({ delay, at }: Invocation['flags']): When {
  if (delay !== undefined && at !== undefined) throw new UsageError('give --delay or --at, not both');
  if (delay !== undefined) {
    try {
      durationMs(String(delay));
    } catch (cause) {
      throw new UsageError(`--delay: ${TandemError.from(cause).message}`);
    }
    return { delay: String(delay) as Duration };
  }
  if (at === undefined) return {};
  const time = timeOf(String(at));
  if (time === undefined)
    throw new UsageError(`--at: '${String(at)}' is no time; write for example 2026-03-01T08:00:00Z`);
  return { at: time };
}

async function dead({ flags, environment, terminal }: Invocation, subscription: string): Promise<number> {
  const limit = limitOf(flags.limit) ?? shownMax;
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const timeoutMs = limits.callTimeoutMs;
  const letters = await ask(control, '$deadLetters', { subscription, limit, timeoutMs }, timeoutMs + 1000);
  if (flags.json) terminal.out(JSON.stringify({ subscription, letters }));
  else {
    for (const { at, key, error, attempts, event, traceId } of letters) {
      const trace = traceId ? `  trace ${traceId}` : '';
      terminal.out(`${isoTime(at)}  ${key}  ${error.code} after ${attempts} tries: ${error.message}${trace}`);
      if (event !== undefined) terminal.out(`  ${shortened(JSON.stringify(event))}`);
    }
    const more =
      letters.length >= limit
        ? `The oldest ${limit}; more with --limit.`
        : `${letters.length} dead letter${letters.length === 1 ? '' : 's'}.`;
    terminal.out(letters.length === 0 ? `${subscription} has no dead letters.` : more);
  }
  return 0;
}

/** A large event would fill the screen; --json has it whole. */
function shortened(text: string): string {
  return text.length <= shownCharactersMax ? text : `${text.slice(0, shownCharactersMax)}… (${text.length} characters)`;
}

async function redrive({ flags, environment, terminal }: Invocation, subscription: string): Promise<number> {
  const given = limitOf(flags.limit);
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const input = { subscription, limit: given ?? Number.MAX_SAFE_INTEGER, timeoutMs: redriveTimeoutMs };
  const sent = await ask(control, '$redrive', input, redriveTimeoutMs + 1000);
  terminal.out(
    flags.json
      ? JSON.stringify({ subscription, sent })
      : `Sent ${sent} event${sent === 1 ? '' : 's'} to ${subscription} again.`,
  );
  return 0;
}

async function parked({ flags, environment, terminal }: Invocation, subscription: string): Promise<number> {
  const limit = limitOf(flags.limit) ?? shownMax;
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const timeoutMs = limits.callTimeoutMs;
  const keys = await ask(control, '$parked', { subscription, limit, timeoutMs }, timeoutMs + 1000);
  if (flags.json) terminal.out(JSON.stringify({ subscription, keys }));
  else {
    for (const { at, key, error, first, next, resumed } of keys) {
      const state = resumed ? 'goes on' : `${error.code}: ${error.message}`;
      terminal.out(`${isoTime(at)}  ${key}  ${next - first} event${next - first === 1 ? '' : 's'}  ${state}`);
    }
    terminal.out(keys.length === 0 ? `No key of ${subscription} is parked.` : `${keys.length} parked.`);
  }
  return 0;
}

async function discard({ words, flags, environment, terminal }: Invocation, subscription: string): Promise<number> {
  const key = words[2];
  if (key === undefined)
    throw new UsageError('tandem topic discard needs more: tandem topic discard SERVICE.SUBSCRIPTION KEY');
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const timeoutMs = limits.callTimeoutMs;
  const discarded = await ask(control, '$discard', { subscription, key, timeoutMs }, timeoutMs + 1000);
  if (flags.json) terminal.out(JSON.stringify({ subscription, key, discarded }));
  else if (discarded) terminal.out(`Dropped the event that held up '${key}'; what waited behind it goes on.`);
  else
    terminal.say(
      `'${key}' of ${subscription} is not parked; tandem topic parked ${subscription} lists those that are.`,
    );
  return discarded ? 0 : 1;
}

async function replay({ flags, environment, terminal }: Invocation, subscription: string): Promise<number> {
  const from = startOf(flags.from, flags.partition);
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const partitions = await ask(
    control,
    '$replay',
    { subscription, from, timeoutMs: redriveTimeoutMs },
    redriveTimeoutMs + 1000,
  );
  const events = partitions.reduce((sum, each) => sum + each.events, 0);
  if (flags.json) terminal.out(JSON.stringify({ subscription, events, partitions }));
  else {
    for (const { partition, from: position, events: count, dropped } of partitions) {
      const note = dropped ? '; older ones were dropped by its retention' : '';
      terminal.out(`partition ${partition}: from position ${position}, ${count} event${count === 1 ? '' : 's'}${note}`);
    }
    terminal.out(`${subscription} reads ${events} event${events === 1 ? '' : 's'} again.`);
  }
  return 0;
}

/** @throws UsageError */
function startOf(
  given: Invocation['flags'][string],
  partition: Invocation['flags'][string],
): 'earliest' | { position: number; partition: number } | { atMs: number } {
  const text = typeof given === 'string' ? given : '';
  if (text === '')
    throw new UsageError('tandem topic replay needs --from: earliest, a time such as 2h (ago), or a position');
  if (/^\d+$/.test(text)) {
    if (typeof partition !== 'string' || !/^\d+$/.test(partition))
      throw new UsageError(`--from ${text} is a position, which counts in one partition: name it with --partition`);
    return { position: Number(text), partition: Number(partition) };
  }
  if (partition !== undefined) throw new UsageError('--partition goes with --from POSITION only');
  if (text === 'earliest') return text;
  if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) return { atMs: systemClock.now() - durationMs(text) };
  const atMs = timeOf(text);
  if (atMs !== undefined) return { atMs };
  throw new UsageError(`--from: '${text}' is no time; write 2026-11-23T10:00Z, 2h (ago), or earliest`);
}

function limitOf(given: Invocation['flags'][string]): number | undefined {
  if (given === undefined) return undefined;
  const limit = Number(given);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new UsageError(`--limit: '${String(given)}' is not a whole number of at least 1`);
}

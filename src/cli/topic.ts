/**
 * `tandem topic publish orders.placed '{"orderId":"1"}'`: publishes an event; done means durable. `dead` and `redrive`
 * show what a subscription gave up on, and send it into its topic again once the reason is gone.
 */
import { isoTime } from '../core/clock.ts';
import { limits } from '../core/limits.ts';
import { json } from './call.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';

const shownMax = 20;
/** Letters of one redrive are sent one after another. */
const redriveTimeoutMs = 60_000;

export const command: Command = {
  usage: [
    'topic publish TOPIC JSON',
    'topic dead SERVICE.SUBSCRIPTION [--limit N]',
    'topic redrive SERVICE.SUBSCRIPTION [--limit N]',
  ],
  summary: 'Publishes an event to a topic that a running service knows; shows and redrives dead letters.',
  details:
    'publish: when it returns, the event is durable. Its key is checked; its other fields are checked by whoever reads them.\n' +
    'redrive: each dead letter comes again at the end of its topic, for that subscription only, and is no dead letter any more.',
  examples: [
    `tandem topic publish inventory.reserved '{"sku":"A","qty":1,"orderId":"7"}'`,
    'tandem topic dead notifications.tellShipped',
    'tandem topic redrive notifications.tellShipped',
  ],
  flags: {
    data: dataFlag,
    limit: { type: 'string', value: 'N', help: `Dead letters, oldest first (default: dead ${shownMax}, redrive all)` },
  },
  words: [2, 3],
  async run(invocation: Invocation): Promise<number> {
    const verb = invocation.words[0] ?? '';
    if (verb === 'publish') return publish(invocation);
    if (verb !== 'dead' && verb !== 'redrive')
      throw new UsageError(`tandem topic does not know '${verb}'; it knows: publish, dead, redrive`);
    const { words, flags } = invocation;
    const subscription = words[1] ?? '';
    if (words.length > 2) throw new UsageError(`tandem topic ${verb} does not take '${words[2]}'`);
    if (!/^[^.]+\.[^.]+$/.test(subscription))
      throw new UsageError(`'${subscription}' is not SERVICE.SUBSCRIPTION, such as notifications.tellShipped`);
    const limit = limitOf(flags.limit);
    return verb === 'dead' ? dead(invocation, subscription, limit) : redrive(invocation, subscription, limit);
  },
};

async function publish({ words, flags, environment, terminal }: Invocation): Promise<number> {
  const [, topic = '', body] = words;
  if (body === undefined) throw new UsageError('tandem topic publish needs more: tandem topic publish TOPIC JSON');
  const event = json(body, 'the event');
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  await ask(control, '$publish', { topic, event, timeoutMs: limits.callTimeoutMs }, limits.callTimeoutMs + 1000);
  terminal.out(flags.json ? JSON.stringify({ topic, published: true }) : `Published to ${topic}.`);
  return 0;
}

async function dead(
  { flags, environment, terminal }: Invocation,
  subscription: string,
  limit = shownMax,
): Promise<number> {
  const control = controlOf(findApp(await dataPathOf({ flags, environment })));
  const timeoutMs = limits.callTimeoutMs;
  const letters = await ask(control, '$deadLetters', { subscription, limit, timeoutMs }, timeoutMs + 1000);
  if (flags.json) terminal.out(JSON.stringify({ subscription, letters }));
  else {
    for (const { at, key, error, attempts, event } of letters) {
      terminal.out(`${isoTime(at)}  ${key}  ${error.code} after ${attempts} tries: ${error.message}`);
      if (event !== undefined) terminal.out(`  ${JSON.stringify(event)}`);
    }
    const more =
      letters.length >= limit
        ? `The oldest ${limit}; more with --limit.`
        : `${letters.length} dead letter${letters.length === 1 ? '' : 's'}.`;
    terminal.out(letters.length === 0 ? `${subscription} has no dead letters.` : more);
  }
  return 0;
}

async function redrive(
  { flags, environment, terminal }: Invocation,
  subscription: string,
  given: number | undefined,
): Promise<number> {
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

function limitOf(given: Invocation['flags'][string]): number | undefined {
  if (given === undefined) return undefined;
  const limit = Number(given);
  if (Number.isInteger(limit) && limit >= 1) return limit;
  throw new UsageError(`--limit: '${String(given)}' is not a whole number of at least 1`);
}

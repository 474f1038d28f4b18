/** `tandem topic publish orders.placed '{"orderId":"1"}'`: publishes an event; done means durable. */
import { limits } from '../core/limits.ts';
import { json } from './call.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';

export const command: Command = {
  usage: ['topic publish TOPIC JSON'],
  summary: 'Publishes an event to a topic that a running service knows. When it returns, the event is durable.',
  details: 'The key of the event is checked; its other fields are checked by whoever reads them.',
  examples: [`tandem topic publish inventory.reserved '{"sku":"A","qty":1,"orderId":"7"}'`],
  flags: { data: dataFlag },
  words: [3, 3],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const [verb, topic = '', body] = words;
    if (verb !== 'publish') throw new UsageError(`tandem topic does not know '${verb}'; it knows: publish`);
    const event = json(body, 'the event');
    const control = controlOf(findApp(dataPathOf({ flags, environment })));
    await ask(control, '$publish', { topic, event, timeoutMs: limits.callTimeoutMs }, limits.callTimeoutMs + 1000);
    terminal.out(flags.json ? JSON.stringify({ topic, published: true }) : `Published to ${topic}.`);
    return 0;
  },
};

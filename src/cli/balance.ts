/** `tandem balance [SERVICE STRATEGY]`: how the instances of each service are picked; switches a running app without a restart. */
import { isStrategy, strategies } from '../contract/balance.ts';
import { didYouMean } from '../contract/did-you-mean.ts';
import type { BalanceView } from './app-link.ts';
import { type Command, dataFlag, type Invocation, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';

const timeoutMs = 10_000;
/** Instead of a strategy: as the service says itself. */
const own = 'default';

export const command: Command = {
  usage: ['balance', 'balance SERVICE STRATEGY'],
  summary: 'Shows how the instances of each service are picked, or switches it in a running app.',
  details:
    'A switch holds at once, at every caller, and loses no call; it outlives restarts, until it is switched again or taken back.\n' +
    `Strategies: ${strategies.join(', ')}. '${own}' takes a switch back: then the service's own word counts, its rules too.`,
  examples: ['tandem balance', 'tandem balance inventory least-response-time', `tandem balance inventory ${own}`],
  flags: { data: dataFlag },
  words: [0, 2],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const change = changeOf(words);
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    const services = await ask(control, '$balance', { change, timeoutMs }, timeoutMs + 1000);
    if (flags.json) terminal.out(JSON.stringify({ services }));
    else for (const line of lines(services)) terminal.out(line);
    return 0;
  },
};

function changeOf([service, strategy]: readonly string[]) {
  if (service === undefined) return undefined;
  if (strategy === undefined)
    throw new UsageError(`tandem balance ${service} needs a strategy: ${strategies.join(', ')}, or ${own}`);
  if (strategy === own) return { service, strategy: undefined };
  if (isStrategy(strategy)) return { service, strategy };
  const near = didYouMean(strategy, [...strategies, own]);
  const hint = near.length > 0 ? `; did you mean ${near.join(' or ')}?` : '';
  throw new UsageError(`there is no strategy '${strategy}'${hint} (${strategies.join(', ')}, or ${own})`);
}

function lines(services: readonly BalanceView[]): string[] {
  const wide = Math.max(0, ...services.map(({ service }) => service.length));
  return services.map(({ service, strategy, insteadOf, instances }) => {
    const switched = insteadOf === undefined ? '' : `  (switched; by itself ${insteadOf})`;
    return `${service.padEnd(wide)}  ${strategy}, ${instances} ${instances === 1 ? 'instance' : 'instances'}${switched}`;
  });
}

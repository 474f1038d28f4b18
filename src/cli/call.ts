/** `tandem call inventory.get '{"sku":"A"}'`: calls a method of a running app, internal ones too. */
import { durationMs } from '../core/duration.ts';
import { limits } from '../core/limits.ts';
import { type Command, dataFlag, type Invocation, text, UsageError } from './command.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';

export const command: Command = {
  usage: ['call SERVICE.METHOD [JSON] [--timeout 5s]'],
  summary: 'Calls a method and prints its answer as JSON. Internal methods can be called too.',
  examples: [`tandem call hello.greet '{"name":"Ada"}'`],
  flags: { data: dataFlag, timeout: { type: 'string', value: 'TIME', help: 'How long it may take (default 5s)' } },
  words: [1, 2],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const [target = '', input] = words;
    const dot = target.lastIndexOf('.');
    if (dot <= 0) throw new UsageError(`'${target}' is no method; write SERVICE.METHOD, for example hello.greet`);
    const timeoutMs = durationMs(text(flags, 'timeout') ?? limits.callTimeoutMs);
    const body = json(input, 'the input');
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    const question = {
      service: target.slice(0, dot),
      method: target.slice(dot + 1),
      input: body,
      timeoutMs,
    };
    const value = await ask(control, '$call', question, timeoutMs + 1000);
    terminal.out(JSON.stringify(value ?? null, undefined, flags.json ? undefined : 2));
    return 0;
  },
};

/** @throws UsageError when it is not JSON. Nothing given is undefined. */
export function json(text: string | undefined, what: string): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${what} is not JSON (${(cause as Error).message}); quote it for the shell: '{"name":"Ada"}'`);
  }
}

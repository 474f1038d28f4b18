/** `tandem scale inventory=10`: changes the number of instances of a running app. */
import { type Command, dataFlag, type Invocation } from './command.ts';
import { scaling } from './config.ts';
import { ask } from './control.ts';
import { controlOf, dataPathOf, findApp } from './running-app.ts';

export const command: Command = {
  usage: ['scale SERVICE=N… [--data DIR]'],
  summary: 'Changes the number of instances of a service; those that leave are drained first.',
  examples: ['tandem scale inventory=10', 'tandem scale gateway=3'],
  flags: { data: dataFlag },
  words: [1, 64],
  async run({ words, flags, environment, terminal }: Invocation): Promise<number> {
    const wanted = words.map(scaling);
    const control = controlOf(findApp(await dataPathOf({ flags, environment })));
    for (const { name, count } of wanted) {
      await ask(control, '$scale', { name, count }, 120_000);
      if (!flags.json) terminal.out(`${name} ×${count}`);
    }
    if (flags.json) terminal.out(JSON.stringify({ scaled: wanted }));
    return 0;
  },
};

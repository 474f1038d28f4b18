/** `tandem init DIR`: a first service with its test, ready to run. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { TandemError } from '../core/errors.ts';
import type { Command, Invocation } from './command.ts';

export const command: Command = {
  usage: ['init DIR'],
  summary: 'Writes a hello service with its test, package.json and tsconfig.json into an empty directory.',
  examples: ['tandem init hello && cd hello && npm install && npx tandem dev hello.ts'],
  flags: {},
  words: [1, 1],
  async run({ words, flags, terminal }: Invocation): Promise<number> {
    const directory = resolve(words[0]!);
    const files = firstFiles(basename(directory), ownVersion());
    if (existsSync(directory) && readdirSync(directory).length > 0) {
      throw new TandemError('CONFLICT', `${directory} is not empty; nothing was written, name another directory`);
    }
    mkdirSync(directory, { recursive: true });
    for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
    if (flags.json) terminal.out(JSON.stringify({ directory, files: Object.keys(files) }));
    else {
      terminal.out(`Wrote ${Object.keys(files).join(', ')} to ${words[0]}\n`);
      terminal.out(
        `  cd ${words[0]}\n  npm install\n  npx tandem dev hello.ts      then: curl http://127.0.0.1:3000/hello/world\n  npm test`,
      );
    }
    return 0;
  },
};

function ownVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What a new project holds, by file name. */
export function firstFiles(directory: string, version: string): Readonly<Record<string, string>> {
  const name =
    directory
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      .replace(/^-+|-+$/g, '') || 'hello';
  return {
    'hello.ts': hello,
    'hello.test.ts': helloTest,
    'package.json': `${JSON.stringify(packageJson(name, version), undefined, 2)}\n`,
    'tsconfig.json': `${JSON.stringify(tsconfig, undefined, 2)}\n`,
    '.gitignore': 'node_modules/\n.tandem/\n',
  };
}

const hello = `// A whole app: one service, one method, reachable at GET /hello/:name.
import { contract } from 'tandem';
import * as z from 'zod';

export const hello = contract('hello', {
  greet: { http: 'GET /hello/:name', input: z.object({ name: z.string() }), output: z.string() },
});

export default hello.implement({
  methods: { greet: ({ name }) => \`Hello, \${name}!\` },
});
`;

const helloTest = `import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testApp } from 'tandem/testing';
import service, { hello } from './hello.ts';

test('greets by name', async () => {
  await using app = await testApp([service]);
  assert.equal(await app.call(hello).greet({ name: 'Ada' }), 'Hello, Ada!');
});
`;

const packageJson = (name: string, version: string) => ({
  name,
  private: true,
  type: 'module',
  engines: { node: '>=24' },
  scripts: { dev: 'tandem dev hello.ts', start: 'tandem up hello.ts', test: 'node --test', types: 'tsc' },
  dependencies: { tandem: `^${version}`, zod: '^4.2.0' },
  devDependencies: { '@types/node': '^24.0.0', typescript: '>=5.9' },
});

const tsconfig = {
  compilerOptions: {
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noEmit: true,
    erasableSyntaxOnly: true,
    verbatimModuleSyntax: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
  },
};

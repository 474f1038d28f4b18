// The package as a user gets it: packed, installed in an empty folder from the tarball, type-checked, its hello service
// run without a build step; and what `tandem init` of that package writes.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'tandem-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A user's environment: this Node first, and nothing that the run of these tests put there. */
const env: NodeJS.ProcessEnv = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}` };
delete env['NODE_OPTIONS'];
delete env['NODE_TEST_CONTEXT'];

function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env, encoding: 'utf8', timeout: 180_000 });
  assert.equal(status, 0, `${command} ${args.join(' ')} failed:\n${stdout}\n${stderr}`);
  return stdout;
}

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** Packs a copy: packing builds, and other tests run from the checkout's own dist meanwhile. */
function packed(): string {
  const copy = join(folder, 'checkout');
  mkdirSync(copy);
  for (const name of readdirSync(root)) {
    if (/^(src|bin|dashboard|build\.ts|package\.json|tsconfig.*|[A-Z]+(\.md)?)$/.test(name))
      cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  const tarball = run('npm', ['pack', '--silent', '--pack-destination', folder], copy).trim().split('\n').at(-1)!;
  rmSync(copy, { recursive: true });
  return join(folder, tarball);
}

before(
  () => {
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'try', private: true, type: 'module' }));
    const tarball = packed();
    run(
      'npm',
      ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline', tarball, 'zod@4'],
      folder,
    );
    for (const name of ['typescript', '@types', 'undici-types'])
      symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  },
  { timeout: 200_000 },
);

test('the packed tarball installs, type-checks and runs hello with no build step', { timeout: 240_000 }, async () => {
  cpSync(join(root, 'examples/01-hello/hello.ts'), join(folder, 'hello.ts'));
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        ...JSON.parse(readFileSync(join(root, 'tsconfig.base.json'), 'utf8')).compilerOptions,
        customConditions: [],
        rewriteRelativeImportExtensions: false,
        skipLibCheck: false,
      },
      include: ['*.ts'],
    }),
  );
  run(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], folder);

  const port = await freePort();
  const app = spawn(process.execPath, ['node_modules/tandem/bin/tandem.js', 'up', 'hello.ts', '--port', String(port)], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise<number | null>(done => app.once('exit', done));
  let printed = '';
  app.stdout.on('data', chunk => (printed += chunk));
  app.stderr.on('data', chunk => (printed += chunk));
  try {
    const answer = await untilAnswered(`http://127.0.0.1:${port}/hello/Ada`, 20_000, () => printed);
    assert.equal(answer, 'Hello, Ada!');
  } finally {
    app.kill('SIGTERM');
  }
  assert.equal(await ended, 0, printed);
});

test('what `tandem init` writes type-checks, and its test passes, as written', { timeout: 120_000 }, () => {
  const tandem = join(folder, 'node_modules/tandem/bin/tandem.js');
  // Inside the folder, so that its imports find what is installed there.
  const printed = run(process.execPath, [tandem, 'init', 'first'], folder);
  assert.match(printed, /npm test/);
  const project = join(folder, 'first');
  assert.deepEqual(readdirSync(project).sort(), [
    '.gitignore',
    'hello.test.ts',
    'hello.ts',
    'package.json',
    'tsconfig.json',
  ]);
  run(process.execPath, [join(folder, 'node_modules/typescript/bin/tsc'), '-p', '.'], project);
  assert.match(run('npm', ['test'], project), /pass 1\n/);
  writeFileSync(
    join(project, 'hello.ts'),
    readFileSync(join(project, 'hello.ts'), 'utf8').replace('Hello, ', 'Goodbye, '),
  );
  const broken = spawnSync('npm', ['test'], { cwd: project, env, encoding: 'utf8' });
  assert.notEqual(broken.status, 0, 'its test would pass whatever the service does');

  const wanted = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { dependencies: object };
  const installed = (name: string): string =>
    (JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')) as { version: string })
      .version;
  assert.deepEqual(wanted.dependencies, { tandem: `^${installed('tandem')}`, zod: '^4.2.0' });

  const again = spawnSync(process.execPath, [tandem, 'init', 'first'], { cwd: folder, env, encoding: 'utf8' });
  assert.equal(again.status, 1);
  assert.match(again.stderr, /first is not empty; nothing was written/);
  assert.match(readFileSync(join(project, 'hello.ts'), 'utf8'), /Goodbye/);
});

async function untilAnswered(url: string, patienceMs: number, printed: () => string): Promise<unknown> {
  const until = performance.now() + patienceMs;
  while (performance.now() < until) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) return response.json();
    await new Promise(done => setTimeout(done, 50));
  }
  assert.fail(`no answer from ${url}:\n${printed()}`);
}

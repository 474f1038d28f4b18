// The package as a user gets it: packed, installed in an empty folder from the tarball, type-checked, and its hello
// service run without a build step.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';

const root = resolve(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'tandem-package-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', timeout: 180_000 });
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

test('the packed tarball installs, type-checks and runs hello with no build step', { timeout: 240_000 }, async () => {
  const tarball = run('npm', ['pack', '--silent', '--pack-destination', folder], root).trim().split('\n').at(-1)!;
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'try', private: true, type: 'module' }));
  run(
    'npm',
    ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline', join(folder, tarball), 'zod@4'],
    folder,
  );
  cpSync(join(root, 'examples/01-hello/hello.ts'), join(folder, 'hello.ts'));
  for (const name of ['typescript', '@types', 'undici-types'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
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

async function untilAnswered(url: string, patienceMs: number, printed: () => string): Promise<unknown> {
  const until = performance.now() + patienceMs;
  while (performance.now() < until) {
    const response = await fetch(url).catch(() => undefined);
    if (response?.ok) return response.json();
    await new Promise(done => setTimeout(done, 50));
  }
  assert.fail(`no answer from ${url}:\n${printed()}`);
}

/**
 * `npm test [-- <part of a path> ...]`: every *.test.ts of src/, test/ and examples/, each in a process of its own on
 * the project's Node, as many at once as there are cores. Options that begin with a dash go to node, such as
 * `--test-name-pattern=torn`. Prints dots when all runs, names when a part does, failures in full either way.
 */
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { run } from 'node:test';
import { dot, spec } from 'node:test/reporters';

const root = path.dirname(import.meta.dirname);
const filters = process.argv.slice(2).filter(argument => !argument.startsWith('-'));
const nodeOptions = process.argv.slice(2).filter(argument => argument.startsWith('-'));
const namePattern = nodeOptions
  .find(option => option.startsWith('--test-name-pattern='))
  ?.split('=')
  .slice(1)
  .join('=');

const files = globSync(['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'], { cwd: root })
  .filter(file => !file.includes('node_modules') && (filters.length === 0 || filters.some(part => file.includes(part))))
  .sort(wholeSystemFirst);
if (files.length === 0) {
  console.error(`no test file matches ${filters.join(' ')}; give part of a path, such as 'simulation' or 'log/'`);
  process.exit(1);
}

const startedAt = performance.now();
let failed = 0;
let counts: { passed: number; skipped: number } | undefined;
const skips = new Set<string>();
const results = run({
  files: files.map(file => path.join(root, file)),
  cwd: root,
  concurrency: Math.max(2, availableParallelism()),
  timeout: 180_000,
  execArgv: ['--conditions=tandem-source', ...nodeOptions.filter(option => !option.startsWith('--test-name-pattern='))],
  ...(namePattern ? { testNamePatterns: [namePattern] } : {}),
});
results.on('test:fail', event => {
  if (!event.todo) failed++;
});
results.on('test:pass', event => {
  if (typeof event.skip === 'string') skips.add(`${event.name}: ${event.skip}`);
});
results.on('test:summary', event => {
  if (event.file === undefined) counts = event.counts;
});
results.on('end', () => {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  // 'end' comes before the reporter has printed its last line
  process.on('beforeExit', () => {
    for (const skip of skips) console.log(`skipped  ${skip}`);
    if (counts)
      console.log(
        `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped in ${files.length} files, ${seconds} s`,
      );
    process.exit(failed > 0 ? 1 : 0);
  });
});
results.compose(filters.length === 0 && !process.stdout.isTTY ? dot : spec).pipe(process.stdout);

/** The long ones start first, so that none runs alone at the end. */
function wholeSystemFirst(a: string, b: string): number {
  const rank = (file: string): number => (file.startsWith('examples') ? 0 : file.startsWith('test') ? 1 : 2);
  return rank(a) - rank(b) || (a < b ? -1 : 1);
}

/**
 * The TypeScript in the docs compiles. Every ts block of docs/ and README.md becomes a file, and one tsc checks them all
 * as a user's code. A block stands in its file at the lines it has in its page, so an error names the place to mend.
 * What an HTML comment before a block may say is in CONTRIBUTING.md ("Code in docs").
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';

const root = dirname(import.meta.dirname);
const folder = mkdtempSync(join(tmpdir(), 'tandem-docs-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Block {
  readonly page: string;
  /** Line of the page on which its code begins, from 1. */
  readonly line: number;
  readonly code: readonly string[];
  /** The comment before it, word by word and line by line; the first line begins with `ts`. */
  readonly comment: { readonly line: number; readonly lines: readonly string[] } | undefined;
}

function blocksOf(page: string, text: string): Block[] {
  const lines = text.split('\n');
  const blocks: Block[] = [];
  for (let i = 0; i < lines.length; i++) {
    const [, fence, language] = /^ *(`{3,}) *([\w+-]*)/.exec(lines[i]!) ?? [];
    if (!fence) continue;
    const end = lines.findIndex((line, at) => at > i && line.trim() === fence);
    assert.ok(end > 0, `${page}:${i + 1}: the block has no end`);
    if (/^(ts|tsx|mts|typescript)$/.test(language!))
      blocks.push({ page, line: i + 2, code: lines.slice(i + 1, end), comment: commentBefore(lines, i) });
    i = end;
  }
  return blocks;
}

function commentBefore(lines: readonly string[], fence: number): Block['comment'] {
  let end = fence - 1;
  while (end >= 0 && lines[end]!.trim() === '') end--;
  if (!lines[end]?.trimEnd().endsWith('-->')) return undefined;
  let start = end;
  while (start > 0 && !lines[start]!.includes('<!--')) start--;
  if (!/^ *<!-- *ts\b/.test(lines[start]!)) return undefined;
  const inside = lines.slice(start, end + 1).map(line => line.replace(/^ *<!-- */, '').replace(/ *--> *$/, ''));
  return { line: start + 1, lines: inside };
}

/** Puts lines at their places; the gaps are empty. */
function place(file: string[], line: number, lines: readonly string[]): void {
  while (file.length < line - 1) file.push('');
  file.splice(line - 1, lines.length, ...lines);
}

/** Files to check, by page; and what claims to be a part of an example and is not. */
function filesOf(blocks: readonly Block[]): { files: Map<string, string>; examples: Set<string>; wrong: string[] } {
  const parts = new Map<string, { page: string; lines: string[] }>();
  const examples = new Set<string>();
  const wrong: string[] = [];
  let last = '';
  for (const block of blocks) {
    const where = `${block.page}:${block.line}`;
    const [head = '', ...more] = block.comment?.lines ?? [];
    const source = /^ts from (\S+)$/.exec(head)?.[1];
    if (source) {
      examples.add(source);
      if (!readFileSync(join(root, source), 'utf8').includes(`${block.code.join('\n')}\n`))
        wrong.push(`${where} is not, word for word, in ${source}`);
      continue;
    }
    const goesOn = head === 'ts continues' && parts.get(last)?.page === block.page;
    if (head !== '' && head !== 'ts' && !goesOn) wrong.push(`${where}: '<!-- ${head} -->' means nothing`);
    if (!goesOn) last = `${block.page.replaceAll(/\W/g, '_')}_${block.line}.ts`;
    const part = parts.get(last) ?? { page: block.page, lines: [] };
    parts.set(last, part);
    const dots = more.indexOf('...');
    if (block.comment) place(part.lines, block.comment.line + 1, dots < 0 ? more : more.slice(0, dots));
    place(part.lines, block.line, block.code);
    // What follows stands where the closing fence does.
    if (dots >= 0) place(part.lines, block.line + block.code.length, [more.slice(dots + 1).join(' ')]);
  }
  const files = new Map([...parts].map(([name, { lines }]) => [name, `${lines.join('\n')}\nexport {};\n`]));
  return { files, examples, wrong };
}

/** One tsc over all of them, against this checkout's `tandem`. Gives its errors as `page:line: message`. */
function check(files: ReadonlyMap<string, string>, blocks: readonly Block[], examples: Iterable<string>): string[] {
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  for (const name of ['zod', '@types', 'undici-types'])
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  symlinkSync(root, join(folder, 'node_modules/tandem'));
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.base.json'),
      compilerOptions: { rewriteRelativeImportExtensions: false },
      files: [...files.keys(), ...[...examples].map(path => join(root, path))],
    }),
  );
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const { stdout, stderr, status } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
    cwd: folder,
    encoding: 'utf8',
    timeout: 120_000,
  });
  const errors = (stdout + stderr).split('\n').filter(line => / error TS/.test(line));
  assert.ok(status === 0 || errors.length > 0, `tsc ended with ${status}:\n${stdout}${stderr}`);
  const pages = new Map(blocks.map(({ page }) => [page.replaceAll(/\W/g, '_'), page]));
  return errors.map(error =>
    error.replace(/^(\w+)_\d+\.ts\((\d+),\d+\)/, (_, page: string, line: string) => `${pages.get(page)}:${line}`),
  );
}

test('every TypeScript block of the docs and the README compiles', { timeout: 150_000 }, () => {
  const pages = [...globSync('docs/**/*.md', { cwd: root }), 'README.md'].sort();
  const real = pages.flatMap(page => blocksOf(page, readFileSync(join(root, page), 'utf8')));
  assert.ok(real.length >= 6, `only ${real.length} blocks were found`);
  // A page that is wrong on purpose, so that a check which sees nothing shows.
  const wrongPage = [
    '<!-- ts',
    "import { contract } from 'tandem';",
    "const made = contract('made', {}).implement({",
    '...',
    '});',
    '-->',
    '```ts',
    "  methods: {}, partitions: 'four',",
    '```',
    '<!-- ts continues -->',
    '```ts',
    'made.nothing;',
    '```',
    '',
    '<!-- ts from examples/01-hello/hello.ts -->',
    '```ts',
    'not there',
    '```',
  ].join('\n');
  const blocks = [...real, ...blocksOf('wrong.md', wrongPage)];
  const { files, examples, wrong } = filesOf(blocks);
  const problems = [...wrong, ...check(files, blocks, examples)];
  const seen = problems.filter(problem => problem.startsWith('wrong.md')).map(problem => problem.split(/[ :]/)[1]);
  assert.deepEqual(new Set(seen), new Set(['8', '12', '17']), problems.join('\n'));
  assert.deepEqual(
    problems.filter(problem => !problem.startsWith('wrong.md')),
    [],
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codeOnly, importsOf } from './source-text.ts';

test('comments, texts and patterns are blanked, lines and length kept', () => {
  const text = [
    '// Date.now() in a comment',
    "const a = 'Math.random()'; /* setTimeout(",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a program
    '*/ const b = `Date.now() ${Date.now() + `${1}`} Math.random`;',
    'const c = /setTimeout\\(["\'`]/.test(x) ? 4 / 2 / 1 : Math.random();',
  ].join('\n');
  const code = codeOnly(text);
  assert.equal(code.length, text.length);
  assert.equal(code.split('\n').length, 4);
  assert.equal(code.match(/Date\.now/g)?.length, 1);
  assert.equal(code.match(/Math\.random/g)?.length, 1);
  assert.equal(code.includes('setTimeout'), false);
  assert.ok(code.includes('4 / 2 / 1'));
});

test('imports are found in every form, and not in comments or texts', () => {
  const text = [
    "import { a } from './a.ts';",
    "import './b.ts';",
    "export * from './c.ts';",
    "import type {\n  D,\n} from './d.ts';",
    "const e = await import('./e.ts');",
    "// import x from './no.ts'",
    'const s = "import x from \'./no.ts\'";',
  ].join('\n');
  assert.deepEqual(
    importsOf(text).map(({ specifier }) => specifier),
    ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts'],
  );
  assert.deepEqual(
    importsOf(text)
      .filter(({ typeOnly }) => typeOnly)
      .map(({ specifier }) => specifier),
    ['./d.ts'],
  );
});

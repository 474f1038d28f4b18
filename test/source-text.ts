/** Reads TypeScript just well enough for the tidy test: which modules it imports, and its code without comments and texts. */

export interface Import {
  readonly specifier: string;
  /** `import type` or `export type`: gone when the program runs. */
  readonly typeOnly: boolean;
}

/** Imports, exports from and import(); those inside comments and texts are left out. */
export function importsOf(text: string): Import[] {
  const found: Import[] = [];
  // The blanked copy has the same length, so a keyword that survives in it is code, and the text gives the specifier.
  const code = codeOnly(text);
  const pattern = /\b(?:import|export)\s+(type\b)?[^'";()=]*?\bfrom\s*(['"])|\bimport\s*\(?\s*(['"])/g;
  for (let match = pattern.exec(code); match; match = pattern.exec(code)) {
    const start = match.index + match[0].length;
    const end = text.indexOf((match[2] ?? match[3])!, start);
    found.push({ specifier: text.slice(start, end), typeOnly: match[1] !== undefined });
  }
  return found;
}

/**
 * The same text, same length and lines, with spaces for comments and for what stands in quotes (the quotes stay).
 * Expressions inside `${}` are code.
 */
export function codeOnly(text: string): string {
  let out = '';
  let at = 0;
  /** Depths of braces at which a template goes on. */
  const templates: number[] = [];
  let depth = 0;
  /** The last character that is code, to tell a regular expression from a division. */
  let last = '';
  const blank = (until: number): void => {
    out += text.slice(at, until).replaceAll(/[^\n]/g, ' ');
    at = until;
  };
  const template = (): void => {
    let end = at;
    while (end < text.length && text[end] !== '`' && !text.startsWith('${', end)) end += text[end] === '\\' ? 2 : 1;
    blank(Math.min(end, text.length));
    if (text[at] === '`') {
      out += '`';
      at++;
      last = '`';
    } else if (at < text.length) {
      out += '${';
      at += 2;
      templates.push(depth++);
      last = '{';
    }
  };
  while (at < text.length) {
    const char = text[at]!;
    if (text.startsWith('//', at)) blank(endOf(text, '\n', at));
    else if (text.startsWith('/*', at)) blank(Math.min(text.length, endOf(text, '*/', at + 2) + 2));
    else if (char === "'" || char === '"') {
      let end = at + 1;
      while (end < text.length && text[end] !== char && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
      out += char;
      at++;
      blank(end);
      out += text[at] ?? '';
      at++;
      last = char;
    } else if (char === '`') {
      out += char;
      at++;
      template();
    } else if (char === '/' && (last === '' || '(,=:[!&|?{};+-*%<>~^\n'.includes(last) || keywordBefore(out))) {
      blank(endOfPattern(text, at));
      last = '/';
    } else {
      if (char === '{') depth++;
      if (char === '}') depth--;
      out += char;
      at++;
      if (char.trim() !== '') last = char;
      if (char === '}' && templates.at(-1) === depth) {
        templates.pop();
        template();
      }
    }
  }
  return out;
}

function keywordBefore(code: string): boolean {
  return /\b(?:return|typeof|case|in|of|await|yield|throw|else)\s*$/.test(code.slice(-12));
}

function endOf(text: string, mark: string, from: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found;
}

function endOfPattern(text: string, start: number): number {
  let inClass = false;
  for (let at = start + 1; at < text.length && text[at] !== '\n'; at++) {
    const char = text[at];
    if (char === '\\') at++;
    else if (char === '[') inClass = true;
    else if (char === ']') inClass = false;
    else if (char === '/' && !inClass) return at + 1;
  }
  return start + 1;
}

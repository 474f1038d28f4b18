/**
 * Keeps the walls up, from the sources alone: arrows between rooms, no circles between files, time and chance only
 * through core, names and sizes. Each finding says what to do about it.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { codeOnly, importsOf } from './source-text.ts';

const root = path.dirname(import.meta.dirname);

/** From the top down; a room may import only rooms of lines below its own. */
const floors: readonly (readonly string[])[] = [
  ['cli', 'dashboard'],
  ['app'],
  ['gateway', 'upstreams', 'recovery', 'backup'],
  ['events'],
  ['state'],
  ['replication'],
  ['calling'],
  ['naming'],
  ['failure-detection', 'degradation'],
  ['communication', 'log', 'balancing', 'partitioning', 'monitoring', 'client'],
  ['contract'],
  ['core'],
];
const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map(room => [room, floor] as const)));
/** What the public entry points stand on. */
const frontDoor = new Set(['contract', 'core']);

interface Source {
  /** From the root, with slashes: `src/log/engine.ts`. */
  readonly file: string;
  readonly text: string;
  readonly code: string;
  readonly room: string;
  readonly test: boolean;
}

const sources: Source[] = globSync(['src/**/*.ts', 'dashboard/**/*.ts', 'bin/*.{ts,js}'], { cwd: root })
  .map(file => file.replaceAll(path.sep, '/'))
  .sort()
  .map(file => {
    const text = readFileSync(path.join(root, file), 'utf8');
    const parts = file.split('/');
    const room = parts[0] === 'src' ? (parts.length > 2 ? parts[1]! : '') : parts[0]!;
    return { file, text, code: codeOnly(text), room, test: /\.(test|contract-suite|bench)\.ts$/.test(file) };
  });

function clean(findings: readonly string[]): void {
  assert.equal(findings.length, 0, `\n${findings.join('\n')}\n`);
}

/** The files inside this repository that a file imports, from the root; packages are left out. */
function localImports(source: Source, kept: (typeOnly: boolean) => boolean = () => true): string[] {
  return importsOf(source.text)
    .filter(({ specifier, typeOnly }) => specifier.startsWith('.') && kept(typeOnly))
    .map(({ specifier }) => path.posix.normalize(path.posix.join(path.posix.dirname(source.file), specifier)));
}

function roomOf(file: string): string {
  const parts = file.split('/');
  return parts[0] === 'src' ? (parts.length > 2 ? parts[1]! : '') : parts[0]!;
}

test('imports between rooms point down only', () => {
  const findings: string[] = [];
  for (const source of sources) {
    if (source.room === 'simulation' || source.test || source.room === 'bin') continue;
    const floor = floorOf.get(source.room);
    for (const target of localImports(source)) {
      const room = roomOf(target);
      if (room === source.room) continue;
      if (room === 'simulation') {
        findings.push(`${source.file} imports ${target}: only tests may; take the component as an option instead`);
      } else if (source.room === '') {
        if (!frontDoor.has(room)) {
          findings.push(`${source.file} imports ${target}: the front door shows contract and core only`);
        }
      } else if (floor !== undefined && (floorOf.get(room) ?? -1) <= floor) {
        findings.push(
          `${source.file} imports ${target}: '${room}' is not below '${source.room}'; move what both need down, or hand it in as an option`,
        );
      }
    }
  }
  clean(findings);
});

test('each room is known, and there is no third level', () => {
  const findings: string[] = [];
  for (const { file, room } of sources) {
    if (!file.startsWith('src/')) continue;
    if (file.split('/').length > 3) findings.push(`${file}: src has rooms and files, no third level; move it up`);
    if (room !== '' && room !== 'simulation' && !floorOf.has(room)) {
      findings.push(`${file}: '${room}' is no room of ARCHITECTURE; put it into one, or add the room there and here`);
    }
  }
  clean([...new Set(findings)]);
});

test('no circle of imports between files', () => {
  // imports of types vanish when the program is loaded, and two types may well name each other
  const graph = new Map(sources.map(source => [source.file, localImports(source, typeOnly => !typeOnly)]));
  const state = new Map<string, 'open' | 'done'>();
  const findings: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      const circle = [...trail.slice(trail.indexOf(file)), file];
      findings.push(`${circle.join(' -> ')}: take what they share into a file of its own, named after it`);
      return;
    }
    state.set(file, 'open');
    for (const target of graph.get(file) ?? []) visit(target, [...trail, file]);
    state.set(file, 'done');
  };
  for (const file of graph.keys()) visit(file, []);
  clean(findings);
});

/** What only core may touch, and what to take instead. */
const strays: readonly { readonly pattern: RegExp; readonly instead: string }[] = [
  { pattern: /\bDate\.(?:now|parse|UTC)\b|\bnew Date\b/, instead: 'clock.now(), or isoTime of core/clock.ts' },
  { pattern: /\bperformance\.now\b|\bprocess\.hrtime\b|\bprocess\.uptime\b/, instead: 'clock.monotonic()' },
  {
    pattern: /(?<![\w.#])(?:global(?:This)?\.)?(?:setTimeout|setInterval)\s*\(/,
    instead: 'clock.after(), or every() of core/clock.ts',
  },
  { pattern: /(?<![\w.#])(?:globalThis\.)?setImmediate\s*\(/, instead: 'clock.defer()' },
  { pattern: /\bAbortSignal\.timeout\b/, instead: 'an AbortController and clock.after()' },
  { pattern: /\bMath\.random\b/, instead: 'random.next()' },
  { pattern: /\b(?:randomBytes|randomUUID|randomInt|getRandomValues|randomFill(?:Sync)?)\b/, instead: 'random.id()' },
];
const strayModules = /^(?:node:)?timers(?:\/promises)?$/;

test('time, chance and timers come only through core', () => {
  const findings: string[] = [];
  for (const { file, room, code, text, test } of sources) {
    if (test || ['core', 'simulation', 'dashboard', 'bin'].includes(room)) continue;
    code.split('\n').forEach((line, index) => {
      for (const { pattern, instead } of strays) {
        const found = pattern.exec(line);
        if (found) findings.push(`${file}:${index + 1} uses ${found[0].replace(/\s*\($/, '')}: take ${instead}`);
      }
    });
    for (const { specifier } of importsOf(text)) {
      if (strayModules.test(specifier)) findings.push(`${file} imports ${specifier}: take a Clock as an option`);
    }
  }
  clean(findings);
});

test('files are named after their idea', () => {
  const findings: string[] = [];
  for (const { file } of sources) {
    const name = path.posix.basename(file).replace(/\.(ts|js)$/, '');
    if (/^(?:utils?|helpers?|common|types?|misc|shared|constants)$/.test(name.split('.')[0]!)) {
      findings.push(`${file}: name the idea that it holds; what fits no name belongs to its user`);
    }
    if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z-]+)*$/.test(name)) findings.push(`${file}: file names are kebab-case`);
  }
  clean(findings);
});

test('no file holds more than 500 lines', () => {
  const findings = sources
    .map(({ file, text }) => ({ file, lines: text.split('\n').length }))
    .filter(({ lines }) => lines > 500)
    .map(({ file, lines }) => `${file} has ${lines} lines: find the second idea in it and give it a file`);
  clean(findings);
});

test('what a browser loads has no Node import', () => {
  const byFile = new Map(sources.map(source => [source.file, source]));
  const findings: string[] = [];
  const seen = new Set<string>();
  const visit = (file: string, from: string): void => {
    const source = byFile.get(file);
    if (!source || seen.has(file)) return;
    seen.add(file);
    for (const { specifier, typeOnly } of importsOf(source.text)) {
      if (specifier.startsWith('node:') && !typeOnly) {
        findings.push(`${file} imports ${specifier}, and ${from} brings it into browsers: keep it out of that path`);
      }
    }
    for (const target of localImports(source, typeOnly => !typeOnly)) visit(target, `${from} -> ${target}`);
  };
  for (const door of ['src/index.ts', 'src/client/index.ts']) visit(door, door);
  clean(findings);
});

test('nothing is left for later', () => {
  const findings: string[] = [];
  for (const { file, text } of sources) {
    text.split('\n').forEach((line, index) => {
      const found = /\b(?:TODO|FIXME|XXX|HACK)\b/.exec(line);
      if (found) findings.push(`${file}:${index + 1} says ${found[0]}: do it, or write an issue`);
    });
  }
  clean(findings);
});

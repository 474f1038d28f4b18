/**
 * Tells when a source file under a directory changes. Own watchers per directory, because the recursive watch of Node
 * would also walk node_modules. Changes are gathered: an editor writes several times for one save.
 */
import { type FSWatcher, readdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '../core/clock.ts';

const quietMs = 60;
const directoriesMax = 2000;
const sources = /\.(?:[cm]?[jt]s|json)$/;
const ignored = new Set(['node_modules', 'dist', 'build', 'coverage']);

export interface Watching {
  close(): void;
}

/** `except` is a directory in which the app itself writes. */
export function watchSources(
  roots: readonly string[],
  clock: Clock,
  onChange: (file: string) => void,
  except?: string,
): Watching {
  const watchers = new Map<string, FSWatcher>();
  let timer: Timer | undefined;
  let changed = '';

  const add = (directory: string): void => {
    if (directory === except || watchers.has(directory) || watchers.size >= directoriesMax) return;
    let entries: ReturnType<typeof list>;
    try {
      entries = list(directory);
      const watcher = watch(directory, (_event, name) => name !== null && note(directory, name));
      watcher.on('error', () => forget(directory));
      watchers.set(directory, watcher);
    } catch {
      return; // Gone, or not ours to read: then nothing there is loaded either.
    }
    for (const entry of entries) if (entry.isDirectory() && isWatched(entry.name)) add(join(directory, entry.name));
  };
  const forget = (directory: string): void => {
    watchers.get(directory)?.close();
    watchers.delete(directory);
  };
  const note = (directory: string, name: string): void => {
    const path = join(directory, name);
    if (!sources.test(name)) {
      if (isWatched(name)) add(path);
      return;
    }
    changed = path;
    timer?.cancel();
    timer = clock.after(quietMs, () => onChange(changed));
  };
  for (const root of new Set(roots)) add(root);
  return {
    close() {
      timer?.cancel();
      for (const directory of [...watchers.keys()]) forget(directory);
    },
  };
}

const list = (directory: string) => readdirSync(directory, { withFileTypes: true });
const isWatched = (name: string): boolean => !name.startsWith('.') && !ignored.has(name);

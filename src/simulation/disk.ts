/**
 * A disk in memory that fails as disks do, from a seed: a power cut loses or tears what was not synced, and directory
 * entries that were not synced; a sync may fail and then lies; bits rot; space ends; syncs are slow. A process works
 * through a mount, and when it is killed nothing that it still asks is ever answered.
 * What a killed process had written stays (the page cache outlives it); only `powerCut` loses it.
 */
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import type { Disk, DiskFile } from '../core/disk.ts';
import { TandemError } from '../core/errors.ts';
import type { Random } from '../core/random.ts';
import { type Change, FileContent, survivors } from './disk-file.ts';

export interface DiskOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** A write takes up to this. Default: 0.05. */
  readonly writeMsMax?: number;
  /** A sync takes a quarter of this up to this. Default: 2. */
  readonly syncMsMax?: number;
  /** Chance that a sync takes a hundred times longer. Default: 0. */
  readonly slowSyncChance?: number;
  /** Default: no end. */
  readonly capacityBytes?: number;
}

export interface SimulatedDisk {
  /** The disk as the next process sees it. One process at a time. */
  mount(): Disk;
  /** The process is gone (kill -9): its lock is free, of its writes under way any part has happened. */
  kill(): void;
  /** The machine is gone, and back: of what was not synced any part has happened. */
  powerCut(): void;
  /** The next `count` syncs (of files whose path contains `part`) fail with EIO. */
  failSyncs(count: number, part?: string): void;
  /** Turns one bit over, as it is read and as it is stored. */
  flipBit(file: string, position: number, bit?: number): void;
  setCapacity(bytes: number): void;
  /** Paths of all files, sorted. */
  files(): string[];
  size(file: string): number;
  /** Syncs that came through, for tests that count them. */
  readonly syncs: number;
}

type Names = Map<string, FileContent | 'directory'>;
type NameChange = { readonly directory: string; readonly run: (names: Names) => void };

export function simulatedDisk(options: DiskOptions): SimulatedDisk {
  const { clock, random, writeMsMax = 0.05, syncMsMax = 2, slowSyncChance = 0 } = options;
  let capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
  let names: Names = new Map([['/', 'directory']]);
  let durableNames: Names = new Map(names);
  let nameChanges: NameChange[] = [];
  const locks = new Set<string>();
  let life = 0;
  let syncs = 0;
  let failing = { count: 0, part: '' };
  /** Writes that were asked and not yet answered. */
  const underWay = new Set<{ content: FileContent; change: Change }>();

  const rename = (directory: string, run: (names: Names) => void): void => {
    run(names);
    nameChanges.push({ directory, run });
  };
  const usedBytes = (): number => {
    let sum = 0;
    for (const entry of names.values()) if (entry !== 'directory') sum += entry.size;
    return sum;
  };

  const mount = (): Disk => {
    const own = ++life;
    /** After `delayMs` runs the step; never, when the process is gone by then. */
    const answer = <T>(delayMs: number, step: () => T): Promise<T> =>
      new Promise((resolve, reject) => {
        if (own !== life) return;
        clock.after(delayMs, () => {
          if (own !== life) return;
          try {
            resolve(step());
          } catch (error) {
            reject(error);
          }
        });
      });
    const quick = <T>(step: () => T): Promise<T> => answer(random.next() * writeMsMax, step);

    const change = (content: FileContent, what: Change): Promise<void> => {
      const request = { content, change: what };
      if (own === life) underWay.add(request);
      return quick(() => {
        underWay.delete(request);
        const end = what.kind === 'write' ? what.position + what.bytes.length : what.size;
        if (end > content.size && usedBytes() + end - content.size > capacityBytes) {
          throw systemError('ENOSPC', 'no space left on device');
        }
        content.apply(what);
      });
    };
    const openFile = (file: string, content: FileContent, durable: boolean): DiskFile => {
      const sync = (): Promise<void> => {
        const mark = content.mark();
        const slow = slowSyncChance > 0 && random.next() < slowSyncChance ? 100 : 1;
        return answer(syncMsMax * (0.25 + 0.75 * random.next()) * slow, () => {
          if (failing.count > 0 && file.includes(failing.part)) {
            failing.count--;
            content.syncFailed(mark);
            throw systemError('EIO', 'input/output error');
          }
          syncs++;
          content.synced(mark);
        });
      };
      return {
        get size() {
          return content.size;
        },
        read: (position, length) => quick(() => content.read(position, length)),
        write: async (position, bytes) => {
          await change(content, { kind: 'write', position, bytes: bytes.slice() });
          if (durable) await sync();
        },
        truncate: size => change(content, { kind: 'truncate', size }),
        sync,
        close: () => quick(() => {}),
      };
    };
    const find = (file: string): FileContent => {
      const entry = names.get(file);
      if (entry === undefined) throw systemError('ENOENT', `no such file: ${file}`);
      if (entry === 'directory') throw systemError('EISDIR', `is a directory: ${file}`);
      return entry;
    };

    return {
      open: (given, { create = false, durable = false } = {}) =>
        quick(() => {
          const file = clean(given);
          if (!names.has(file) && create) {
            const directory = path.posix.dirname(file);
            if (names.get(directory) !== 'directory') throw systemError('ENOENT', `no such directory: ${directory}`);
            const content = new FileContent();
            rename(directory, all => void all.set(file, content));
          }
          return openFile(file, find(file), durable);
        }),
      list: given =>
        quick(() => {
          const directory = clean(given);
          return [...names.keys()]
            .filter(name => name !== '/' && path.posix.dirname(name) === directory)
            .map(name => path.posix.basename(name))
            .sort();
        }),
      makeDirectory: given =>
        quick(() => {
          for (let at = clean(given); names.get(at) !== 'directory'; at = path.posix.dirname(at)) {
            const directory = at;
            rename(path.posix.dirname(at), all => void all.set(directory, 'directory'));
          }
        }),
      rename: (from, to) =>
        quick(() => {
          const [source, target] = [clean(from), clean(to)];
          const content = find(source);
          rename(path.posix.dirname(target), all => {
            all.delete(source);
            all.set(target, content);
          });
        }),
      remove: given =>
        quick(() => {
          const file = clean(given);
          find(file);
          rename(path.posix.dirname(file), all => void all.delete(file));
        }),
      syncDirectory: given =>
        answer(syncMsMax * random.next(), () => {
          // as journals do: what came before in the same order, other directories included, may as well be there
          const directory = clean(given);
          const last = nameChanges.findLastIndex(waiting => waiting.directory === directory);
          for (const { run } of nameChanges.splice(0, last + 1)) run(durableNames);
        }),
      lock: given =>
        quick(() => {
          const file = clean(given);
          if (locks.has(file)) throw new TandemError('CONFLICT', `${file} is locked by another process`);
          locks.add(file);
          return { release: async () => void (own === life && locks.delete(file)) };
        }),
    };
  };

  const kill = (): void => {
    life++;
    locks.clear();
    for (const { content, change } of underWay) {
      for (const part of survivors(change, random)) content.apply(part);
    }
    underWay.clear();
  };

  return {
    mount,
    kill,
    powerCut() {
      kill();
      const kept = random.below(nameChanges.length + 1);
      for (const { run } of nameChanges.slice(0, kept)) run(durableNames);
      nameChanges = [];
      names = new Map(durableNames);
      durableNames = new Map(names);
      for (const entry of names.values()) if (entry !== 'directory') entry.powerCut(random);
    },
    failSyncs(count, part = '') {
      failing = { count, part };
    },
    flipBit(file, position, bit = 0) {
      const entry = names.get(clean(file));
      if (entry instanceof FileContent) entry.flipBit(position, bit);
    },
    setCapacity(bytes) {
      capacityBytes = bytes;
    },
    files: () =>
      [...names]
        .filter(([, entry]) => entry !== 'directory')
        .map(([name]) => name)
        .sort(),
    size(file) {
      const entry = names.get(clean(file));
      return entry instanceof FileContent ? entry.size : 0;
    },
    get syncs() {
      return syncs;
    },
  };
}

function clean(given: string): string {
  return path.posix.resolve('/', given);
}

function systemError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code });
}

/**
 * Which partition of a service a key lies in, before, while and after their count doubles (data core, rules 23, 24). Pure.
 * The count doubles one partition after the other, in order, as in linear hashing (Litwin 1980): since `hash mod 2n` is
 * `hash mod n` or n more, each has exactly two successors, and how far the change has come is one number.
 * A partition's number is never used a second time: whoever still says an old one is recognised, and told what came of it.
 * Those of the first count are 0, 1, 2, ...; of every later count c they are c, c + 1, ... 2c - 1.
 */
import { placingPart } from '../contract/key.ts';
import { hashText } from './hash.ts';

export interface PartitionMap {
  /** Position of the map in its log; a map with a higher one is newer. */
  readonly version: number;
  /** The count that the data began with. */
  readonly first: number;
  /** The count before the change that is under way, or for good. */
  readonly count: number;
  /** Twice that while it doubles, else the same. */
  readonly to: number;
  /** So many are divided already; the next one to divide has this index. */
  readonly divided: number;
}

export function steadyMap(count: number, version = 0): PartitionMap {
  return { version, first: count, count, to: count, divided: 0 };
}

/** The partition of a row's or call's key. */
export function numberOfKey(map: PartitionMap, key: string): number {
  const hash = hashText(placingPart(key), 0);
  const index = hash % map.count;
  return index < map.divided ? numberAt(map, map.to, hash % map.to) : numberAt(map, map.count, index);
}

/** All partitions that take writes, in order. */
export function livingNumbers(map: PartitionMap): number[] {
  const numbers: number[] = [];
  for (let index = map.divided; index < map.count; index++) numbers.push(numberAt(map, map.count, index));
  for (let index = 0; index < map.divided; index++)
    numbers.push(numberAt(map, map.to, index), numberAt(map, map.to, index + map.count));
  return numbers.sort((a, b) => a - b);
}

/** The partition whose turn it is; undefined when no change is under way. */
export function dividing(map: PartitionMap): number | undefined {
  return map.to > map.count ? numberAt(map, map.count, map.divided) : undefined;
}

/** The map once the partition whose turn it is has been divided. */
export function afterDividing(map: PartitionMap): PartitionMap {
  const divided = map.divided + 1;
  return divided < map.count ? { ...map, divided } : { ...map, count: map.to, divided: 0 };
}

/** Which of two says more; they agree about all that both say. */
export function newerMap(a: PartitionMap, b: PartitionMap): PartitionMap {
  const order = b.count - a.count || b.to - a.to || b.divided - a.divided || b.version - a.version;
  return order > 0 ? b : a;
}

/** The newest of those that somebody tells of; undefined when nobody does. */
export function newestMap(maps: readonly (PartitionMap | undefined)[]): PartitionMap | undefined {
  return maps.reduce((newest, map) => (newest && map ? newerMap(newest, map) : (newest ?? map)), undefined);
}

/** Slice `index` of so many: what a number stands for. */
export function sliceOf(first: number, number: number): { readonly index: number; readonly count: number } {
  if (number < 2 * first) return { index: number, count: first };
  let count = 2 * first;
  while (2 * count <= number) count *= 2;
  return { index: number - count, count };
}

/** Whether a key is, or was while it lived, one of this partition's. */
export function liesIn(first: number, number: number, key: string): boolean {
  const { index, count } = sliceOf(first, number);
  return hashText(placingPart(key), 0) % count === index;
}

/** The two that a partition divides into: its keys with the lower and with the upper half of hashes. */
export function successorsOf(first: number, number: number): readonly [lower: number, upper: number] {
  const { index, count } = sliceOf(first, number);
  return [2 * count + index, 3 * count + index];
}

/** What a partition was divided from; undefined for those of the first count. */
export function predecessorOf(first: number, number: number): number | undefined {
  const { index, count } = sliceOf(first, number);
  if (count === first) return undefined;
  const before = count / 2;
  return before === first ? index % before : before + (index % before);
}

/** What became of a partition: itself while it lives, else the living ones that hold its keys. */
export function heirsOf(map: PartitionMap, number: number): readonly number[] {
  const { index, count } = sliceOf(map.first, number);
  const isDivided = count < map.count || (count === map.count && index < map.divided);
  return isDivided ? successorsOf(map.first, number).flatMap(next => heirsOf(map, next)) : [number];
}

/** Whether a key of a slice of `count` goes to the upper one (1) of its two successors. */
export function sideOf(key: string, count: number): 0 | 1 {
  return hashText(placingPart(key), 0) % (2 * count) >= count ? 1 : 0;
}

function numberAt(map: PartitionMap, count: number, index: number): number {
  return count === map.first ? index : count + index;
}

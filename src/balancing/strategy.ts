/** The strategies by name: each is one picker. */
import { leastConnections } from './least-connections.ts';
import type { Picker, PickerOptions } from './picker.ts';
import { roundRobin } from './round-robin.ts';

export type Strategy = 'round-robin' | 'least-connections';
export const strategies: readonly Strategy[] = ['round-robin', 'least-connections'];

export function openPicker<T>(strategy: Strategy, options: PickerOptions<T>): Picker<T> {
  return strategy === 'round-robin' ? roundRobin(options) : leastConnections(options);
}

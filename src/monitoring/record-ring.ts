/**
 * The last problems of a process, numbered, so that a monitor asks only for those that it has not seen. It is the sink
 * behind `onProblem` of the logger; the oldest make room for new ones.
 */
import type { LogRecord } from './record.ts';

export interface NumberedRecord extends LogRecord {
  /** Counts up from 1 in the life of the process. */
  readonly sequence: number;
}

export interface RecordRing {
  readonly add: (record: LogRecord) => void;
  /** Those with a higher sequence, oldest first. */
  after(sequence: number): NumberedRecord[];
}

/** Default 256: at one look per second it takes a storm of errors to lose any, and then the counts tell. */
export function openRecordRing(records = 256): RecordRing {
  const ring: NumberedRecord[] = [];
  let sequence = 0;
  return {
    add: record => {
      sequence += 1;
      ring.push({ ...record, sequence });
      if (ring.length > records) ring.shift();
    },
    after: seen => ring.filter(record => record.sequence > seen),
  };
}

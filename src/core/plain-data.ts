/**
 * What rows, events and results of transactions may hold: what comes back from the log exactly as it was put. MessagePack
 * would take more and silently give something else (a Map as an object, a function as undefined, a lone surrogate as `�`,
 * `__proto__` under another name), and a NaN that got in poisons sums long after. So it is refused where the user wrote it.
 */
import { TandemError } from './errors.ts';

/** Below the link's own bound, so that what is stored can also be answered with something around it. */
const depthMax = 100;

/** @throws INVALID, naming the place and what to use instead. */
export function checkPlain(value: unknown, what: string): void {
  const found = fault(value, 0);
  if (found === undefined) return;
  const [path, message] = found;
  throw new TandemError('INVALID', `${what} is not plain data: ${path === '' ? '' : `${path.slice(1)}: `}${message}`, {
    details: { issues: [{ path: path.slice(1), message }] },
  });
}

type Fault = readonly [path: string, message: string];

/** Allocates only when something is wrong: the path grows on the way back. */
function fault(value: unknown, depth: number): Fault | undefined {
  switch (typeof value) {
    case 'string':
      return value.isWellFormed() ? undefined : ['', loneSurrogate];
    case 'number':
      return Number.isFinite(value) ? undefined : ['', `${value} is no number to store; use null or leave it out`];
    case 'boolean':
    case 'undefined':
      return undefined;
    case 'object':
      return value === null ? undefined : ofObject(value, depth);
    case 'bigint':
      if (value <= 0xffff_ffff_ffff_ffffn && value >= -0x8000_0000_0000_0000n) return undefined;
      return ['', 'a bigint of more than 64 bits; use a string'];
    default:
      return ['', `a ${typeof value} cannot be stored; leave it out`];
  }
}

function ofObject(value: object, depth: number): Fault | undefined {
  if (depth >= depthMax) return ['', `nested deeper than ${depthMax}, or within itself; refer to rows by their keys`];
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = fault(value[i], depth + 1);
      if (found) return [`.${i}${found[0]}`, found[1]];
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // From another realm, such as a vm's, a plain object has another prototype, which itself has none.
  if (prototype !== Object.prototype && prototype !== null && Object.getPrototypeOf(prototype) !== null)
    return ofClass(value);
  // Nothing is inherited here, and unlike `Object.keys` this makes no array.
  for (const name in value) {
    if (name === '__proto__') return ['', "a property named '__proto__'; use another name"];
    const found = name.isWellFormed()
      ? fault((value as Record<string, unknown>)[name], depth + 1)
      : ['', loneSurrogate];
    if (found) return [`.${name.toWellFormed()}${found[0]}`, found[1]!];
  }
  return undefined;
}

function ofClass(value: object): Fault | undefined {
  if (value instanceof Uint8Array) return undefined;
  if (value instanceof Date)
    return Number.isFinite(value.getTime()) ? undefined : ['', 'an invalid Date; use null or leave it out'];
  const name = value.constructor?.name || 'class instance';
  return ['', `a ${name} would not come back as one; use plain objects, arrays, strings and numbers`];
}

const loneSurrogate = 'text with half a character (a lone surrogate); use text.toWellFormed(), or bytes';

/**
 * Names in protobuf's manner from those of a contract: `inventory.v2` is the package `inventory.v2` with the service `Inventory`, `orderId` the
 * field `order_id`, `out-of-stock` the value `STATUS_OUT_OF_STOCK`. Two that become the same get a number after the first.
 */
const letters = /[^a-zA-Z0-9]+/;

export function packageOf(contract: string): string {
  return contract
    .replaceAll('-', '_')
    .split('.')
    .map(part => (/^\d/.test(part) ? `_${part}` : part))
    .join('.');
}

/** The last word that is not a version. */
export function serviceOf(contract: string): string {
  const words = contract.split('.');
  while (words.length > 1 && /^v\d/.test(words.at(-1)!)) words.pop();
  return pascal(words.at(-1)!);
}

export function pascal(name: string): string {
  const joined = name
    .split(letters)
    .map(word => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('');
  return /^[A-Z]/.test(joined) ? joined : `N${joined}`;
}

export function snake(name: string): string {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .replace(/([A-Z])([A-Z][a-z])/g, '$1_$2')
    .split(letters)
    .filter(word => word !== '')
    .join('_')
    .toLowerCase();
  return /^[a-z]/.test(words) ? words : `n${words}`;
}

/** The name, or with the first number that makes it a new one. Names that differ in case or underscores alone are one to protoc. */
export function fresh(name: string, used: Set<string>, between = ''): string {
  let candidate = name;
  for (let n = 2; used.has(bare(candidate)); n++) candidate = `${name}${between}${n}`;
  used.add(bare(candidate));
  return candidate;
}

/** Keeps a name for somebody. */
export function reserve(name: string, used: Set<string>): void {
  used.add(bare(name));
}

function bare(name: string): string {
  return name.replaceAll('_', '').toLowerCase();
}

/** Marks a config field as secret, so that no record, dashboard, `doctor` or error ever shows its value. */
import type { AnySchema } from '../core/schema.ts';

const secrets = new WeakSet<object>();

/** Use inside the service's config schema: `z.object({ apiKey: secret(z.string()) })`. */
export function secret<S extends AnySchema>(schema: S): S {
  secrets.add(schema);
  return schema;
}

export function isSecret(schema: unknown): boolean {
  return typeof schema === 'object' && schema !== null && secrets.has(schema);
}

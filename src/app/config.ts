/**
 * The configuration of one service: each field from the environment (`TANDEM_<SERVICE>_<FIELD>`, words split by `_`),
 * else from `services.<name>` of the config file, else the schema's default; then validated by the service's schema.
 */
import { isSecret } from '../contract/config.ts';
import type { Service } from '../contract/contract.ts';
import { TandemError } from '../core/errors.ts';
import { type AnySchema, type Issue, jsonSchema, validate } from '../core/schema.ts';

export interface ConfigValue {
  readonly name: string;
  readonly variable: string;
  /** Hidden when secret. */
  readonly value: unknown;
  readonly source: 'environment' | 'config file' | 'default';
}

type Environment = Readonly<Record<string, string | undefined>>;

/** `inventory`, `warehouseUrl` → `TANDEM_INVENTORY_WAREHOUSE_URL`. */
export function variableOf(service: string, field: string): string {
  const snake = (text: string): string => text.replace(/([a-z0-9])([A-Z])/g, '$1_$2').replace(/[-.]/g, '_');
  return `TANDEM_${snake(service)}_${snake(field)}`.toUpperCase();
}

/** @throws CONFIG that names each missing or wrong field, the variable that sets it, and never a secret's value. */
export async function serviceConfig(
  service: Service,
  fromFile: Readonly<Record<string, unknown>>,
  environment: Environment,
): Promise<unknown> {
  const schema = service.definition.config as AnySchema | undefined;
  if (!schema) return undefined;
  const name = service.contract.name;
  const given: Record<string, unknown> = { ...fromFile };
  for (const [field, kind] of fieldsOf(schema, name)) {
    const text = environment[variableOf(name, field)];
    if (text !== undefined) given[field] = parsed(text, kind);
  }
  try {
    return await validate(schema, given, `config of '${name}'`);
  } catch (cause) {
    const issues = (TandemError.from(cause).details?.['issues'] ?? []) as readonly Issue[];
    const lines = issues.map(issue => `${issue.path || '(whole)'}: ${issue.message}${mend(name, issue.path)}`);
    throw new TandemError('CONFIG', `config of '${name}' is missing or wrong: ${lines.join('; ')}`, {
      details: { issues },
    });
  }
}

/** Each field with its source, for `doctor`; secret values are hidden. */
export function describeConfig(
  service: Service,
  fromFile: Readonly<Record<string, unknown>>,
  environment: Environment,
): ConfigValue[] {
  const schema = service.definition.config as AnySchema | undefined;
  if (!schema) return [];
  const name = service.contract.name;
  return fieldsOf(schema, name).map(([field]) => {
    const variable = variableOf(name, field);
    const source = environment[variable] !== undefined ? 'environment' : field in fromFile ? 'config file' : 'default';
    const value = source === 'environment' ? environment[variable] : fromFile[field];
    return { name: field, variable, value: isSecretField(schema, field) ? '(secret)' : value, source };
  });
}

function fieldsOf(schema: AnySchema, service: string): [field: string, type: string][] {
  const form = jsonSchema(schema, 'input', `config of '${service}'`);
  const properties = (form['properties'] ?? {}) as Record<string, { type?: string }>;
  return Object.entries(properties).map(([field, property]) => [field, property.type ?? 'string']);
}

/** zod keeps the field schemas in `shape`, arktype and valibot in other places: a library without one shows no secrets as plain either way, since `doctor` then prints none. */
function isSecretField(schema: AnySchema, field: string): boolean {
  const shape = (schema as { shape?: Record<string, unknown> }).shape;
  return shape === undefined || isSecret(shape[field]);
}

function parsed(text: string, kind: string): unknown {
  if (kind === 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function mend(service: string, path: string): string {
  const field = path.split('.')[0];
  return field ? ` (set ${variableOf(service, field)}, or services['${service}'].${field} in tandem.config.ts)` : '';
}

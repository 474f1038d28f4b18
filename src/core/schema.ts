/**
 * Schemas of any library by two small standards: Standard Schema (validate) and Standard JSON Schema (describe).
 * We bind to neither zod nor its types, so a user's choice of library never reaches the rest of the system.
 * Spec: standardschema.dev.
 */
import { TandemError } from './errors.ts';

export interface AnySchema {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    // biome-ignore lint/suspicious/noExplicitAny: the inferring position of every schema library; unknown would reject them all
    readonly validate: (value: any, ...rest: any[]) => any;
    // biome-ignore lint/suspicious/noExplicitAny: as above
    readonly types?: { readonly input: any; readonly output: any } | undefined;
  };
}
/** What a caller passes in. */
export type In<S> = S extends AnySchema ? NonNullable<S['~standard']['types']>['input'] : undefined;
/** What comes out after validation. */
export type Out<S> = S extends AnySchema ? NonNullable<S['~standard']['types']>['output'] : undefined;

export interface Issue {
  /** Dotted path of the field, empty for the value itself. */
  readonly path: string;
  readonly message: string;
}

interface StandardResult {
  readonly value?: unknown;
  readonly issues?: readonly { message: string; path?: readonly (PropertyKey | { key: PropertyKey })[] }[] | undefined;
}

/** Validates and strips. Returns a promise only when the schema is asynchronous. @throws INVALID with `details.issues`. */
export function validate(schema: AnySchema, value: unknown, what: string): unknown {
  const result = schema['~standard'].validate(value) as StandardResult | Promise<StandardResult>;
  return result instanceof Promise ? result.then(settled => settle(settled, what)) : settle(result, what);
}

function settle(result: StandardResult, what: string): unknown {
  if (!result.issues) return result.value;
  const issues: Issue[] = result.issues.slice(0, 20).map(issue => ({
    path: (issue.path ?? []).map(part => String(typeof part === 'object' ? part.key : part)).join('.'),
    message: issue.message,
  }));
  const first = issues[0];
  const where = first?.path ? `${first.path}: ` : '';
  throw new TandemError('INVALID', `${what} is not valid: ${where}${first?.message ?? 'unknown issue'}`, {
    details: { issues },
  });
}

export type JsonSchema = { readonly [key: string]: unknown };

/** The JSON Schema of a schema. @throws UNSUPPORTED, naming the place and an alternative, when JSON cannot carry it. */
export function jsonSchema(schema: AnySchema, io: 'input' | 'output', what: string): JsonSchema {
  const standard = schema['~standard'] as AnySchema['~standard'] & {
    readonly jsonSchema?: {
      input(options: { target: string }): JsonSchema;
      output(options: { target: string }): JsonSchema;
    };
  };
  if (!standard.jsonSchema) {
    throw new TandemError(
      'UNSUPPORTED',
      `${what}: the schema library '${standard.vendor}' has no Standard JSON Schema; use zod 4.2+, arktype 2.1.28+, or wrap the schema (valibot: toStandardJsonSchema)`,
    );
  }
  try {
    return standard.jsonSchema[io]({ target: 'draft-2020-12' });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TandemError(
      'UNSUPPORTED',
      `${what}: JSON cannot carry this schema (${reason}); use z.iso.datetime() for dates, a string for bigint, z.record() for maps, an array for sets, and no transform on outputs`,
      { cause },
    );
  }
}

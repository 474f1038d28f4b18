/**
 * Routes as data: compiled from the descriptors of all services, matched without looking at any of them again. Pure.
 * A static segment beats a parameter, and both beat a rest (`/app/*rest`: whatever follows, also nothing); a parameter never matches an empty segment. Two methods that want the same route
 * are a conflict: the first service (callers sort by name) keeps it, so that all gateways decide alike.
 */
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import type { JsonSchema } from '../core/schema.ts';
import { type FieldKinds, fieldKinds } from './field-kinds.ts';

export interface Target {
  readonly service: string;
  readonly method: MethodForm;
  /** For metrics: the route's pattern. */
  readonly route: string;
  /** How to read each input field from text. */
  readonly kinds: FieldKinds;
  /** Whether path, query and body merge into one object (else the body is the input). */
  readonly objectInput: boolean;
}
export interface Match {
  readonly target: Target;
  readonly names: readonly string[];
  /** Still percent-encoded. */
  readonly values: readonly string[];
}
export interface Conflict {
  readonly route: string;
  readonly kept: string;
  readonly refused: string;
}

interface Leaf {
  readonly target: Target;
  readonly names: readonly string[];
}
interface Node {
  readonly statics: Map<string, Node>;
  param: Node | undefined;
  readonly leaves: Map<string, Leaf>;
  /** Take all that is below, and the node itself: `/app/*rest`. */
  readonly rest: Map<string, Leaf>;
}

const noNames: readonly string[] = [];

export class Routes {
  /** Routes that two methods want, and paths that the gateway keeps for itself. */
  readonly conflicts: Conflict[] = [];
  /** Of all routes, for suggestions: `GET /stock/:sku`. */
  readonly patterns: string[] = [];
  readonly #root: Node = node();
  /** `GET /path` of routes without parameters: one look-up. */
  readonly #exact = new Map<string, Match>();
  /** `service/method` of public methods. */
  readonly #calls = new Map<string, Target>();

  constructor(descriptors: readonly Descriptor[]) {
    for (const { service, methods } of descriptors) {
      for (const method of methods) {
        if (method.public && !method.raw) {
          const route = `/call/${service}/${method.name}`;
          this.#calls.set(`${service}/${method.name}`, target(service, method, route));
        }
        if (method.http !== undefined) this.#add(service, method, method.http);
      }
    }
  }

  match(verb: string, path: string): Match | undefined {
    const exact = this.#exact.get(`${verb} ${path}`);
    if (exact) return exact;
    const values: string[] = [];
    const leaf = find(this.#root, path, 1, values, verb);
    return leaf && { target: leaf.target, names: leaf.names, values };
  }

  /** The verbs that this path knows; empty when there is no such path. */
  allowed(path: string): string[] {
    const verbs = new Set<string>();
    collect(this.#root, path, 1, verbs);
    return [...verbs].sort();
  }

  /** A public method by name. */
  call(service: string, method: string): Target | undefined {
    return this.#calls.get(`${service}/${method}`);
  }

  /** `service/method` of all public methods. */
  callNames(): Iterable<string> {
    return this.#calls.keys();
  }

  #add(service: string, method: MethodForm, http: string): void {
    const space = http.indexOf(' ');
    const verb = http.slice(0, space);
    const path = http.slice(space + 1);
    const who = `${service}.${method.name}`;
    if (/^\/(?:call|-)(?:\/|$)/.test(path)) {
      this.conflicts.push({ route: http, kept: 'gateway', refused: who });
      return;
    }
    const names: string[] = [];
    let at = this.#root;
    let isRest = false;
    for (const segment of path.slice(1).split('/')) {
      if (segment.startsWith('*')) {
        names.push(segment.slice(1));
        isRest = true;
      } else if (segment.startsWith(':')) {
        names.push(segment.slice(1));
        at.param ??= node();
        at = at.param;
      } else {
        const next = at.statics.get(segment) ?? node();
        at.statics.set(segment, next);
        at = next;
      }
    }
    const leaves = isRest ? at.rest : at.leaves;
    const taken = leaves.get(verb);
    if (taken) {
      const kept = `${taken.target.service}.${taken.target.method.name}`;
      this.conflicts.push({ route: http, kept, refused: who });
      return;
    }
    const leaf = { target: target(service, method, path), names };
    leaves.set(verb, leaf);
    this.patterns.push(http);
    if (names.length === 0 && verb !== 'ANY')
      this.#exact.set(http, { target: leaf.target, names: noNames, values: noNames });
  }
}

function node(): Node {
  return { statics: new Map(), param: undefined, leaves: new Map(), rest: new Map() };
}

function target(service: string, method: MethodForm, route: string): Target {
  const schema: JsonSchema | undefined = method.input?.schema;
  const kinds = fieldKinds(schema);
  return {
    service,
    method,
    route,
    kinds,
    objectInput: schema === undefined || kinds.size > 0 || isObjectSchema(schema),
  };
}

function isObjectSchema(schema: JsonSchema): boolean {
  return schema.type === 'object' || schema.properties !== undefined;
}

/** Depth first, static before parameter, so that a dead end of the static branch still finds the other. */
function find(at: Node, path: string, from: number, values: string[], verb: string): Leaf | undefined {
  const slash = path.indexOf('/', from);
  const segment = slash < 0 ? path.slice(from) : path.slice(from, slash);
  const next = at.statics.get(segment);
  if (next) {
    const leaf = slash < 0 ? lastOf(next, values, verb) : find(next, path, slash + 1, values, verb);
    if (leaf) return leaf;
  }
  if (at.param && segment !== '') {
    values.push(segment);
    const leaf = slash < 0 ? lastOf(at.param, values, verb) : find(at.param, path, slash + 1, values, verb);
    if (leaf) return leaf;
    values.pop();
  }
  const leaf = byVerb(at.rest, verb);
  if (leaf) values.push(path.slice(from));
  return leaf;
}

/** The leaf of a path that ends here. */
function lastOf(at: Node, values: string[], verb: string): Leaf | undefined {
  const leaf = byVerb(at.leaves, verb);
  if (leaf) return leaf;
  const rest = byVerb(at.rest, verb);
  if (rest) values.push('');
  return rest;
}

function byVerb(leaves: Map<string, Leaf>, verb: string): Leaf | undefined {
  return leaves.get(verb) ?? leaves.get('ANY');
}

function collect(at: Node, path: string, from: number, verbs: Set<string>): void {
  const slash = path.indexOf('/', from);
  const segment = slash < 0 ? path.slice(from) : path.slice(from, slash);
  for (const verb of at.rest.keys()) verbs.add(verb);
  for (const next of [at.statics.get(segment), segment === '' ? undefined : at.param]) {
    if (!next) continue;
    if (slash < 0) for (const verb of [...next.leaves.keys(), ...next.rest.keys()]) verbs.add(verb);
    else collect(next, path, slash + 1, verbs);
  }
}

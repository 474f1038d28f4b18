/** What is served over gRPC at the moment, by path: compiled again only when a descriptor changed, as the routes of HTTP are. */
import type { Descriptor, MethodForm } from '../contract/descriptor.ts';
import { protoOf } from '../contract/proto-build.ts';
import { type ProtoFile, type ProtoMethod, structFile } from '../contract/proto-file.ts';
import { TandemError } from '../core/errors.ts';
import type { Logger } from '../core/logger.ts';
import type { Registry } from '../naming/registry.ts';

/** A method that the gateway answers itself. */
export type LocalHandler = (items: AsyncIterable<unknown>, signal: AbortSignal) => AsyncIterable<unknown>;

export interface GrpcTarget {
  readonly proto: ProtoMethod;
  readonly file: ProtoFile;
  /** Who answers: a method of a contract, or the gateway. */
  readonly method: MethodForm | LocalHandler;
}

type Known = Pick<Registry, 'version' | 'services' | 'descriptor'>;

export class GrpcTable {
  readonly #registry: Known;
  readonly #logger: Logger;
  readonly #built = new Map<string, { readonly hash: string; readonly file: ProtoFile | undefined }>();
  readonly #own = new Map<string, GrpcTarget>();
  readonly #ownFiles: ProtoFile[] = [structFile];
  #version = -1;
  #targets: ReadonlyMap<string, GrpcTarget> = new Map();
  #files: readonly ProtoFile[] = [];

  constructor(registry: Known, logger: Logger) {
    this.#registry = registry;
    this.#logger = logger;
  }

  /** Serves these methods here; nobody else's can take their place. */
  add(file: ProtoFile, handlers: Readonly<Record<string, LocalHandler>>): void {
    this.#ownFiles.push(file);
    for (const proto of file.methods)
      this.#own.set(`/${file.serviceName}/${proto.name}`, { proto, file, method: handlers[proto.method]! });
    this.#version = -1;
  }

  /** Of `/inventory.Inventory/Reserve`. */
  find(path: string): GrpcTarget | undefined {
    this.#refresh();
    return this.#targets.get(path);
  }

  paths(): Iterable<string> {
    this.#refresh();
    return this.#targets.keys();
  }

  files(): readonly ProtoFile[] {
    this.#refresh();
    return this.#files;
  }

  /** By the contract's name, or its service's in protobuf. */
  contractOf(name: string): string | undefined {
    return this.files().find(
      file => file.contract !== undefined && (file.contract === name || file.serviceName === name),
    )?.contract;
  }

  #refresh(): void {
    if (this.#registry.version === this.#version) return;
    this.#version = this.#registry.version;
    let changed = this.#targets.size === 0;
    for (const service of this.#registry.services()) {
      const descriptor = this.#registry.descriptor(service);
      if (!descriptor || this.#built.get(service)?.hash === descriptor.hash) continue;
      this.#built.set(service, { hash: descriptor.hash, file: this.#build(descriptor) });
      changed = true;
    }
    if (changed) this.#compile();
  }

  #build(descriptor: Descriptor): ProtoFile | undefined {
    try {
      const { file } = protoOf(descriptor);
      return file.methods.length > 0 ? file : undefined;
    } catch (cause) {
      const { message } = TandemError.from(cause);
      this.#logger.warn(`'${descriptor.service}' is not served over gRPC: ${message}`, { service: descriptor.service });
      return undefined;
    }
  }

  #compile(): void {
    const targets = new Map<string, GrpcTarget>();
    const files = [...this.#ownFiles];
    for (const [service, { file }] of this.#built) {
      const forms = new Map(this.#registry.descriptor(service)?.methods.map(method => [method.name, method]));
      if (!file) continue;
      files.push(file);
      for (const proto of file.methods) {
        const method = forms.get(proto.method);
        if (method) targets.set(`/${file.serviceName}/${proto.name}`, { proto, file, method });
      }
    }
    for (const [path, target] of this.#own) targets.set(path, target);
    this.#targets = targets;
    this.#files = files;
  }
}

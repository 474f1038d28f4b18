/** The routes of the moment: compiled again only when a descriptor changed, however often members come and go. */
import type { Descriptor } from '../contract/descriptor.ts';
import type { Logger } from '../core/logger.ts';
import type { Registry } from '../naming/registry.ts';
import { Routes } from './router.ts';

export class RouteTable {
  readonly #registry: Pick<Registry, 'version' | 'services' | 'descriptor'>;
  readonly #logger: Logger;
  #version = -1;
  #hashes = '';
  #routes: Routes = new Routes([]);

  constructor(registry: Pick<Registry, 'version' | 'services' | 'descriptor'>, logger: Logger) {
    this.#registry = registry;
    this.#logger = logger;
  }

  get routes(): Routes {
    if (this.#registry.version !== this.#version) this.#refresh();
    return this.#routes;
  }

  #refresh(): void {
    this.#version = this.#registry.version;
    const descriptors: Descriptor[] = [];
    for (const service of [...this.#registry.services()].sort()) {
      const descriptor = this.#registry.descriptor(service);
      if (descriptor) descriptors.push(descriptor);
    }
    const hashes = descriptors.map(descriptor => `${descriptor.service}=${descriptor.hash}`).join();
    if (hashes === this.#hashes) return;
    this.#hashes = hashes;
    this.#routes = new Routes(descriptors);
    for (const { route, kept, refused } of this.#routes.conflicts)
      this.#logger.warn(`two methods want the route '${route}': ${kept} keeps it; give ${refused} another`, {
        route,
        kept,
        refused,
      });
  }
}

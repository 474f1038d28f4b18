/** What was opened is closed in reverse order, each once, and one failing close does not keep the others open. */
export interface Closable {
  close(): Promise<void> | void;
}

export class Closers {
  readonly #closers: { name: string; close: () => unknown }[] = [];
  #closing: Promise<void> | undefined;

  add(name: string, close: () => unknown): void {
    this.#closers.push({ name, close });
  }

  /** Closes all, last opened first. @throws AggregateError of what failed, after all were tried. */
  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const failures: Error[] = [];
    for (const { name, close } of this.#closers.reverse()) {
      try {
        await close();
      } catch (cause) {
        failures.push(new Error(`closing ${name} failed`, { cause }));
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, failures.map(failure => failure.message).join('; '));
  }
}

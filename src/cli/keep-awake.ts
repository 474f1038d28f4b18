/** Keeps a process alive while it only waits: the clock's timers do not, so that a forgotten one never hangs a command. */
export async function keepAwake<T>(work: () => Promise<T>): Promise<T> {
  const { port1 } = new MessageChannel();
  port1.ref();
  try {
    return await work();
  } finally {
    port1.close();
  }
}

/**
 * What this client has seen, as tokens that only a gateway can read. An answer's token covers all tokens that its request carried, so it takes
 * their place; answers of parallel calls each leave one, and the next call carries them all. Nothing is forgotten: where they would no longer fit a
 * header, `forgotten` is sent along, which is no valid token, and a gateway then reads behind a barrier.
 */
const bytesMax = 6000;
const forgotten = 'forgotten';

export class SessionTokens {
  #tokens: string[] = [];

  toSend(): readonly string[] {
    let bytes = 0;
    const newest: string[] = [];
    for (const token of this.#tokens.toReversed()) {
      bytes += token.length + 2;
      if (bytes > bytesMax) return [forgotten, ...newest];
      newest.push(token);
    }
    return newest;
  }

  /** @param token of the answer to a request that carried `sent`; null when it had nothing new, empty when what they say is gone for good. */
  take(sent: readonly string[], token: string | null): void {
    if (token === null) return;
    this.#tokens = this.#tokens.filter(known => known !== token && !sent.includes(known));
    if (token === '') return;
    this.#tokens.push(token);
  }
}

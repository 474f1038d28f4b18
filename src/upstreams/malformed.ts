/** Bytes that are not what RFC 9112 allows, or more than is taken; the status is what a client is told. */
export class Malformed extends Error {
  readonly status: number;

  constructor(message: string, status = 400) {
    super(message);
    this.name = 'Malformed';
    this.status = status;
  }
}

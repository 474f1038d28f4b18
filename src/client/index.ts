/** `tandem/client`: calls from a browser or from Node, over HTTP, with the types of a contract and none of its code. */
export type { Answer, AnswerMeta, CallOptions } from '../contract/call.ts';
export { DeclaredError, TandemError } from '../core/errors.ts';
export { type Client, type ClientOptions, createClient } from './client.ts';

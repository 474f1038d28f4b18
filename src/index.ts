/** The front door: everything that a service file needs. */

export { defineConfig, type TandemConfig } from './contract/app-config.ts';
export type { Answer, AnswerMeta, CallOptions, Calls } from './contract/call.ts';
export { secret } from './contract/config.ts';
export type {
  BaseContext,
  CallerInfo,
  EmitOptions,
  MethodContext,
  PublishOptions,
  TableReader,
  Transacts,
  Tx,
  TxTable,
} from './contract/context.ts';
export {
  type Contract,
  contract,
  type Definition,
  type Env,
  type Service,
  type SubscriptionSpec,
} from './contract/contract.ts';
export { type Consistency, type ErrorSpec, error, type MethodSpec, type Stream, stream } from './contract/method.ts';
export type { Fire, ScheduleSpec } from './contract/schedule.ts';
export { type Table, table } from './contract/table.ts';
export { type Topic, topic } from './contract/topic.ts';
export { DeclaredError, TandemError } from './core/errors.ts';

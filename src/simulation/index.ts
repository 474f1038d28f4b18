/** `tandem/testing`: a virtual clock, a network and a disk that fail from a seed, and checkers of what clients saw. */
export { type Attempt, type Audit, auditEffects } from './accounting.ts';
export { type Balances, type BankFinding, bankModel, checkBank, type Transfer } from './bank.ts';
export { checkConvergence, type Disagreement, type ReplicaState } from './convergence.ts';
export { type DiskOptions, type SimulatedDisk, simulatedDisk } from './disk.ts';
export { type EngineModel, type EngineModelOptions, engineModel } from './engine.ts';
export {
  History,
  type Invocation,
  type JepsenEvent,
  jepsenEvents,
  type Operation,
  type OperationOutcome,
  toEdn,
} from './history.ts';
export { checkLinearizability, type Judgement, type LinearizabilityOptions } from './linearizability.ts';
export {
  type Anomaly,
  type AnomalyKind,
  checkListAppend,
  type ListAppendOptions,
  type MicroOperation,
} from './list-append.ts';
export { impossible, listModel, type Model, registerModel } from './model.ts';
export { type Host, type Network, type NetworkOptions, simulatedNetwork } from './network.ts';
export { checkSessions, type Guarantee, type Observation, type SessionViolation } from './sessions.ts';
export { fake, type TestApp, type TestOptions, testApp } from './test-app.ts';
export {
  type AutoOptions,
  type ProcessClock,
  type VirtualClock,
  type VirtualClockOptions,
  virtualClock,
} from './virtual-clock.ts';

/** The door of `balsa-raft/testing`: what users test their own stores, transports and state machines with. */

export { assertDeterministic } from './assert-deterministic.js'
export type { DeterminismOptions, DeterminismReport, ResultOf } from './assert-deterministic.js'
export type { ConformanceCase } from './conformance/case.js'
export { logStoreConformance } from './conformance/log-store.js'
export type { LogStoreConformanceOptions } from './conformance/log-store.js'
export { stateMachineConformance } from './conformance/state-machine.js'
export type { StateMachineConformanceOptions } from './conformance/state-machine.js'
export { transportConformance } from './conformance/transport.js'
export type { TransportConformanceOptions, TransportWorld } from './conformance/transport.js'
export { StateMachineFault } from './state-machine-fault.js'
export type { StateMachineFaultDetails, StateMachineFaultKind } from './state-machine-fault.js'

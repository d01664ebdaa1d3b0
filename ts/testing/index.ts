/** The door of `balsa-raft/testing`: what users test their own stores, transports and state machines with. */

export type { ConformanceCase } from './conformance/case.js'
export { logStoreConformance } from './conformance/log-store.js'
export type { LogStoreConformanceOptions } from './conformance/log-store.js'
export { transportConformance } from './conformance/transport.js'
export type { TransportConformanceOptions, TransportWorld } from './conformance/transport.js'

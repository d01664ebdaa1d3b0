/** The only public door: named exports, no logic. */

export { RaftError } from './errors.js'
export type { LeaderHint, Outcome, RaftErrorCode } from './errors.js'
export type { ApplyContext, Codec, Entry, StateMachine } from './fsm/state-machine.js'
export type { RaftOptions } from './options.js'
export { Raft } from './raft.js'
export type { PeerStatus, Status } from './raft.js'
export type { RaftEvents } from './server/events.js'
export type { WaitOptions } from './server/pending-call.js'
export type { LogStore, StoreFactory, StoreStats } from './storage/log-store.js'
export type { Transport } from './transport/transport.js'
export type { Clock, Configuration, Logger, LogIndex, Role, Server, ServerId, Term } from './types.js'

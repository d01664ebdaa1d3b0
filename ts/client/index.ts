/** The door of balsa-raft/client: for processes that are no member of a cluster. Nothing of stores is behind it. */

export { httpStatusOf, RaftError } from '../errors.js'
export type { LeaderHint, Outcome, RaftErrorCode } from '../errors.js'
export { msgpackCodec } from '../machine/msgpack-codec.js'
export type { Codec } from '../machine/state-machine.js'
export type { WaitOptions } from '../server/calls/pending-call.js'
export type { Consistency, QueryOptions, SubmitOptions } from '../server/forward/any-server.js'
export type { Proposed } from '../server/forward/asking.js'
export type { Session, SessionOptions } from '../server/session.js'
export type { Clock, Logger, LogIndex, ServerId, ServerMeta, SessionToken, Term } from '../types.js'
export type { ClientOptions } from './options.js'
export { RaftClient } from './raft-client.js'
export type { ClientStatus } from './raft-client.js'

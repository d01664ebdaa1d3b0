/** The pure core, for tests, simulators and browsers: `balsa-raft/core`. */

export { FULL_BATCH_BYTES } from './intake.js'
export type { ChangeOutcome, ChangeRefusal, ConfigurationChange } from './configuration-change.js'
export { assertInvariants } from './invariants.js'
export type {
  AppendEntries,
  AppendEntriesResult,
  PreVote,
  PreVoteResult,
  Request,
  RequestVote,
  RequestVoteResult,
  Response,
  TimeoutNow,
} from './messages.js'
export { TERM_JUMP_MAX } from './message-check.js'
export { RaftCore } from './raft-core.js'
export type { CoreOptions } from './raft-core.js'
export type { BlockMaker, ConfigurationAt, LogStart } from './raft-log.js'
export type {
  Admission,
  ApplyRange,
  ChangeRequest,
  CoreEvent,
  Fetch,
  Input,
  OutgoingMessage,
  ReadOutcome,
  Ready,
  SnapshotSend,
  TransferFailure,
  TransferOutcome,
} from './ready.js'
export type { CoreSettings } from './role.js'
export type { PersistTicket, TicketOperation } from './tickets.js'

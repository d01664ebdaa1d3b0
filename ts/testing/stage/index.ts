/**
 * The door of `balsa-raft/testing/stage`: cores alone, step by step, in Node or in a browser. A door of its own,
 * because what stands behind `balsa-raft/testing` needs Node.
 */

export { Violation } from '../invariants/violation.js'
export type { AppliedCommand, DiskView, DurableView, Observer, ServerView } from '../observer.js'
export { Stage } from './stage.js'
export type { StageOptions } from './stage.js'
export type { ProposalOutcome, StageRead } from './stage-clients.js'
export type { Envelope } from './stage-network.js'
export type { StageServer } from './stage-server.js'
export { formatEvent, formatMessage } from './text.js'

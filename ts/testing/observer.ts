/**
 * What is told of servers to whoever watches them: by the stage, where cores stand alone, and by the simulator, where
 * they stand in the whole shell. It is one interface, so that one set of invariants holds of both. Calls are
 * synchronous and in the order in which things happen. An observer that throws ends the run.
 */

import type { Input, RaftCore, Ready, Request, Response } from '../core/index.js'
import type { Block, HardState, LogIndex, ServerId, SnapshotMeta, StoreOperation, Term } from '../types.js'

/** What a crash would leave, for reading. */
export interface DurableView {
  readonly hardState: HardState
  /** On what the log stands; null while it was never compacted. */
  readonly snapshot: SnapshotMeta | null
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
  /** The log from firstIndex on, without a gap. */
  readonly blocks: readonly Block[]
  /** Null where there is no entry. */
  termAt(index: LogIndex): Term | null
}

/** A disk, as observers see it. */
export interface DiskView {
  /** Names the disk: whoever comes back after a wipe has another one. */
  readonly incarnation: string
  readonly durable: DurableView
  /** Tickets of the process that runs which are not durable. */
  readonly pendingTickets: number
}

/** One server, for reading. */
export interface ServerView {
  readonly id: ServerId
  /** Its place in the list of servers, from 0. */
  readonly ordinal: number
  /** Null while its process is down or still opens. */
  readonly core: RaftCore | null
  /** What survives a crash; another one after a wipe. */
  readonly disk: DiskView
  /** Counts the processes of this server, from 1. */
  readonly boot: number
  /** Whether its store has failed or its state machine threw: it must be silent. */
  readonly halted: boolean
  /** How many recoveries from a lost quorum its disk has taken part in: servers of two epochs are of two clusters. */
  readonly epoch: number
}

/** A command that a state machine was given. */
export interface AppliedCommand {
  readonly index: LogIndex
  readonly term: Term
  /**
   * What whoever proposed it calls it, unique in one run; 0 for an entry that is no command, which need not be told.
   */
  readonly id: number
  /** Of a command of a session, which may stand in the log more than once: what it is called; `id` is 0 then. */
  readonly once?: number
}

/** Is told of what servers do, as it happens; what it throws is a finding. */
export interface Observer {
  /** Its core has read the disk, and has taken no input yet that is told. */
  booted?(server: ServerView): void
  /** After each input of the core. */
  stepped?(server: ServerView, core: RaftCore, input: Input): void
  /** The core's decisions of one turn, before any of them is carried out. */
  decided?(server: ServerView, core: RaftCore, ready: Ready): void
  /** All of them were. */
  turned?(server: ServerView, core: RaftCore): void
  /** Its process is about to be gone, and whatever is not durable. */
  crashed?(server: ServerView, how: string): void
  /** Its process is gone, and its disk becomes another one: empty, or an older copy of itself. */
  forgot?(server: ServerView): void
  /** The same of one that is no member, or is lost for good: whoever adds it again believes what it is by then. */
  renewed?(server: ServerView): void
  /** A second process runs under its id, from an older copy of its disk, and is not told of itself. */
  cloned?(server: ServerView): void
  /** A message leaves, whatever becomes of it. */
  sent?(server: ServerView, to: ServerId, message: Request | Response): void
  /** A message has reached a server. */
  delivered?(from: ServerId, server: ServerView, message: Request | Response): void
  /** A server has given a ticket to its store. */
  submitted?(server: ServerView, ticket: number, operations: readonly StoreOperation[]): void
  /** A ticket of a server is durable. */
  durable?(server: ServerView, ticket: number): void
  /** A batch reached the state machine, which is now current up to `last`; `hash` is its content's. */
  applied?(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void
  /** The state machine has become what a snapshot holds. */
  restored?(server: ServerView, snapshot: SnapshotMeta, hash: number): void
}

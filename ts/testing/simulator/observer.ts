/**
 * What a world tells whoever watches: invariants, the trace, the hash and the counters are all observers. Calls are
 * synchronous and in the order in which things happen. An observer that throws ends the run.
 */

import type { Request, Response } from '../../core/messages.js'
import type { RaftCore } from '../../core/raft-core.js'
import type { Input, Ready } from '../../core/ready.js'
import type { Outcome } from '../../errors.js'
import type { Counters } from '../../server/server.js'
import type { MemoryDisk } from '../../storage/memory/memory-log-store.js'
import type { LogIndex, ServerId, StoreOperation, Term } from '../../types.js'

/** One server, for reading. */
export interface ServerView {
  readonly id: ServerId
  /** Its place in the list of servers, from 0. */
  readonly ordinal: number
  /** Null while its process is down or still opens. */
  readonly core: RaftCore | null
  /** What survives a crash; another one after a wipe. */
  readonly disk: MemoryDisk
  /** Counts the processes of this server, from 1. */
  readonly boot: number
  /** Whether its store has failed or its state machine threw: it must be silent. */
  readonly halted: boolean
  readonly paused: boolean
  /** Of the shell's rooms; null while there is no shell. */
  readonly counters: Counters | null
}

export interface AppliedCommand {
  readonly index: LogIndex
  readonly term: Term
  /** What the client calls it; unique in one world. */
  readonly id: number
}

export interface Operation {
  readonly id: number
  readonly kind: 'write' | 'writes' | 'read' | 'barrier'
  readonly client: number
  readonly server: ServerId
  readonly key: number
  /** The ids of its commands; empty for a read or a barrier. */
  readonly commands: readonly number[]
}

/** How an operation ended. `lost`: the process that it was put to is gone, so its outcome is unknown. */
export interface Returned {
  readonly status: 'ok' | Outcome | 'lost'
  /** The error's code, unless ok. */
  readonly code: string | null
  /** Ok: where its last command stands, or what the state machine had applied when it was read; 0 otherwise. */
  readonly index: number
  /** Ok: what the key held before (write) or holds (read); 0 for nothing. */
  readonly value: number
}

export interface Observer {
  booted?(server: ServerView): void
  /** After each input of the core. */
  stepped?(server: ServerView, core: RaftCore, input: Input): void
  /** The core's decisions of one turn, before any of them is carried out. */
  decided?(server: ServerView, core: RaftCore, ready: Ready): void
  turned?(server: ServerView, core: RaftCore): void
  /** Its process is about to be gone, and whatever is not durable. */
  crashed?(server: ServerView, how: string): void
  /** The disk is another, empty one. */
  wiped?(server: ServerView): void
  sent?(server: ServerView, to: ServerId, message: Request | Response): void
  delivered?(from: ServerId, server: ServerView, message: Request | Response): void
  submitted?(server: ServerView, ticket: number, operations: readonly StoreOperation[]): void
  durable?(server: ServerView, ticket: number): void
  /** A batch reached the state machine, which is now current up to `last`; `hash` is its content's. */
  applied?(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void
  invoked?(operation: Operation): void
  returned?(operation: Operation, returned: Returned): void
  fault?(kind: string, detail: string): void
  /** Phase 2 begins: from here on these servers and all between them work. */
  healed?(core: readonly ServerId[]): void
}

/**
 * What is said between the thread of the user, where the state machine runs, and the worker thread, where the server
 * does.
 */

import type { MessagePort } from 'node:worker_threads'

import type { LeaderHint } from '../../errors.js'
import type { JoinStatus, LogIndex, ServerId, SnapshotMeta, Term, ConfigurationStatus, Recipe } from '../../types.js'
import type { Settings } from '../../options.js'
import type { CommandKind } from '../calls/apply-queue.js'
import type { ChangeRequest } from '../calls/change-queue.js'
import type { CloseOptions } from '../calls/leadership-queue.js'
import type { Replacement } from '../calls/replacement.js'
import type { Consistency } from '../forward/any-server.js'
import type { Retry } from '../forward/trying.js'
import type { ConfigurationAnswer, SnapshotInfo } from '../status.js'
import type { FarBatch, FarProposals } from './batches.js'
import type { WireError } from './wire-error.js'

/** What of the settings crosses as it is. */
type Plain = Pick<
  Settings<unknown, unknown>,
  | ('id' | 'dir' | 'bootstrap' | 'join' | 'joinAs' | 'allowJoin' | 'joinTimeoutMs' | 'recoveries' | 'cluster')
  | ('clients' | 'acceptCopiedFolder' | 'acceptPeerBoot' | 'onRemoved' | 'snapshots' | 'heartbeatMs')
  | ('electionTimeoutMs' | 'electionPriority' | 'thread')
>

/** What the state machine of the user can do. */
export interface MachineAbilities {
  readonly validates: boolean
  readonly hearsConfigurations: boolean
  readonly canSnapshot: boolean
  readonly hasQuery: boolean
}

export interface OpenArg {
  readonly plain: Plain
  readonly transportRecipe: Recipe
  readonly storageRecipe: Recipe
  readonly snapshotStorageRecipe: Recipe
  readonly machine: MachineAbilities
  readonly tellsJoin: boolean
}

/** How long a call waits, and whether it may be called off. */
export interface FarWait {
  readonly timeoutMs?: number
  readonly hasSignal?: boolean
}

/** What a call has come to; `result` null: it was kept in the thread of the user, or there is none. */
export interface FarPlaced {
  readonly index: LogIndex
  readonly term: Term
  readonly result: Uint8Array | null
}

/** What is asked of the worker, and told to it. */
export interface ToServer {
  readonly asks: {
    readonly open: { readonly arg: OpenArg; readonly answer: FarFacts }
    readonly close: { readonly arg: CloseOptions; readonly answer: FarFacts }
    readonly readIndex: { readonly arg: FarWait; readonly answer: LogIndex }
    readonly leaseRead: { readonly arg: FarWait; readonly answer: void }
    readonly query: { readonly arg: FarWait & { readonly consistency: Consistency }; readonly answer: void }
    readonly ready: { readonly arg: FarWait; readonly answer: void }
    readonly waitForLeader: { readonly arg: FarWait; readonly answer: LeaderHint }
    readonly submit: { readonly arg: FarWait & FarSubmission; readonly answer: FarPlaced }
    readonly snapshot: { readonly arg: FarWait; readonly answer: SnapshotInfo }
    readonly transferLeadership: { readonly arg: FarWait & { readonly to: ServerId | null }; readonly answer: ServerId }
    readonly stepDown: { readonly arg: null; readonly answer: void }
    readonly change: { readonly arg: FarWait & FarChange; readonly answer: ConfigurationAnswer }
    readonly replace: {
      readonly arg: FarWait & { readonly replacement: Replacement }
      readonly answer: ConfigurationAnswer
    }
    /** Begins to read a snapshot; the answer names it. */
    readonly exportBegin: { readonly arg: FarWait; readonly answer: number }
    /** Null: that was all. */
    readonly exportNext: { readonly arg: number; readonly answer: Uint8Array | null }
    readonly exportEnd: { readonly arg: number; readonly answer: void }
    /** The next piece of what the state machine is restored from; null: that was all. */
    readonly restoreNext: { readonly arg: null; readonly answer: Uint8Array | null }
  }
  readonly news: {
    readonly proposals: FarProposals
    /** The call of that id, or of that tag, is given up. */
    readonly abort: number
    /** Somebody listens to the event `applied`. */
    readonly hearsApplied: null
    /** So many news of this kind were taken: more may come. */
    readonly newsTaken: number
    /** An event was lost to a watcher. */
    readonly watchDropped: null
  }
}

export interface FarSubmission {
  readonly kind: CommandKind
  readonly bytes: Uint8Array
  readonly retry: Retry
}

export interface FarChange {
  readonly request: ChangeRequest
  readonly voter: ServerId | null
}

/** What is asked of the thread of the user, and told to it. */
export interface ToMachine {
  readonly asks: {
    /** Of each entry whose bytes are wanted, in order; null where no bytes are. */
    readonly apply: { readonly arg: FarBatch; readonly answer: readonly (Uint8Array | WireError)[] | null }
    readonly configured: {
      readonly arg: { readonly configuration: ConfigurationStatus; readonly index: LogIndex }
      readonly answer: void
    }
    /** The hash of the state; its pieces follow. */
    readonly capture: { readonly arg: null; readonly answer: string | null }
    /** Null: that was all. */
    readonly captureNext: { readonly arg: null; readonly answer: Uint8Array | null }
    readonly captureEnd: { readonly arg: null; readonly answer: void }
    readonly restore: { readonly arg: SnapshotMeta; readonly answer: void }
    readonly checkRestored: {
      readonly arg: { readonly expected: string | undefined; readonly meta: SnapshotMeta }
      readonly answer: void
    }
    readonly appliedIndex: { readonly arg: null; readonly answer: number }
    readonly judge: { readonly arg: readonly Uint8Array[]; readonly answer: readonly (WireError | null)[] | null }
    readonly query: { readonly arg: Uint8Array; readonly answer: Uint8Array }
  }
  readonly news: {
    readonly rejected: { readonly tag: number; readonly error: WireError }
    readonly barrier: { readonly tag: number; readonly index: LogIndex }
    /** So many commands, with records of so many bytes, have left the way between the threads. */
    readonly proposalsTaken: { readonly count: number; readonly bytes: number }
    readonly event: { readonly name: string; readonly event: unknown }
    readonly log: {
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly event: string
      readonly fields: unknown
    }
    readonly join: JoinStatus
    /** The server has ended: by an error that halted it, or closed. */
    readonly ended: { readonly fault: WireError | null; readonly hasHalted: boolean; readonly facts: FarFacts }
  }
}

/** What may be looked at without waiting. */
export type FactName = 'status' | 'configuration' | 'entryTime' | 'metrics' | 'health'

/** All of them, with their errors as they cross. */
export type FarFacts = Readonly<Partial<Record<FactName, unknown>>>

/** Given to the worker when it begins. */
export interface WorkerData {
  /** Where looks are answered. */
  readonly facts: MessagePort
  /** Of one number: the newest look that was answered. */
  readonly looks: Int32Array
}

/** What a world tells besides what happens to its servers: calls of clients, faults, and the repair. */

import type { EntryRange, Outcome } from '../../errors.js'
import type { ServerId } from '../../types.js'
import type { DurableView, Observer, ServerView } from '../observer.js'
import type { DiskBefore } from './invariants/repair-invariants.js'

/**
 * What clients with sessions do: send a command, send it again since it may have been done, or though it was answered,
 * or send another one as what was answered before.
 */
export type SessionStep = 'sessionOpen' | 'sessionClose' | 'session' | 'sessionAgain' | 'sessionRepeat' | 'sessionBack'

export interface Operation {
  readonly id: number
  readonly kind: 'write' | 'writes' | 'submit' | 'read' | 'query' | 'readIndex' | 'ready' | 'barrier' | SessionStep
  readonly client: number
  readonly server: ServerId
  /** Of that server. */
  readonly epoch: number
  /** It was asked from outside, through a `RaftClient`, of whichever server that has found. */
  readonly isOutside?: true
  /** A read that the server may answer by its lease. */
  readonly isByLease?: true
  readonly key: number
  /** The ids of its commands; empty for all but writes. */
  readonly commands: readonly number[]
  /** How long it waits at most, in milliseconds of the server's clock; null: as long as it takes. */
  readonly timeoutMs: number | null
  /** When that is over, by the server's clock; Infinity for never. */
  readonly deadline: number
  /** What may end the wait for it; null for nothing. */
  readonly signal: AbortSignal | null
}

/** How an operation ended. `lost`: the process that it was put to is gone, so its outcome is unknown. */
export interface Returned {
  readonly status: 'ok' | Outcome | 'lost'
  /** The error's code, unless ok. */
  readonly code: string | null
  /** Ok: where its last command stands, or what the state machine had applied when it was read; 0 otherwise. */
  readonly index: number
  /** Ok: what was applied on that server when the call returned; 0 otherwise. */
  readonly applied: number
  /** Ok: what the key held before (write) or holds (read); 0 for nothing. */
  readonly value: number
}

export interface WorldObserver extends Observer {
  invoked?(operation: Operation): void
  returned?(operation: Operation, returned: Returned): void
  /** That signal is aborted, and what follows from it has happened: no call waits for it any more. */
  aborted?(signal: AbortSignal): void
  /** Its process has closed or halted, and what follows from it has happened: no call waits for that one any more. */
  ended?(server: ServerView): void
  /** A frame leaves that server on that channel. */
  framed?(server: ServerView, channel: object, frame: Uint8Array): void
  /** A damaged block on its disk, which was so before, was replaced by what another server has. */
  repaired?(server: ServerView, range: EntryRange, before: DiskBefore): void
  fault?(kind: string, detail: string): void
  /** What the disk of that server held was this log; now it begins another epoch, in which it alone votes. */
  recovered?(server: ServerView, log: DurableView): void
  /** Phase 2 begins: from here on these servers and all between them work. */
  healed?(core: readonly ServerId[]): void
}

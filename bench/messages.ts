/** What the bench and its servers say to each other over the channel between parent and child process. */

import type { StoreStats } from 'balsa-raft'

export type ToServer =
  /** Apply in a closed loop: `inFlight` callers, each with one command at a time. */
  | { readonly type: 'load'; readonly inFlight: number; readonly payloadBytes: number; readonly milliseconds: number }
  | { readonly type: 'usage' }
  | { readonly type: 'close' }

export interface Usage {
  readonly type: 'usage'
  readonly role: string
  readonly appliedIndex: number
  readonly store: StoreStats
  /** User and system time of the process since it started. */
  readonly cpuMicroseconds: number
  readonly rssBytes: number
}

export interface LoadResult {
  readonly type: 'loaded'
  /** One number per command, in milliseconds. */
  readonly latencies: readonly number[]
  readonly milliseconds: number
}

export type FromServer = { readonly type: 'ready' } | Usage | LoadResult

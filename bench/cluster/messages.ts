/** What the bench and its servers say to each other over the channel between parent and child process. */

import type { StoreStats } from 'balsa-raft'
import type { ThreadName, TransportName } from '../settings.js'

/**
 * `session`: commands of sessions of this process, as few as may have so many under way. `observedApply`: metrics are
 * read meanwhile as text, and everything that is published is listened to but single calls; `tracedApply`: these alone.
 */
export type Work =
  | 'apply'
  | 'submit'
  | 'session'
  | 'observedApply'
  | 'tracedApply'
  | 'linearizableRead'
  | 'leaseRead'
  | 'query'
  | 'staleRead'

/**
 * Closed loop: that many callers, each with one operation at a time. Open loop: operations begin at a fixed rate, come
 * what may.
 */
export type Pace = { readonly inFlight: number } | { readonly perSecond: number }

export interface Load {
  readonly work: Work
  readonly pace: Pace
  readonly payloadBytes: number
  readonly milliseconds: number
}

/** With what a server is started. */
export interface ServerWords {
  readonly id: string
  readonly dir: string
  readonly bootstrap: readonly { readonly id: string; readonly address: string }[]
  readonly transport: TransportName
  /** The folder with what TLS needs, where `transport` is that. */
  readonly certificates: string
  readonly thread: ThreadName
  /** What its snapshots have; 0 for none. */
  readonly snapshotBytes: number
  /** When there are snapshots. */
  readonly taken: 'asked' | 'automatic'
}

export type ToServer =
  | { readonly type: 'load'; readonly load: Load }
  /** The latencies of the last load. Asked apart, so that sorting them is not measured. */
  | { readonly type: 'latencies' }
  /** `restart`: figures of the event loop begin anew. */
  | { readonly type: 'usage'; readonly restart: boolean }
  /** The open loop under way begins nothing more. */
  | { readonly type: 'endLoad' }
  | { readonly type: 'snapshot' }
  | { readonly type: 'close' }

export interface Usage {
  readonly type: 'usage'
  readonly role: string
  readonly appliedIndex: number
  readonly store: StoreStats
  /** User and system time of the process since it started. */
  readonly cpuMicroseconds: number
  /** Time in garbage collection since it started. */
  readonly gcMilliseconds: number
  /** How late the event loop was, at the 99th percentile, since the last restart. */
  readonly loopDelayP99: number
  readonly rssBytes: number
  /**
   * What of it belongs to files, the map of the log above all: the system takes it back when it needs room. 0 where it
   * does not tell, so that all counts as the process's own.
   */
  readonly mappedBytes: number
}

export interface Loaded {
  readonly type: 'loaded'
  readonly operations: number
  /**
   * Refused because too much waited. A closed loop asks again after the next answer; an open loop gives the command up.
   */
  readonly refused: number
  readonly milliseconds: number
  /** From the planned end, after which nothing is begun, to the last answer. */
  readonly drainMilliseconds: number
}

/** The load could not be carried to its end: why. */
export interface Failed {
  readonly type: 'failed'
  readonly message: string
}

/** In milliseconds. */
export interface Latencies {
  readonly type: 'latencies'
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Taken, and durable. */
export interface SnapshotTaken {
  readonly type: 'snapshotTaken'
  readonly index: number
}

export type FromServer = { readonly type: 'ready' } | Usage | Loaded | Latencies | SnapshotTaken | Failed

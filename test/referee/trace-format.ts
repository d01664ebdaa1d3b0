/**
 * A trace: what the servers of one cluster did, one JSON object per line, in the words of the Raft paper (figure 2) and
 * of Ongaro's thesis. The first line names the cluster. README.md says when each line is to be written.
 */

/** Who counts for quorum: a majority of each half. */
export interface Voters {
  readonly voters: readonly string[]
  /** The other half of a joint configuration. */
  readonly outgoing: readonly string[] | null
}

/** Consecutive entries of one term: `first`, `first` + 1, ..., one hash for each. */
export interface Stretch {
  readonly first: number
  readonly term: number
  /** Equal for equal commands. */
  readonly hashes: readonly string[]
  /** What its only entry puts in force, as soon as it is in a log (thesis 4.1). */
  readonly configuration?: Voters
}

/** What a log stands on whose first entries were discarded. */
export interface Snapshot {
  /** Unique to the one that was made. */
  readonly id: string
  /** The last entry that it covers. */
  readonly index: number
  readonly term: number
  /** In force there. */
  readonly voters: Voters
}

/** It has made that snapshot; the entries before `first` are discarded, the last of which is of term `prevTerm`. */
export interface Compaction {
  readonly step: 'compact'
  readonly first: number
  readonly prevTerm: number
  readonly snapshot: Snapshot
}

/** Another server has made that snapshot: what it covers is discarded, and where it does not keep it, all the rest. */
export interface Installation {
  readonly step: 'install'
  readonly snapshot: Snapshot
  readonly keeps: boolean
}

export interface AppendEntries {
  readonly type: 'AppendEntries'
  readonly term: number
  readonly prevIndex: number
  readonly prevTerm: number
  readonly entries: readonly Stretch[]
  readonly commit: number
  /** Numbers the rounds of one leadership, for reads (thesis 6.4). */
  readonly round: number
}

export interface AppendEntriesResult {
  readonly type: 'AppendEntriesResult'
  readonly term: number
  readonly success: boolean
  /** The last entry that is durable there and equal to the leader's; 0: it says nothing. */
  readonly match: number
  readonly round: number
}

export interface RequestVote {
  readonly type: 'RequestVote'
  readonly term: number
  readonly lastIndex: number
  readonly lastTerm: number
}

export interface RequestVoteResult {
  readonly type: 'RequestVoteResult'
  readonly term: number
  readonly granted: boolean
}

/** Thesis 9.6. */
export interface PreVote {
  readonly type: 'PreVote'
  readonly proposedTerm: number
  readonly lastIndex: number
  readonly lastTerm: number
  /** Names the attempt; grows within one boot. */
  readonly round: number
}

export interface PreVoteResult {
  readonly type: 'PreVoteResult'
  readonly term: number
  readonly granted: boolean
  readonly round: number
}

/** Thesis 3.10. */
export interface TimeoutNow {
  readonly type: 'TimeoutNow'
  readonly term: number
}

export type Message =
  AppendEntries | AppendEntriesResult | RequestVote | RequestVoteResult | PreVote | PreVoteResult | TimeoutNow

/** One step of an atomic write. */
export type WriteStep =
  | { readonly step: 'append'; readonly entries: Stretch }
  /** Entries from there on are removed. */
  | { readonly step: 'truncate'; readonly from: number }
  | { readonly step: 'state'; readonly term: number; readonly votedFor: string | null; readonly commit: number }
  | Compaction
  | Installation

export type TraceEvent =
  | ({
      readonly event: 'cluster'
      /**
       * `global`: the lines stand in the order in which they happened. `perServer`: only those of the same server do.
       */
      readonly order: 'global' | 'perServer'
      /** Whether the servers ask for pre-votes before they campaign. */
      readonly preVote: boolean
      /** Who counts where a log holds no configuration. */
    } & Voters)
  /** A process begins, with what it found in its stable storage. */
  | {
      readonly event: 'boot'
      readonly server: string
      readonly term: number
      readonly votedFor: string | null
      readonly commit: number
      /** What the log stands on; null while all of it is there. */
      readonly snapshot: Snapshot | null
      /** The first entry that is there; one after the last when none is. */
      readonly first: number
      readonly last: number
      /** The log as runs of terms: where each begins. */
      readonly runs: readonly { readonly first: number; readonly term: number }[]
    }
  /** It hands an atomic write to its stable storage: 1, 2, 3, ... in each boot. */
  | {
      readonly event: 'write'
      readonly server: string
      readonly write: number
      readonly steps: readonly WriteStep[]
    }
  /** That write, and all before it, are in stable storage. */
  | { readonly event: 'persisted'; readonly server: string; readonly write: number }
  /**
   * What it is after it has taken in some messages. `durable`: the last entry that it takes to be in its stable
   * storage.
   */
  | {
      readonly event: 'turn'
      readonly server: string
      readonly role: string
      readonly term: number
      readonly votedFor: string | null
      readonly lastIndex: number
      readonly lastTerm: number
      readonly commit: number
      readonly durable: number
    }
  | { readonly event: 'send'; readonly from: string; readonly to: string; readonly message: Message }
  | { readonly event: 'receive'; readonly from: string; readonly to: string; readonly message: Message }
  | { readonly event: 'apply'; readonly server: string; readonly entries: Stretch }
  /** Its state machine has become what the snapshot at `index` holds. */
  | { readonly event: 'restore'; readonly server: string; readonly index: number }
  /** A client asks a server to read; `read` is unique in that boot. */
  | { readonly event: 'read'; readonly server: string; readonly read: number }
  /** It may be answered from the state at `index`; null: it was refused. */
  | { readonly event: 'answer'; readonly server: string; readonly read: number; readonly index: number | null }
  /** The process ends, however. */
  | { readonly event: 'crash'; readonly server: string }
  /** Its stable storage has failed: from here on it must be silent. */
  | { readonly event: 'halt'; readonly server: string }

export type ServerEvent = Exclude<TraceEvent, { readonly event: 'cluster' }>
export type ClusterEvent = Extract<TraceEvent, { readonly event: 'cluster' }>

export type Trace = readonly TraceEvent[]

export function formatTrace(trace: Trace): string {
  return trace.map((event) => `${JSON.stringify(event)}\n`).join('')
}

/** Throws a SyntaxError that names the line. Only the frame is checked: whoever writes traces is a test of ours. */
export function parseTrace(text: string): Trace {
  return text.split('\n').flatMap((line, at) => {
    if (line.trim() === '') return []
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch (error) {
      throw new SyntaxError(`line ${at + 1} is not JSON`, { cause: error })
    }
    if (typeof value !== 'object' || value === null || !('event' in value)) {
      throw new SyntaxError(`line ${at + 1} is not an event`)
    }
    return [value as TraceEvent]
  })
}

/** Whose order an event stands in. */
export function serverOf(event: ServerEvent): string {
  if (event.event === 'send') return event.from
  if (event.event === 'receive') return event.to
  return event.server
}

/** The entries of a stretch one by one. */
export function entriesIn({ first, term, hashes, configuration }: Stretch): readonly {
  readonly index: number
  readonly term: number
  readonly hash: string
  readonly configuration?: Voters
}[] {
  const more = configuration === undefined ? {} : { configuration }
  return hashes.map((hash, at) => ({ index: first + at, term, hash, ...more }))
}

/**
 * The words every room shares: positions in the log, servers, configurations, blocks, clocks.
 * Data only. Everything here is `readonly`: what leaves a room is never changed afterwards.
 */

declare const brand: unique symbol

/** A position in the log. The first entry has index 1; 0 means "before the log". Always a safe integer. */
export type LogIndex = number & { readonly [brand]: 'LogIndex' }

/** A Raft term. The first term is 1; 0 means "no term yet". Always a safe integer. */
export type Term = number & { readonly [brand]: 'Term' }

/** Names an index. The caller has checked it, or computed it from one that was; gateways check with `isPosition`. */
export const logIndex = (value: number): LogIndex => value as LogIndex

/** Names a term. The caller has checked it, or computed it from one that was; gateways check with `isPosition`. */
export const termOf = (value: number): Term => value as Term

/**
 * The largest index, term, round or boot counter that is believed when a peer says it. Servers count on from what they
 * believe, and what they count must still be a whole number that can be stored, sent and counted on from: half of all
 * are kept for that. Whoever counts a million times a second comes here after 140 years.
 */
export const POSITION_MAX = 2 ** 52

/**
 * The same for what a server finds in its own store: what it believed, and what it counted on from there. Above it lies
 * room for 2^32 more elections or starts.
 */
export const STORED_MAX = 2 ** 53 - 2 ** 32

/** Whether a number that came from outside may be an index or a term: a whole number in 0 .. max. */
export const isPosition = (value: unknown, max = Number.MAX_SAFE_INTEGER): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max

/** The id of a server: 1 to 255 bytes of UTF-8, chosen by the operator, never reused for another store. */
export type ServerId = string

/**
 * What a later version says of a server or of a configuration. Whoever does not know it carries it unchanged into the
 * next configuration; when it is required, the configuration is refused instead (docs/storage-format.md).
 */
export interface Extension {
  /** 1 to 64 characters of a-z, 0-9 and -, the first one a letter; once in its list. */
  readonly name: string
  readonly isRequired: boolean
  readonly value: Uint8Array
}

/** What operators say of a server: at most 16 keys, 1 KiB of keys and values in all. */
export type ServerMeta = Readonly<Record<string, string>>

/** A member of the cluster and the address at which its peers dial it (`host:port`). */
export interface Server {
  readonly id: ServerId
  readonly address: string
  /** Absent when there is none. */
  readonly extensions?: readonly Extension[]
}

/** A member that does not count for quorum. */
export interface Nonvoter extends Server {
  /** Whoever is leader promotes it to voter once it has caught up. */
  readonly promote: boolean
}

/**
 * The set of servers, one shape for the plain and the joint form (6, thesis 4.3).
 * A quorum is a majority of `voters` and, while `outgoing` is not null, also a majority of `outgoing`.
 */
export interface Configuration {
  readonly voters: readonly Server[]
  readonly outgoing: readonly Server[] | null
  readonly nonvoters: readonly Nonvoter[]
  /** How long a leader's lease lasts (docs/reads.md), in whole milliseconds; absent: there are no leases. */
  readonly leaseMs?: number
  /** Absent when there is none. */
  readonly extensions?: readonly Extension[]
}

/** A member, as it is told: with what operators have said of it. */
export interface Member {
  readonly id: ServerId
  readonly address: string
  /** Absent when nothing was said. */
  readonly meta?: ServerMeta
}

/** The set of servers, as it is told. */
export interface ConfigurationStatus {
  readonly voters: readonly Member[]
  /** The other half of a joint configuration; null in a plain one. */
  readonly outgoing: readonly Member[] | null
  /** `promote`: whoever leads makes it a voter once it has caught up. */
  readonly nonvoters: readonly (Member & { readonly promote: boolean })[]
  /** How long a leader's lease lasts, in milliseconds (`setLease`); absent: there are no leases. */
  readonly leaseMs?: number
}

/** What an entry is for. `apply` of the state machine is given commands, its `configured` configurations. */
export type EntryKind = 'command' | 'noop' | 'barrier' | 'configuration'

/**
 * Consecutive entries of one term, sealed once and then carried unchanged: the same bytes go to the store, to the
 * sockets and to the state machine (`block.ts` knows the bytes; the core does not look at them).
 *
 * Invariants: first <= last; every entry has this `term`; a configuration entry is alone in its block, and then
 * `configuration` is its decoded form.
 */
export interface Block {
  readonly first: LogIndex
  readonly last: LogIndex
  readonly term: Term
  /** The sealed bytes; `data.byteLength` is what every bound in bytes counts. */
  readonly data: Uint8Array
  readonly configuration: Configuration | null
}

/**
 * A stretch of the log written in one term: from `first` up to the next run's `first` - 1, or to the end of the log.
 */
export interface TermRun {
  readonly first: LogIndex
  readonly term: Term
}

/** What must survive a crash besides the log (figure 2, "persistent state"). Term and vote change in one write. */
export interface HardState {
  readonly term: Term
  /** Cleared only when the term grows. */
  readonly votedFor: ServerId | null
  /** A lower bound of the commit index; rides along in writes made for other reasons. */
  readonly commitIndex: LogIndex
}

/** What a snapshot covers: the state of the machine with every entry up to `index` applied. */
export interface SnapshotMeta {
  /** 32 hex digits, drawn at random by its maker. */
  readonly id: string
  /** The last entry that it covers, the term of that entry, and its time (milliseconds since 1970). */
  readonly index: LogIndex
  readonly term: Term
  readonly time: number
  /** In force at `index`, and the entry that it came from. */
  readonly configuration: Configuration
  readonly configurationIndex: LogIndex
  /** As every configuration entry says it. */
  readonly clusterName: string
}

/** What every snapshot says of itself: docs/snapshots.md. */
export interface SnapshotHeader extends SnapshotMeta {
  /** 32 hex digits. */
  readonly clusterId: string
  /** Of the store of the server that made it: 32 hex digits. */
  readonly incarnation: string
  /** Of the state that it holds, as the machine that made it said: 2 .. 128 hex digits; none where it said nothing. */
  readonly stateHash?: string
  /** With so many bytes of sessions its data begins; the rest is the machine's. Not there where there are none. */
  readonly sessionBytes?: number
}

/**
 * What a command of a session is known by, on every server. Plain data, to be kept, or sent as JSON: whatever comes
 * back is checked where a session is resumed with it.
 */
export interface SessionToken {
  /** The session: the index of the entry that opened it. */
  readonly id: number
  /** Which command of the session, from 1 on. */
  readonly sequence: number
}

/** One step of a ticket. Steps take effect in order, all or none. */
export type StoreOperation =
  /** Invariant: block.first === lastIndex + 1 at that step. */
  | { readonly type: 'append'; readonly block: Block }
  /** Deletes every entry with index >= from. Invariant: firstIndex <= from <= lastIndex. */
  | { readonly type: 'truncateSuffix'; readonly from: LogIndex }
  /**
   * From now on the log stands on that snapshot, which is whole and durable before this is submitted. With `keepSuffix`
   * the entries from `first` on stay: a server that made the snapshot keeps some behind it for peers that lag.
   * Without, every entry goes: what was received says more than the log, or other than it. Invariants: firstIndex <=
   * first <= snapshot.index + 1; with `keepSuffix`, snapshot.index <= lastIndex; without, first = snapshot.index + 1;
   * snapshot.index never falls.
   */
  | {
      readonly type: 'compact'
      /** The first entry that is kept, or that will be appended next. */
      readonly first: LogIndex
      /** The term of the entry before it, which a consistency check may ask for (5.3). */
      readonly prevTerm: Term
      readonly snapshot: SnapshotMeta
      readonly keepSuffix: boolean
    }
  | { readonly type: 'hardState'; readonly hardState: HardState }
  /**
   * Small facts of the server itself, such as the identities of its peers. Key: 1 to 255 bytes of UTF-8; value: at most
   * 4 KiB.
   */
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: string }

/** What stands behind the id of a server: votes are of a store (core/electorate.ts). */
export interface StoreIdentity {
  /** 32 hex digits, drawn at random when the store was created: one that was wiped or replaced has another. */
  readonly incarnation: string
  /** It was added to its cluster, and did not begin as one of the first members. */
  readonly hasJoined: boolean
}

/** Who a server is to its peers. */
export interface Identity {
  /** 32 hex digits: the first 16 bytes of SHA-256 over the bootstrap entry, and then over each recovery. */
  readonly clusterId: string
  /** What it was before each recovery from a lost quorum, the oldest first; absent when nobody asks. Never sent. */
  readonly formerClusterIds?: readonly string[]
  readonly serverId: ServerId
  /** 32 hex digits, drawn at random when the store was created: one that was wiped or replaced has another. */
  readonly incarnation: string
  /** Grows by one at each open of the store. */
  readonly bootCounter: number
  /** 32 hex digits, drawn at random for this boot: two lives that begin from one folder differ in it. */
  readonly bootNonce: string
}

/** One start of a server: its counter, and the nonce that was drawn for it. */
export interface Boot {
  readonly bootCounter: number
  readonly bootNonce: string
}

/** What a server says of itself to one peer, at one moment. */
export interface Introduction extends Identity {
  /** Earlier boots of the sender, ascending: the newest ones, and the one that this peer has asked for. At most 64. */
  readonly boots: readonly Boot[]
  /** Which boot of the other side the sender has pinned, and wants to be shown; 0 for none. */
  readonly knownBoot: number
  /** The term in which the sender is. */
  readonly term: Term
  /** Where the log ends that the sender has on its disk. */
  readonly lastIndex: LogIndex
  /** As of a StoreIdentity; absent when it has not. */
  readonly hasJoined?: boolean
  /** The other side was added, as the sender knows, and is no first member; absent when it does not know of that. */
  readonly targetWasAdded?: boolean
}

/** With how much a server calls for an election as soon as any: with each less it waits an election timeout more. */
export const ELECTION_PRIORITY_MAX = 4

/**
 * What a server is in its term (5.1); a preCandidate asks whether an election could be won, and has begun none (thesis
 * 9.6).
 */
export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader'

/** Cancels a timer; calling it again, or after the timer has fired, does nothing. */
export type CancelTimer = () => void

/** Time as injected: tests and the simulator bring their own. */
export interface Clock {
  /** Monotonic milliseconds, with fractions. */
  now(): number
  /**
   * As `now`, and goes on while the machine is suspended: by it a leader counts its lease. Never falls; called for
   * reads. Absent, or Infinity: there is no such clock, and reads by lease are as linearizable ones.
   */
  bootNow?(): number
  /** Milliseconds since 1970, as the machine believes. */
  wallNow(): number
  /** Calls back once, after so long at the earliest, unless it is cancelled. */
  setTimer(delayMs: number, callback: () => void): CancelTimer
  /**
   * Runs `callback` once, later, when everything that has arrived by then was handed over; the turns of a server run
   * here.
   */
  defer(callback: () => void): void
}

/**
 * How something is made again in another thread: `make`, exported by the module at that URL, called with `options`,
 * which are plain data.
 */
export interface Recipe {
  readonly module: string
  readonly make: string
  readonly options: unknown
}

/**
 * One line per event; `fields` is plain data. What it throws or rejects with goes nowhere, and is noted once, as a
 * warning of the process.
 */
export interface Logger {
  /** What helps who looks for a defect. */
  debug(event: string, fields?: Readonly<Record<string, unknown>>): void
  /** What happens in the life of a server. */
  info(event: string, fields?: Readonly<Record<string, unknown>>): void
  /** What somebody may want to look at. */
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void
  /** What somebody must look at. */
  error(event: string, fields?: Readonly<Record<string, unknown>>): void
}

/** What became of the last question to one address. */
export interface JoinAnswer {
  readonly address: string
  /** In words: what was told there and what helps, or why nothing was. Nobody has checked it. */
  readonly text: string
}

/** What a server waits for that is to be added to a cluster, and whom it asks. */
export interface JoinStatus {
  /**
   * `cluster`: to be told which cluster that is. `leader`: to be made a nonvoter by whoever leads, as `joinAs` asks.
   * `operator`: to be added; it asks nobody.
   */
  readonly waitsFor: 'cluster' | 'leader' | 'operator'
  /** The address that is being asked now; null while none is. */
  readonly asking: string | null
  /** By address, in the order in which they were first asked: at most twice as many as `join` names. */
  readonly answers: readonly JoinAnswer[]
  /** When they are asked again, in milliseconds since 1970; null while they are asked, or when nobody is any more. */
  readonly nextAt: number | null
}

/** The addon as TypeScript sees it: generated from src/lib.rs when it is built. `npm run fix` copies it here. */

/** Milliseconds on a clock that goes on while the machine is suspended; infinity where there is none. Never falls. */
export declare function bootNow(): number

/**
 * Waits until everything submitted is durable, or the store is poisoned, then releases the directory. `stats` and
 * `fault` answer until `release`.
 */
export declare function close(handle: number): Promise<void>

/** Makes a handle for a store that `open` fills. */
export declare function create(): number

/** `CODE: message` of what poisoned the store; null while it is sound. */
export declare function fault(handle: number): string | null

/**
 * Opens the store in `dir` to be read, with the checks of `open` and under its lock; null where there is none. Nothing
 * is changed. `read`, `stats` and `close` are those of an open store; a ticket is refused.
 */
export declare function look(handle: number, dir: string, allowRemote: boolean, mapBytes: number, journal: boolean): Promise<NativeState | null>

/** One configuration entry of the log. */
export interface NativeConfiguration {
  /** Its index. */
  index: number
  /** Its payload, as the entry carries it. */
  payload: Uint8Array
}

/** A damaged block of the log, as a read has met it. */
export interface NativeDamage {
  /** The first entry that it held, of those that are kept. */
  first: number
  /** The last one. */
  last: number
  /** `CODE: message`, as an error has it. */
  message: string
}

/** One fact of the server. */
export interface NativeFact {
  /** Its name. */
  key: string
  /** Its value. */
  value: Uint8Array
}

/** One thing that is damaged. */
export interface NativeFinding {
  /** Its path. */
  file: string
  /** The broken rule. */
  detail: string
  /** What is lost: `nothing`, `log` or `state`. */
  loss: string
  /** The first entry that is lost; absent: none. */
  first?: number
  /** The last one; absent: nobody knows. */
  last?: number
}

/** What a store takes over from the one in whose place it is made. */
export interface NativeSeed {
  /** 16 bytes. */
  incarnation: Uint8Array
  /** That of its last boot. */
  bootCounter: number
  /** Stands behind the engine in `FORMAT`. */
  mark: string
}

/** On what the log stands. */
export interface NativeSnapshot {
  /** 32 hex digits. */
  id: string
  /** The last entry that it covers. */
  index: number
  /** The term of that entry. */
  term: number
  /** The time of that entry, in milliseconds since 1970. */
  time: number
  /** The entry from which its configuration came. */
  configurationIndex: number
  /** The payload of that configuration. */
  configuration: Uint8Array
}

/** What the store held when it was opened. */
export interface NativeState {
  /** Index of the first entry kept. */
  first: number
  /** The term of the entry before it; 0 where there is none. */
  prevTerm: number
  /** Absent while the log was never compacted. */
  snapshot?: NativeSnapshot
  /** Index of the last entry. */
  last: number
  /** The current term. */
  term: number
  /** A lower bound of the commit index. */
  commit: number
  /** Whom this server voted for; absent: nobody. */
  votedFor?: string
  /** Ascending. */
  terms: Array<NativeTermRun>
  /** Ascending. */
  configurations: Array<NativeConfiguration>
  /** In the order of their names. */
  facts: Array<NativeFact>
  /** 32 hex digits. */
  incarnation: string
  /** Grows by one at each open. */
  bootCounter: number
  /** Whether the last close was orderly. */
  wasClean: boolean
  /** Whether a flush reaches a device. */
  onDevice: boolean
  /** What the operator should know about the filesystem. */
  warning?: string
  /** By what the filesystem tells the data file from a copy of it. */
  fingerprint?: string
}

/** Counters since open, and the durable bounds of the log. */
export interface NativeStats {
  /** Index of the first entry. */
  first: number
  /** Index of the last durable entry. */
  last: number
  /** Group commits that carried tickets. */
  groupCommits: number
  /** Device flushes asked for, by them and by sweeps. */
  flushes: number
  /** Calls of the wake callback. */
  wakes: number
  /** Bytes of tickets made durable. */
  bytesWritten: number
  /** Bytes of the data file that hold something. */
  usedBytes: number
  /** Their bound. */
  capacityBytes: number
  /** Bytes of tickets that are durable in the journal, and not in the data file yet. */
  behindBytes: number
}

/** One stretch of the log written in one term. */
export interface NativeTermRun {
  /** Its first index. */
  first: number
  /** Its term. */
  term: number
}

/** What a verification has found; what is damaged is absent. */
export interface NativeVerification {
  /** A bounded list. */
  findings: Array<NativeFinding>
  /** How many more there were. */
  leftOff: number
  /** The first entry of the log. */
  first?: number
  /** The last one. */
  last?: number
  /** Bytes of rows that are intact. */
  bytes: number
  /** The payload of the newest configuration. */
  configuration?: Uint8Array
  /** Of the snapshot on which the log stands: 32 hex digits. */
  snapshotId?: string
  /** Whose folder it is. */
  serverId?: string
}

/**
 * Opens or creates the store in `dir`; `mapBytes` bounds its data file, 0 for the default; `journal`: with a journal in
 * front of it; `seed`: only creates it, so. `onWake` is called, at most once until the next `poll`, when `poll` has
 * news. An open store keeps the event loop alive, as an open socket does.
 */
export declare function open(handle: number, dir: string, allowRemote: boolean, mapBytes: number, journal: boolean, onWake: () => unknown, seed?: NativeSeed | undefined | null): Promise<NativeState>

/** Writes durable ticket, credit, poisoned, stalled and full (0 or 1) into `out`. */
export declare function poll(handle: number, out: Float64Array): void

/**
 * Reads entries lo .. hi-1 into `out`, which the caller leaves alone until the promise settles. Resolves to the bytes
 * filled, or to minus the bytes that the first entry needs. 0: the log has no entry `lo`. A damaged block of which is
 * known what it held is told, not thrown.
 */
export declare function read(handle: number, lo: number, hi: number, bytesMax: number, out: Uint8Array): Promise<number | NativeDamage>

/** Forgets a closed store. Its handle is not used again. */
export declare function release(handle: number): void

/**
 * Puts sealed blocks, back to back, which are copied, in the place of the damaged block of the entries `first` to
 * `last`. Resolves when that is durable; to false where there is no such block any more, and nothing was changed.
 */
export declare function repair(handle: number, first: number, last: number, blocks: Uint8Array): Promise<boolean>

/** Seals the block that stands in `arena` at `offset`; returns its length. */
export declare function seal(arena: Uint8Array, offset: number): number

/** Counters. */
export declare function stats(handle: number): NativeStats

/** Queues the ticket in the first `length` bytes of `packed`, which are copied; returns its number. */
export declare function submit(handle: number, packed: Uint8Array, length: number): number

/** Whether a sealed block is intact. */
export declare function verify(block: Uint8Array): boolean

/**
 * Holds every page, row and batch of the store in `dir` against its checksums, under its lock; null where there is
 * none. Nothing is changed. Damage is in the answer; an error is whatever else refuses an open.
 */
export declare function verifyStore(dir: string, allowRemote: boolean, mapBytes: number, journal: boolean): Promise<NativeVerification | null>

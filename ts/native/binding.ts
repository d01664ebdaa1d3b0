/** The addon as TypeScript sees it: `src/lib.rs`, export by export. A test checks that the names agree. */

export interface NativeTermRun {
  readonly first: number
  readonly term: number
}

export interface NativeState {
  readonly first: number
  readonly last: number
  readonly term: number
  readonly commit: number
  /** Absent: no vote. */
  readonly votedFor?: string
  readonly terms: readonly NativeTermRun[]
  readonly configurations: readonly { readonly index: number; readonly payload: Uint8Array }[]
  readonly facts: readonly { readonly key: string; readonly value: Uint8Array }[]
  /** 32 hex digits. */
  readonly incarnation: string
  readonly bootCounter: number
  /** Whether the last close was orderly. */
  readonly wasClean: boolean
  /** Whether a flush reaches a device. */
  readonly onDevice: boolean
  /** What the operator should know about the filesystem. */
  readonly warning?: string
  /** By what the filesystem tells the data file from a copy of it; absent where it does not. */
  readonly fingerprint?: string
}

export interface NativeStats {
  readonly first: number
  readonly last: number
  readonly groupCommits: number
  readonly flushes: number
  readonly wakes: number
  readonly bytesWritten: number
  readonly usedBytes: number
  readonly capacityBytes: number
}

/** Functions throw errors with the message `CODE: text`; load.ts makes them what they are. */
export interface NativeBinding {
  /** A handle for a store that `open` fills. */
  create(): number
  /** An open store keeps the event loop alive, as an open socket does. `mapBytes` bounds its data file; 0: the default. */
  open(handle: number, dir: string, allowRemote: boolean, mapBytes: number, onWake: () => void): Promise<NativeState>
  seal(arena: Uint8Array, offset: number): number
  verify(block: Uint8Array): boolean
  /** Queues the ticket in the first `length` bytes of `packed`, copied. */
  submit(handle: number, packed: Uint8Array, length: number): number
  /** Fills durable ticket, credit, poisoned, stalled and full (0 or 1). */
  poll(handle: number, out: Float64Array): void
  /** `CODE: text` of what poisoned the store; null while it is sound. */
  fault(handle: number): string | null
  /**
   * Fills `out`, which nobody touches until the promise settles, with blocks. Resolves to the bytes filled, or to minus the
   * bytes that the first entry needs. 0: the log has no entry `lo`.
   */
  read(handle: number, lo: number, hi: number, bytesMax: number, out: Uint8Array): Promise<number>
  stats(handle: number): NativeStats
  /** `stats`, `poll` and `fault` answer until `release`. */
  close(handle: number): Promise<void>
  release(handle: number): void
}

/** Every export of the addon. */
export const NATIVE_EXPORTS: readonly (keyof NativeBinding)[] = [
  'create',
  'open',
  'seal',
  'verify',
  'submit',
  'poll',
  'fault',
  'read',
  'stats',
  'close',
  'release',
]

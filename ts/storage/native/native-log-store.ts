/**
 * The store on disk: the contract of log-store.ts over the addon, which keeps the log in LMDB behind one writer thread.
 * One native call per ticket in, one wake per group commit out; the bytes are those of docs/storage-format.md.
 */

import { assert, RaftError } from '../../errors.js'
import { blockLengthAt, decodeBlock } from '../../format/block.js'
import { decodeConfiguration } from '../../format/configuration.js'
import { MalformedBytes } from '../../format/malformed.js'
import { OperationPacker } from '../../format/operations.js'
import type { NativeBinding, NativeState } from '../../native/binding.js'
import { loadNative, nativeError } from '../../native/load.js'
import { checkOptionNames } from '../../option-checks.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, LogIndex, StoreOperation } from '../../types.js'
import type { LogStore, StoredState, StoreFactory, StoreProgress, StoreStats, Ticket } from '../log-store.js'

/** One slice of a read; the engine returns no more at once, except for one larger entry. */
const READ_BYTES_MAX = 1024 * 1024

/** Set to 1 to accept a directory on NFS, SMB, 9p or FUSE, where flushes and locks may mean nothing. */
const ALLOW_REMOTE_VARIABLE = 'BALSA_ALLOW_REMOTE_FS'

/** Stores in LMDB, one for each directory. */
export function nativeStore(options: Readonly<Record<string, never>> = {}): StoreFactory {
  checkOptionNames('nativeStore', options, [])
  return { name: 'lmdb', create: (dir) => new LmdbLogStore(dir) }
}

/** While it is open it keeps the process alive, as an open socket does. */
export class LmdbLogStore implements LogStore {
  private readonly dir: string
  private readonly packer = new OperationPacker()
  private readonly polled = new Float64Array(4)
  private readonly progress: { durable: Ticket; credit: number; fault: RaftError | null; stalled: boolean } = {
    durable: 0,
    credit: 0,
    fault: null,
    stalled: false,
  }
  private phase: 'new' | 'opening' | 'open' | 'closing' | 'closed' = 'new'
  private native: NativeBinding | null = null
  private handle = 0
  private opened: Promise<unknown> = Promise.resolve()
  private closed: Promise<void> | null = null
  private lastStats: StoreStats | null = null
  /** A buffer that the last read did not hand out. */
  private spare: Uint8Array | null = null

  constructor(dir: string) {
    this.dir = dir
  }

  open(onWake: () => void): Promise<StoredState> {
    assert(this.phase === 'new', `open of a store that is ${this.phase}`)
    this.phase = 'opening'
    const opening = this.openOnce(onWake)
    this.opened = opening.catch(() => {})
    return opening
  }

  // Hot path: once per batch.
  seal(arena: Uint8Array, offset: number): number {
    try {
      return this.binding().seal(arena, offset)
    } catch (error) {
      throw nativeError(error)
    }
  }

  // Hot path: once per batch.
  verify(block: Uint8Array): boolean {
    return this.binding().verify(block)
  }

  // Hot path: once per batch.
  submit(operations: readonly StoreOperation[]): Ticket {
    if (this.phase !== 'open') throw closedError(this.dir, 'submit')
    assert(operations.length > 0, 'a ticket without operations')
    const packed = this.packer.pack(operations)
    try {
      return this.binding().submit(this.handle, packed, packed.length)
    } catch (error) {
      throw nativeError(error)
    }
  }

  // Hot path: once per turn.
  poll(): StoreProgress {
    if (this.phase === 'open' || this.phase === 'closing') this.refresh(this.binding())
    return this.progress
  }

  async read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]> {
    if (this.phase !== 'open') throw closedError(this.dir, 'read')
    assert(lo >= 1 && lo < hi, `read of ${lo} .. ${hi - 1}`)
    assert(maxBytes >= 1, `read of at most ${maxBytes} bytes`)
    const most = Math.min(maxBytes, READ_BYTES_MAX)
    let out = this.takeBuffer(most)
    try {
      let filled = await this.binding().read(this.handle, lo, hi, most, out)
      if (filled < 0) {
        out = Buffer.allocUnsafeSlow(-filled)
        filled = await this.binding().read(this.handle, lo, hi, most, out)
      }
      assert(filled >= 0, `a read of ${lo} needs ${-filled} bytes, more than it said`)
      return decodeBlocks(this.dir, this.keepOrCopy(out, filled))
    } catch (error) {
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  stats(): StoreStats {
    if (this.lastStats !== null) return this.lastStats
    assert(this.phase === 'open' || this.phase === 'closing', `stats of a store that is ${this.phase}`)
    const { first, last, groupCommits, flushes, wakes, bytesWritten } = this.binding().stats(this.handle)
    return { firstIndex: first, lastIndex: last, groupCommits, flushes, wakes, bytesWritten }
  }

  close(): Promise<void> {
    this.closed ??= this.closeOnce()
    return this.closed
  }

  private async openOnce(onWake: () => void): Promise<StoredState> {
    let wasOpened = false
    try {
      this.native = loadNative()
      this.handle = this.native.create()
      const allowRemote = process.env[ALLOW_REMOTE_VARIABLE] === '1'
      const state = await this.native.open(this.handle, this.dir, allowRemote, () => {
        if (this.phase !== 'closed') onWake()
      })
      wasOpened = true
      const stored = storedState(this.dir, state)
      this.phase = 'open'
      return stored
    } catch (error) {
      this.phase = 'closed'
      await this.giveUp(wasOpened)
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  private async closeOnce(): Promise<void> {
    await this.opened
    if (this.phase === 'new') this.phase = 'closed'
    if (this.phase !== 'open') return
    this.phase = 'closing'
    const native = this.binding()
    try {
      await native.close(this.handle)
    } catch (error) {
      throw nativeError(error)
    } finally {
      this.refresh(native)
      this.lastStats = this.stats()
      this.phase = 'closed'
      native.release(this.handle)
    }
  }

  /** After a failed open: a store that was opened before the failure is closed. */
  private async giveUp(wasOpened: boolean): Promise<void> {
    if (this.native === null) return
    if (wasOpened) await this.native.close(this.handle)
    this.native.release(this.handle)
  }

  private binding(): NativeBinding {
    if (this.native === null) throw closedError(this.dir, 'a call')
    return this.native
  }

  private refresh(native: NativeBinding): void {
    native.poll(this.handle, this.polled)
    this.progress.durable = this.polled[0] ?? 0
    this.progress.credit = this.polled[1] ?? 0
    this.progress.stalled = this.polled[3] === 1
    if (this.polled[2] === 1 && this.progress.fault === null) this.progress.fault = faultOf(native, this.handle)
  }

  private takeBuffer(bytes: number): Uint8Array {
    const spare = this.spare
    this.spare = null
    return spare !== null && spare.length >= bytes ? spare : Buffer.allocUnsafeSlow(bytes)
  }

  /** A buffer that is mostly empty is not worth keeping alive for its blocks. */
  private keepOrCopy(out: Uint8Array, filled: number): Uint8Array {
    const view = out.subarray(0, filled)
    if (filled > out.length / 2) return view
    this.spare = out
    return new Uint8Array(view)
  }
}

function faultOf(native: NativeBinding, handle: number): RaftError {
  const error = nativeError(native.fault(handle) ?? 'no reason was given')
  if (error instanceof RaftError) return error
  throw error
}

function storedState(dir: string, state: NativeState): StoredState {
  return {
    firstIndex: logIndex(state.first),
    lastIndex: logIndex(state.last),
    hardState: {
      term: termOf(state.term),
      votedFor: state.votedFor ?? null,
      commitIndex: logIndex(state.commit),
    },
    termRuns: state.terms.map((run) => ({ first: logIndex(run.first), term: termOf(run.term) })),
    configurations: state.configurations.map(({ index, payload }) => ({
      index: logIndex(index),
      configuration: configurationAt(dir, index, payload),
    })),
    incarnation: state.incarnation,
    bootCounter: state.bootCounter,
    facts: new Map(state.facts.map(({ key, value }) => [key, value])),
    durability: state.onDevice ? 'device' : 'none',
    warning: state.warning ?? null,
  }
}

function configurationAt(dir: string, index: number, payload: Uint8Array): Configuration {
  try {
    return decodeConfiguration(payload).configuration
  } catch (cause) {
    throw corruptError(dir, index, cause)
  }
}

/** One after the other; each is a view of `bytes`. */
function decodeBlocks(dir: string, bytes: Uint8Array): readonly Block[] {
  const blocks: Block[] = []
  try {
    for (let at = 0; at < bytes.length;) {
      const end = at + blockLengthAt(bytes, at)
      blocks.push(decodeBlock(bytes.subarray(at, end)))
      at = end
    }
  } catch (cause) {
    throw corruptError(dir, (blocks.at(-1)?.last ?? 0) + 1, cause)
  }
  return blocks
}

/** Bytes with a right checksum that mean nothing: written by something that is not this version of Balsa. */
function corruptError(dir: string, index: number, cause: unknown): Error {
  if (!(cause instanceof MalformedBytes)) return nativeError(cause)
  return new RaftError('ERR_RAFT_STORE_CORRUPT', `The log in ${dir} at index ${index}: ${cause.message}.`, { cause })
}

function closedError(dir: string, call: string): RaftError {
  return new RaftError('ERR_RAFT_CLOSED', `${call} on the store in ${dir}, which is not open; open it, or make another`)
}

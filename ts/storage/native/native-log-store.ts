/**
 * The store on disk: the contract of log-store.ts over the addon, which keeps the log in LMDB behind one writer thread.
 * One native call per ticket in, one wake per group commit out; the bytes are those of docs/storage-format.md.
 */

import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { assert, RaftError } from '../../errors.js'
import { blockLengthAt, decodeBlock } from '../../format/block.js'
import { decodeConfiguration } from '../../format/configuration.js'
import type { ConfigurationPayload } from '../../format/configuration.js'
import { viewOf } from '../../format/little-endian.js'
import { MalformedBytes, UnknownFormat } from '../../format/malformed.js'
import { OperationPacker } from '../../format/operations.js'
import type { NativeSeed, NativeSnapshot, NativeState, NativeVerification } from '../../native/binding.js'
import { loadNative, nativeError } from '../../native/load.js'
import type { NativeBinding } from '../../native/load.js'
import { checkOptionNames } from '../../option-checks.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, Configuration, LogIndex, SnapshotMeta, StoreOperation } from '../../types.js'
import { FORMAT_FILE, markFault } from '../format-line.js'
import { READ_BYTES_MAX } from '../log-store.js'
import type { LogStore, StoredState, StoreFactory, StoreProgress, StoreStats, Ticket } from '../log-store.js'
import type { Loss, StoreSeed, StoreSurvey } from '../verification.js'

/** Set to 1 to accept a directory on NFS, SMB, 9p or FUSE, where flushes and locks may mean nothing. */
const ALLOW_REMOTE_VARIABLE = 'BALSA_ALLOW_REMOTE_FS'

/** Says which mode, where the option does not. */
const MODE_VARIABLE = 'BALSA_STORE_MODE'

const MODES = ['lmdb', 'journal'] as const
/** What a group commit writes: a transaction of LMDB, or a batch of a journal that LMDB follows. */
export type NativeStoreMode = (typeof MODES)[number]

/** Where nothing else is said; docs/adr/0012 has the figures. */
const DEFAULT_MODE: NativeStoreMode = 'journal'

/** Says in bytes how large the map is, where the option does not. */
const MAP_BYTES_VARIABLE = 'BALSA_MAP_BYTES'

const MIB = 1024 ** 2
const GIB = 1024 ** 3

/** Room for a log and for what a new leader needs beside it. */
const MAP_BYTES_MIN = 4 * MIB
/** The address space of a process on 64-bit machines is at least that. */
const MAP_BYTES_MAX = 2 ** 46
/** A multiple of every page size. */
const MAP_STEP_BYTES = MIB

/** What `nativeStore` takes. */
export interface NativeStoreOptions {
  /**
   * The bound of a log's data file, in bytes: address space, not disk. 4 MiB .. 64 TiB, rounded up to a MiB; it may be
   * another one at each start. Default: the environment variable BALSA_MAP_BYTES, else 64 GiB (1 GiB on 32-bit
   * machines). From 15/16 of it on nothing is proposed (ERR_RAFT_STORE_FULL).
   */
  readonly mapBytes?: number
  /**
   * `journal`: each group commit is one write and one flush of a journal, which takes 32 to 256 MiB of the directory,
   * and LMDB follows. `lmdb`: it is a transaction of LMDB, which flushes twice. A directory of the one mode is
   * converted when it is opened in the other. Default: the environment variable BALSA_STORE_MODE, else `journal`.
   */
  readonly mode?: NativeStoreMode
}

/** Stores in LMDB, behind a journal or without one: one for each directory. */
export function nativeStore(options: NativeStoreOptions = {}): StoreFactory {
  checkOptionNames('nativeStore', options, ['mapBytes', 'mode'])
  const mapBytes = options.mapBytes === undefined ? null : checkMapBytes('option mapBytes', options.mapBytes)
  const mode = options.mode === undefined ? modeOfEnvironment() : checkMode('option mode', options.mode)
  const recipe = {
    module: import.meta.url,
    make: 'nativeStore',
    options: { mode, ...(mapBytes === null ? {} : { mapBytes }) },
  }
  return { name: mode, recipe, create: (dir) => new NativeLogStore(dir, mapBytes, mode) }
}

/** While it is open it keeps the process alive, as an open socket does. */
export class NativeLogStore implements LogStore {
  /** Absolute: a process may change its working directory. */
  readonly #dir: string
  readonly #packer = new OperationPacker()
  readonly #mapBytes: number | null
  readonly #mode: NativeStoreMode
  readonly #seed: StoreSeed | null
  readonly #polled = new Float64Array(5)
  readonly #progress: { -readonly [Field in keyof StoreProgress]: StoreProgress[Field] } = {
    durable: 0,
    credit: 0,
    fault: null,
    stalled: false,
    full: null,
  }
  /** `looking`: it is only read. */
  #phase: 'new' | 'opening' | 'open' | 'looking' | 'closing' | 'closed' = 'new'
  #native: NativeBinding | null = null
  #handle = 0
  #opened: Promise<unknown> = Promise.resolve()
  #closed: Promise<void> | null = null
  #lastStats: StoreStats | null = null
  /** A buffer that the last read did not hand out. */
  #spare: Uint8Array | null = null

  /**
   * `mapBytes` null: as the environment says. `seed`: the store is made in place of another one, and must not be there.
   */
  constructor(
    dir: string,
    mapBytes: number | null = null,
    mode: NativeStoreMode = DEFAULT_MODE,
    seed: StoreSeed | null = null,
  ) {
    this.#seed = seed
    this.#dir = resolve(dir)
    this.#mapBytes = mapBytes
    this.#mode = mode
  }

  open(onWake: () => void): Promise<StoredState> {
    assert(this.#phase === 'new', `open of a store that is ${this.#phase}`)
    this.#phase = 'opening'
    const opening = this.#openOnce(onWake)
    this.#opened = opening.catch(() => {})
    return opening
  }

  async inspect(): Promise<StoredState | null> {
    const stored = await this.look()
    await this.close()
    return stored
  }

  /** Instead of `open`: `read`, `stats` and `close` are those of an open store, and nothing is changed. */
  async look(): Promise<StoredState | null> {
    assert(this.#phase === 'new', `a look at a store that is ${this.#phase}`)
    this.#phase = 'closed'
    let wasOpened = false
    try {
      await checkMark(this.#dir)
      this.#native = loadNative()
      this.#handle = this.#native.create()
      const state = await this.#native.look(this.#handle, this.#dir, ...this.#settings())
      wasOpened = state !== null
      const stored = state === null ? null : storedState(this.#dir, state)
      if (stored === null) await this.#giveUp(false)
      else this.#phase = 'looking'
      return stored
    } catch (error) {
      await this.#giveUp(wasOpened)
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  /** Instead of `open`: everything that is damaged. Null where no store was made. */
  async survey(): Promise<StoreSurvey | null> {
    assert(this.#phase === 'new', `a survey of a store that is ${this.#phase}`)
    this.#phase = 'closed'
    try {
      await checkMark(this.#dir)
      const found = await loadNative().verifyStore(this.#dir, ...this.#settings())
      return found === null ? null : surveyOf(found)
    } catch (error) {
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  // Hot path: once per batch.
  seal(arena: Uint8Array, offset: number): number {
    try {
      return this.#binding().seal(arena, offset)
    } catch (error) {
      throw nativeError(error)
    }
  }

  // Hot path: once per batch.
  verify(block: Uint8Array): boolean {
    return this.#binding().verify(block)
  }

  // Hot path: once per batch.
  submit(operations: readonly StoreOperation[]): Ticket {
    if (this.#phase !== 'open') throw closedError(this.#dir, 'submit')
    assert(operations.length > 0, 'a ticket without operations')
    const packed = this.#packer.pack(operations)
    try {
      return this.#binding().submit(this.#handle, packed, packed.length)
    } catch (error) {
      throw nativeError(error)
    }
  }

  // Hot path: once per turn.
  poll(): StoreProgress {
    if (this.#phase === 'open' || this.#phase === 'closing') this.#refresh(this.#binding())
    return this.#progress
  }

  async read(lo: LogIndex, hi: LogIndex, maxBytes: number): Promise<readonly Block[]> {
    if (this.#phase !== 'open' && this.#phase !== 'looking') throw closedError(this.#dir, 'read')
    assert(lo >= 1 && lo < hi, `read of ${lo} .. ${hi - 1}`)
    assert(maxBytes >= 1, `read of at most ${maxBytes} bytes`)
    const most = Math.min(maxBytes, READ_BYTES_MAX)
    let out = this.#takeBuffer(most)
    const fill = async (): Promise<number> => {
      const filled = await this.#binding().read(this.#handle, lo, hi, most, out)
      if (typeof filled === 'number') return filled
      const { first, last, message } = filled
      throw nativeError(message, { first: logIndex(first), last: logIndex(last) })
    }
    try {
      let filled = await fill()
      if (filled < 0) {
        out = Buffer.allocUnsafeSlow(-filled)
        filled = await fill()
      }
      assert(filled >= 0, `a read of ${lo} needs ${-filled} bytes, more than it said`)
      return decodeBlocks(this.#dir, this.#keepOrCopy(out, filled))
    } catch (error) {
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  async repair(first: LogIndex, last: LogIndex, blocks: readonly Block[]): Promise<boolean> {
    if (this.#phase !== 'open') throw closedError(this.#dir, 'repair')
    try {
      const bytes = Buffer.concat(blocks.map(({ data }) => data))
      return await this.#binding().repair(this.#handle, first, last, bytes)
    } catch (error) {
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  stats(): StoreStats {
    if (this.#lastStats !== null) return this.#lastStats
    assert(['open', 'looking', 'closing'].includes(this.#phase), `stats of a store that is ${this.#phase}`)
    const { first, last, ...counts } = this.#binding().stats(this.#handle)
    return { firstIndex: first, lastIndex: last, ...counts }
  }

  close(): Promise<void> {
    this.#closed ??= this.#closeOnce()
    return this.#closed
  }

  async #openOnce(onWake: () => void): Promise<StoredState> {
    let wasOpened = false
    try {
      await checkMark(this.#dir)
      this.#native = loadNative()
      this.#handle = this.#native.create()
      const wake = (): void => {
        if (this.#phase !== 'closed') onWake()
      }
      const settings = this.#settings()
      const state = await this.#native.open(this.#handle, this.#dir, ...settings, wake, nativeSeed(this.#seed))
      wasOpened = true
      const stored = storedState(this.#dir, state)
      this.#phase = 'open'
      return stored
    } catch (error) {
      this.#phase = 'closed'
      await this.#giveUp(wasOpened)
      throw error instanceof RaftError ? error : nativeError(error)
    }
  }

  /** Whether remote filesystems are accepted, the size of the map, and whether there is a journal. */
  #settings(): [allowRemote: boolean, mapBytes: number, journal: boolean] {
    const allowRemote = process.env[ALLOW_REMOTE_VARIABLE] === '1'
    return [allowRemote, this.#mapBytes ?? mapBytesOfEnvironment(), this.#mode === 'journal']
  }

  async #closeOnce(): Promise<void> {
    await this.#opened
    if (this.#phase === 'new') this.#phase = 'closed'
    if (this.#phase !== 'open' && this.#phase !== 'looking') return
    this.#phase = 'closing'
    const native = this.#binding()
    try {
      await native.close(this.#handle)
    } catch (error) {
      throw nativeError(error)
    } finally {
      this.#refresh(native)
      this.#lastStats = this.stats()
      this.#phase = 'closed'
      native.release(this.#handle)
    }
  }

  /** After a failed open: a store that was opened before the failure is closed. */
  async #giveUp(wasOpened: boolean): Promise<void> {
    if (this.#native === null) return
    if (wasOpened) await this.#native.close(this.#handle)
    this.#native.release(this.#handle)
  }

  #binding(): NativeBinding {
    if (this.#native === null) throw closedError(this.#dir, 'a call')
    return this.#native
  }

  #refresh(native: NativeBinding): void {
    native.poll(this.#handle, this.#polled)
    this.#progress.durable = this.#polled[0] ?? 0
    this.#progress.credit = this.#polled[1] ?? 0
    this.#progress.stalled = this.#polled[3] === 1
    if (this.#polled[2] === 1 && this.#progress.fault === null) this.#progress.fault = faultOf(native, this.#handle)
    if (this.#polled[4] === 1) this.#progress.full ??= this.#fullError()
    else this.#progress.full = null
  }

  #fullError(): RaftError {
    const { usedBytes, capacityBytes } = this.stats()
    return new RaftError(
      'ERR_RAFT_STORE_FULL',
      `the log in ${this.#dir} takes ${sizeText(usedBytes)} of its map of ${sizeText(capacityBytes ?? 0)}; what is left is kept for the changes of leaders, and nothing more is proposed. A snapshot lets it be compacted, and ends that. If there is none, or it does not help, start this server again with a larger map, one server after the other: the option mapBytes of nativeStore(), or the environment variable ${MAP_BYTES_VARIABLE}`,
    )
  }

  #takeBuffer(bytes: number): Uint8Array {
    const spare = this.#spare
    this.#spare = null
    return spare !== null && spare.length >= bytes ? spare : Buffer.allocUnsafeSlow(bytes)
  }

  /** A buffer that is mostly empty is not worth keeping alive for its blocks. */
  #keepOrCopy(out: Uint8Array, filled: number): Uint8Array {
    const view = out.subarray(0, filled)
    if (filled > out.length / 2) return view
    this.#spare = out
    return new Uint8Array(view)
  }
}

/** The addon refuses a mark too, as an engine that it does not know; this says what it is. */
async function checkMark(dir: string): Promise<void> {
  // What cannot be read is told by the open.
  const text = await readFile(join(dir, FORMAT_FILE), 'utf8').catch(() => '')
  const fault = markFault(dir, text)
  if (fault !== null) throw fault
}

function nativeSeed(seed: StoreSeed | null): NativeSeed | null {
  if (seed === null) return null
  const { incarnation, ...rest } = seed
  return { incarnation: Buffer.from(incarnation, 'hex'), ...rest }
}

function surveyOf(found: NativeVerification): StoreSurvey {
  const { findings, leftOff, first, last, bytes, configuration, serverId, snapshotId } = found
  return {
    flaws: findings.map((each) => {
      const { file, detail, loss } = each
      return { file, detail, loss: loss as Loss, first: each.first ?? null, last: each.last ?? null }
    }),
    leftOff,
    firstIndex: first ?? null,
    lastIndex: last ?? null,
    bytes,
    configuration: configuration === undefined ? null : readableConfiguration(configuration),
    serverId: serverId ?? null,
    snapshotId: snapshotId ?? null,
  }
}

/** Null of a later version: what it says is not known here. */
function readableConfiguration(payload: Uint8Array): Configuration | null {
  try {
    return decodeConfiguration(payload).configuration
  } catch (error) {
    if (error instanceof MalformedBytes) return null
    throw error
  }
}

function sizeText(bytes: number): string {
  return bytes < GIB ? `${(bytes / MIB).toPrecision(3)} MiB` : `${(bytes / GIB).toPrecision(3)} GiB`
}

function mapBytesOfEnvironment(): number {
  const text = process.env[MAP_BYTES_VARIABLE] ?? ''
  return text === '' ? 0 : checkMapBytes(`the environment variable ${MAP_BYTES_VARIABLE}`, Number(text))
}

function modeOfEnvironment(): NativeStoreMode {
  const text = process.env[MODE_VARIABLE] ?? ''
  return text === '' ? DEFAULT_MODE : checkMode(`the environment variable ${MODE_VARIABLE}`, text)
}

function checkMode(name: string, value: string): NativeStoreMode {
  const mode = MODES.find((known) => known === value)
  if (mode !== undefined) return mode
  throw new RaftError('ERR_RAFT_OPTIONS', `${name} is ${JSON.stringify(value)}; it must be one of ${MODES.join(', ')}`)
}

function checkMapBytes(name: string, bytes: number): number {
  if (Number.isSafeInteger(bytes) && bytes >= MAP_BYTES_MIN && bytes <= MAP_BYTES_MAX) {
    return Math.ceil(bytes / MAP_STEP_BYTES) * MAP_STEP_BYTES
  }
  const bounds = `${MAP_BYTES_MIN} .. ${MAP_BYTES_MAX}`
  throw new RaftError('ERR_RAFT_OPTIONS', `${name} is ${bytes}; it must be a whole number of bytes, ${bounds}`)
}

function faultOf(native: NativeBinding, handle: number): RaftError {
  const error = nativeError(native.fault(handle) ?? 'no reason was given')
  if (error instanceof RaftError) return error
  throw error
}

function storedState(dir: string, state: NativeState): StoredState {
  return {
    firstIndex: logIndex(state.first),
    prevTerm: termOf(state.prevTerm),
    snapshot: state.snapshot === undefined ? null : snapshotMeta(dir, state.snapshot),
    lastIndex: logIndex(state.last),
    hardState: {
      term: termOf(state.term),
      votedFor: state.votedFor ?? null,
      commitIndex: logIndex(state.commit),
    },
    termRuns: state.terms.map((run) => ({ first: logIndex(run.first), term: termOf(run.term) })),
    configurations: state.configurations.map(({ index, payload }) => ({
      index: logIndex(index),
      configuration: payloadAt(dir, index, payload).configuration,
    })),
    incarnation: state.incarnation,
    bootCounter: state.bootCounter,
    facts: new Map(state.facts.map(({ key, value }) => [key, value])),
    durability: state.onDevice ? 'device' : 'none',
    warning: state.warning ?? null,
    fingerprint: state.fingerprint ?? null,
  }
}

function snapshotMeta(dir: string, { configuration: payload, ...snapshot }: NativeSnapshot): SnapshotMeta {
  return {
    id: snapshot.id,
    index: logIndex(snapshot.index),
    term: termOf(snapshot.term),
    time: snapshot.time,
    configurationIndex: logIndex(snapshot.configurationIndex),
    ...payloadAt(dir, snapshot.index, payload),
  }
}

function payloadAt(dir: string, index: number, payload: Uint8Array): ConfigurationPayload {
  try {
    return decodeConfiguration(payload)
  } catch (cause) {
    throw corruptError(dir, index, cause)
  }
}

/** One after the other; each is a view of `bytes`. */
function decodeBlocks(dir: string, bytes: Uint8Array): readonly Block[] {
  const blocks: Block[] = []
  const view = viewOf(bytes)
  try {
    for (let at = 0; at < bytes.length;) {
      const end = at + blockLengthAt(view, at)
      blocks.push(decodeBlock(bytes.subarray(at, end)))
      at = end
    }
  } catch (cause) {
    throw corruptError(dir, (blocks.at(-1)?.last ?? 0) + 1, cause)
  }
  return blocks
}

/**
 * Bytes with a right checksum that mean nothing: written by something that is not this version of Balsa, or by a later
 * one.
 */
function corruptError(dir: string, index: number, cause: unknown): Error {
  if (!(cause instanceof MalformedBytes)) return nativeError(cause)
  const code = cause instanceof UnknownFormat ? 'ERR_RAFT_STORE_FORMAT' : 'ERR_RAFT_STORE_CORRUPT'
  return new RaftError(code, `The log in ${dir} at index ${index}: ${cause.message}.`, { cause })
}

function closedError(dir: string, call: string): RaftError {
  return new RaftError('ERR_RAFT_CLOSED', `${call} on the store in ${dir}, which is not open; open it, or make another`)
}

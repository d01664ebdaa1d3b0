/**
 * Snapshots in memory, for tests and the simulator: the store of files over a filesystem that forgets, when its process
 * dies, whatever was not flushed. A `MemorySnapshotDisk` is what survives. It looks at no clock and draws nothing, and
 * tests disturb it.
 */

import { basename, dirname } from 'node:path'

import type { DiskFile, Files } from '../disk/files.js'
import { assert } from '../errors.js'
import { checkOptionNames } from '../option-checks.js'
import { FileSnapshotStore } from './file-snapshot-store.js'
import { SNAPSHOT_SUFFIX } from './partial-file.js'
import type { SnapshotStoreFactory } from './snapshot-store.js'

/** What a `MemorySnapshotDisk`, or a `memorySnapshotStore`, is made with. */
export interface MemorySnapshotDiskOptions {
  /**
   * When a call of the disk is carried out: it is given a function to call later. The default: at once, as far as
   * promises allow. A slow disk is `(done) => clock.setTimer(5, done)`.
   */
  readonly completion?: (done: () => void) => void
}

interface Inode {
  current: Uint8Array
  durable: Uint8Array
}

/** A disk in memory for files of snapshots: what was not flushed is gone when its power fails. */
export class MemorySnapshotDisk implements Files {
  readonly #completion: ((done: () => void) => void) | null
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  /** Another one for each process: what an earlier one has open is dead. */
  #life = 1
  #calls = 0
  #failing: { readonly call: number; readonly code: string } | null = null
  #dyingAt = Infinity
  #isFull = false

  constructor(options: MemorySnapshotDiskOptions = {}) {
    checkOptionNames('MemorySnapshotDisk', options, ['completion'])
    this.#completion = options.completion ?? null
  }

  /** Calls so far that change something. */
  get calls(): number {
    return this.#calls
  }

  /** Another disk that holds what is durable on this one: a backup, or a snapshot of a volume. */
  copy(
    options: MemorySnapshotDiskOptions = this.#completion === null ? {} : { completion: this.#completion },
  ): MemorySnapshotDisk {
    const disk = new MemorySnapshotDisk(options)
    for (const [path, { durable }] of this.#durableNames) disk.#durableNames.set(path, { current: durable, durable })
    disk.#names = new Map(disk.#durableNames)
    return disk
  }

  /**
   * The power fails: what was not flushed is gone, every call under way fails, and the disk can be used again. A disk
   * may also have written names that nobody has flushed.
   */
  crash(areNamesKept = false): void {
    this.kill()
    if (areNamesKept) this.#durableNames = new Map(this.#names)
    this.#names = new Map(this.#durableNames)
    for (const inode of this.#names.values()) inode.current = inode.durable
  }

  /** The process dies: every call under way fails, and what was not flushed is still there, but not durable. */
  kill(): void {
    this.#life += 1
    this.#failing = null
    this.#dyingAt = Infinity
  }

  /** The k-th call from now on that changes something (1: the next) fails, half done if it is a write. */
  failCall(k: number, code = 'EIO'): void {
    assert(k >= 1, `the call to fail is number ${k}, not 1 or more`)
    this.#failing = { call: this.#calls + k, code }
  }

  /** The k-th call from now on that changes something, and all after it, do nothing and fail, until `crash`. */
  dieAt(k: number): void {
    assert(k >= 1, `the call to die at is number ${k}, not 1 or more`)
    this.#dyingAt = this.#calls + k
  }

  /** No write finds room until `heal`. */
  fill(): void {
    this.#isFull = true
  }

  /** Ends what `fill` and `failCall` began. */
  heal(): void {
    this.#isFull = false
    this.#failing = null
  }

  /** Whether that snapshot is there, and would be after a failure of the power. */
  holds(id: string): boolean {
    const name = id + SNAPSHOT_SUFFIX
    for (const [path, inode] of this.#durableNames) {
      if (path.endsWith(name)) return this.#names.get(path) === inode && inode.current.length === inode.durable.length
    }
    return false
  }

  /** Bit rot: changes one bit of that snapshot, counted from its first byte; the next read finds out. */
  flipBit(id: string, bit: number): void {
    const inode = [...this.#names].find(([path]) => basename(path) === id + SNAPSHOT_SUFFIX)?.[1]
    assert(inode !== undefined, `no snapshot ${id}`)
    const bytes = inode.current.slice()
    const byte = (bit >>> 3) % bytes.length
    bytes[byte] = (bytes[byte] ?? 0) ^ (1 << (bit & 7))
    inode.current = bytes
    inode.durable = bytes
  }

  openFile(path: string): Promise<DiskFile | null> {
    return this.#call(() => {
      const inode = this.#names.get(path)
      return inode === undefined ? null : this.#fileOf(inode)
    })
  }

  createFile(path: string): Promise<DiskFile> {
    return this.#call(() => {
      this.#suffer()
      const inode = { current: new Uint8Array(0), durable: new Uint8Array(0) }
      this.#names.set(path, inode)
      return this.#fileOf(inode)
    })
  }

  /** The names in a folder. */
  list(dir: string): Promise<readonly string[]> {
    return this.#call(() =>
      [...this.#names.keys()].filter((path) => dirname(path) === dir).map((path) => basename(path)),
    )
  }

  makeDirectory(): Promise<void> {
    return this.#call(() => {})
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(() => {
      this.#suffer()
      const inode = this.#names.get(from)
      if (inode === undefined) throw systemError('ENOENT')
      this.#names.delete(from)
      this.#names.set(to, inode)
    })
  }

  remove(path: string): Promise<void> {
    return this.#call(() => {
      this.#suffer()
      this.#names.delete(path)
    })
  }

  syncDirectory(dir: string): Promise<void> {
    return this.#call(() => {
      this.#suffer()
      const others = [...this.#durableNames].filter(([path]) => dirname(path) !== dir)
      this.#durableNames = new Map([...others, ...[...this.#names].filter(([path]) => dirname(path) === dir)])
    })
  }

  #fileOf(inode: Inode): DiskFile {
    const life = this.#life
    const call = <T>(run: () => T): Promise<T> => this.#call(run, life)
    return {
      write: (bytes, position) =>
        call(() => {
          if (this.#isFull) throw systemError('ENOSPC')
          this.#suffer(() => put(inode, bytes.subarray(0, bytes.length >>> 1), position))
          put(inode, bytes, position)
          return bytes.length
        }),
      read: (into, position) =>
        call(() => {
          const part = inode.current.subarray(position, position + into.length)
          into.set(part)
          return part.length
        }),
      datasync: () =>
        call(() => {
          this.#suffer()
          inode.durable = inode.current.slice()
        }),
      truncate: (length) =>
        call(() => {
          this.#suffer()
          inode.current = inode.current.slice(0, length)
        }),
      size: () => call(() => inode.current.length),
      close: async () => {},
    }
  }

  /** Later, if the process that asked still lives then. */
  async #call<T>(run: () => T, life = this.#life): Promise<T> {
    const completion = this.#completion
    if (completion !== null) await new Promise<void>((resolve) => completion(resolve))
    if (life !== this.#life) throw systemError('EIO')
    return run()
  }

  /** One call that changes something: fails it, with `half` of its effect, when its turn has come. */
  #suffer(half: () => void = () => {}): void {
    this.#calls += 1
    if (this.#calls >= this.#dyingAt) throw systemError('EIO')
    if (this.#failing?.call !== this.#calls) return
    half()
    throw systemError(this.#failing.code)
  }
}

/** Disks by directory name: a store made again for the same directory finds what was kept. */
export interface MemorySnapshotStoreFactory extends SnapshotStoreFactory {
  /** The disk of this folder, made when it is first asked for. */
  disk(dir: string): MemorySnapshotDisk
  /** Whoever opens that folder next finds a new, empty disk. */
  wipe(dir: string): void
}

/** Snapshots in memory, for tests: the store of files, over a disk of each folder that outlives its server. */
export function memorySnapshotStore(options: MemorySnapshotDiskOptions = {}): MemorySnapshotStoreFactory {
  checkOptionNames('memorySnapshotStore', options, ['completion'])
  const disks = new Map<string, MemorySnapshotDisk>()
  const disk = (dir: string): MemorySnapshotDisk => {
    const known = disks.get(dir) ?? new MemorySnapshotDisk(options)
    disks.set(dir, known)
    return known
  }
  const wipe = (dir: string): void => void disks.delete(dir)
  return { name: 'memory', disk, wipe, create: (dir) => new FileSnapshotStore(dir, disk(dir)) }
}

/** Copies the whole: what is kept here is small. */
function put(inode: Inode, bytes: Uint8Array, position: number): void {
  const grown = new Uint8Array(Math.max(inode.current.length, position + bytes.length))
  grown.set(inode.current)
  grown.set(bytes, position)
  inode.current = grown
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: as the disk in memory was told`), { code })
}

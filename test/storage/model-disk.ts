/**
 * A disk in memory for the file store, as pessimistic as POSIX allows: what was not flushed may be there or not after
 * the power fails, sector by sector and name by name; and after a flush that failed, what was to be flushed passes for
 * clean.
 */

import { dirname, join } from 'node:path'

import type { DiskFile } from '#balsa/disk/files.js'
import { RaftError } from '#balsa/errors.js'
import type { Disk, FileAt } from '#balsa/storage/file/disk.js'

import type { Random } from '../support/seed.js'

const SECTOR_BYTES = 64

export type Call = 'write' | 'datasync' | 'truncate' | 'create' | 'rename' | 'remove' | 'syncDirectory'

/** What becomes of one call that changes something: 'dead' is the failure of the power, in the middle of it. */
export type Fate = 'done' | 'dead' | { readonly error: string; readonly afterBytes?: number }

interface Inode {
  readonly number: bigint
  current: Uint8Array
  durable: Uint8Array
  /** Sectors that differ, as far as the system knows. */
  dirty: Set<number>
}

export class ModelDisk implements Disk {
  /** Calls so far that change something. */
  calls = 0
  fateOf: (call: Call, number: number) => Fate = () => 'done'
  pauses = 0
  /** What the writer waits for while the disk is full. */
  onPause: () => Promise<void> = () => new Promise((resolve) => setImmediate(resolve))
  magic: number | null = null
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  /** Of names, not flushed, oldest first. */
  #changes: { readonly dir: string; readonly how: (names: Map<string, Inode>) => void }[] = []
  readonly #locked = new Set<string>()
  readonly #looks = new Set<() => void>()
  #inodes = 0n
  #power = 1

  /**
   * The power fails, if it has not yet, and comes back. `keep` draws for each sector, length and change
   * of a name that was not flushed.
   */
  restart(keep: () => boolean): void {
    this.#power += 1
    this.#locked.clear()
    this.fateOf = () => 'done'
    this.calls = 0
    const names = this.#durableNames
    for (const { how } of this.#changes) if (keep()) how(names)
    this.#changes = []
    this.#names = new Map(names)
    for (const inode of new Set(names.values())) settle(inode, keep)
  }

  /** The process dies, and the system goes on. */
  killProcess(): void {
    this.#power += 1
    this.#locked.clear()
    this.fateOf = () => 'done'
    this.calls = 0
  }

  bytesOf(path: string): Uint8Array {
    const inode = this.#names.get(path)
    if (inode === undefined) throw new Error(`no file ${path}`)
    return inode.current.slice()
  }

  /** Puts a file there, durably. */
  place(path: string, bytes: Uint8Array): void {
    const inode = { ...this.#makeInode(), current: bytes.slice(), durable: bytes.slice() }
    this.#names.set(path, inode)
    this.#durableNames.set(path, inode)
  }

  /** Somebody deletes a file, whoever has it open. */
  deleteFile(path: string): void {
    this.#names.delete(path)
  }

  /** The moment at which whoever watches looks. */
  letLook(): void {
    for (const look of this.#looks) look()
  }

  /** A disk of its own with the same durable files: other files, to a filesystem. */
  copy(): ModelDisk {
    const disk = new ModelDisk()
    disk.#inodes = this.#inodes
    for (const [path, inode] of this.#names) disk.place(path, inode.current)
    return disk
  }

  async openFile(path: string): Promise<DiskFile | null> {
    const inode = this.#names.get(path)
    return inode === undefined ? null : this.#fileOf(inode)
  }

  async createFile(path: string): Promise<DiskFile> {
    await this.#begin('create')
    const inode = this.#makeInode()
    this.#change(path, (names) => names.set(path, inode))
    return this.#fileOf(inode)
  }

  async readText(path: string): Promise<string | null> {
    const inode = this.#names.get(path)
    return inode === undefined ? null : new TextDecoder().decode(inode.current)
  }

  async readStart(path: string, bytes: number): Promise<Uint8Array> {
    return this.#names.get(path)?.current.slice(0, bytes) ?? new Uint8Array(0)
  }

  async fileAt(path: string): Promise<FileAt | null> {
    const inode = this.#names.get(path)
    return inode === undefined ? null : { device: 1n, inode: inode.number, bornNs: inode.number, changedNs: 0n }
  }

  watch(look: () => void): () => void {
    this.#looks.add(look)
    return () => this.#looks.delete(look)
  }

  async list(dir: string): Promise<readonly string[]> {
    return [...this.#names.keys()]
      .filter((path) => path.startsWith(join(dir, '/')))
      .map((path) => path.slice(dir.length + 1))
  }

  async makeDirectory(): Promise<void> {}

  async rename(from: string, to: string): Promise<void> {
    await this.#begin('rename')
    const inode = this.#names.get(from)
    if (inode === undefined) throw systemError('ENOENT')
    this.#change(to, (names) => names.delete(from) && names.set(to, inode))
  }

  async remove(path: string): Promise<void> {
    await this.#begin('remove')
    this.#change(path, (names) => names.delete(path))
  }

  async syncDirectory(dir: string): Promise<void> {
    await this.#begin('syncDirectory')
    for (const change of this.#changes) if (change.dir === dir) change.how(this.#durableNames)
    this.#changes = this.#changes.filter((change) => change.dir !== dir)
  }

  async filesystem(): Promise<number | null> {
    return this.magic
  }

  async lock(dir: string): Promise<{ warning: null; release: () => Promise<void> }> {
    if (this.#locked.has(dir)) throw new RaftError('ERR_RAFT_DIR_LOCKED', `${dir} is in use`)
    this.#locked.add(dir)
    if (!this.#names.has(join(dir, 'LOCK'))) this.place(join(dir, 'LOCK'), new Uint8Array(0))
    const power = this.#power
    const release = async (): Promise<void> => {
      if (power === this.#power) this.#locked.delete(dir)
    }
    return { warning: null, release }
  }

  async pause(): Promise<void> {
    this.pauses += 1
    await this.onPause()
  }

  #makeInode(): Inode {
    this.#inodes += 1n
    return { number: this.#inodes, current: new Uint8Array(0), durable: new Uint8Array(0), dirty: new Set() }
  }

  #change(path: string, how: (names: Map<string, Inode>) => void): void {
    how(this.#names)
    this.#changes.push({ dir: dirname(path), how })
  }

  #fileOf(inode: Inode): DiskFile {
    const power = this.#power
    const begin = async (call: Call): Promise<number> => {
      if (power !== this.#power) throw systemError('EIO: the power failed')
      return this.#begin(call)
    }
    return {
      write: async (bytes, position) => {
        let most = bytes.length
        let failure: Torn | null = null
        try {
          most = Math.min(most, await begin('write'))
        } catch (error) {
          if (!(error instanceof Torn)) throw error
          failure = error
          most = Math.min(most, error.afterBytes)
        }
        put(inode, bytes.subarray(0, most), position)
        if (failure !== null && (most === 0 || failure.isDead)) throw failure
        return most
      },
      read: async (into, position) => {
        if (power !== this.#power) throw systemError('EIO: the power failed')
        const part = inode.current.subarray(position, position + into.length)
        into.set(part)
        return part.length
      },
      datasync: async () => {
        try {
          await begin('datasync')
        } catch (error) {
          // The pages pass for clean from now on, and were not written.
          inode.dirty.clear()
          throw error
        }
        flush(inode)
      },
      truncate: async (length) => {
        await begin('truncate')
        inode.current = inode.current.slice(0, length)
        inode.dirty.add(Math.floor(length / SECTOR_BYTES))
      },
      size: async () => inode.current.length,
      close: async () => {},
    }
  }

  /** How many bytes a write may take. */
  async #begin(call: Call): Promise<number> {
    this.calls += 1
    const fate = this.fateOf(call, this.calls)
    if (fate === 'done') return Infinity
    if (fate === 'dead') {
      this.fateOf = () => 'dead'
      throw new Torn('EIO', 70, true)
    }
    throw new Torn(fate.error, fate.afterBytes ?? 0, false)
  }
}

/** The keeper of `restart` that draws. */
export function keepSome(random: Random): () => boolean {
  return () => random() < 0.5
}

class Torn extends Error {
  readonly code: string
  readonly afterBytes: number
  readonly isDead: boolean

  constructor(code: string, afterBytes: number, isDead: boolean) {
    super(`${code}: as the test says`)
    this.code = code
    this.afterBytes = afterBytes
    this.isDead = isDead
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code })
}

function put(inode: Inode, bytes: Uint8Array, position: number): void {
  if (bytes.length === 0) return
  const grown = new Uint8Array(Math.max(inode.current.length, position + bytes.length))
  grown.set(inode.current)
  grown.set(bytes, position)
  inode.current = grown
  const last = Math.floor((position + bytes.length - 1) / SECTOR_BYTES)
  for (let sector = Math.floor(position / SECTOR_BYTES); sector <= last; sector += 1) inode.dirty.add(sector)
}

function flush(inode: Inode): void {
  const durable = new Uint8Array(inode.current.length)
  durable.set(inode.durable.subarray(0, durable.length))
  for (const sector of inode.dirty) copySector(inode.current, durable, sector)
  inode.durable = durable
  inode.dirty.clear()
}

/** What is on the device when the power comes back. */
function settle(inode: Inode, keep: () => boolean): void {
  const length = inode.dirty.size > 0 && keep() ? inode.current.length : inode.durable.length
  const found = new Uint8Array(length)
  found.set(inode.durable.subarray(0, length))
  for (const sector of inode.dirty) if (keep()) copySector(inode.current, found, sector)
  inode.current = found
  inode.durable = found.slice()
  inode.dirty.clear()
}

function copySector(from: Uint8Array, to: Uint8Array, sector: number): void {
  const start = sector * SECTOR_BYTES
  if (start < to.length) to.set(from.subarray(start, Math.min(start + SECTOR_BYTES, to.length)), start)
}

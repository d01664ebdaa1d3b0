/**
 * Snapshots as files of one directory, `snapshots` in the folder of the server, each under its id; what they are is
 * written in them alone. The directory is this store's while the log of the same folder is open: its lock is theirs
 * too. Files of other names are left alone.
 */

import { dirname, join, resolve } from 'node:path'

import { nodeFiles } from '../disk/files.js'
import type { DiskFile, Files } from '../disk/files.js'
import { assert, RaftError } from '../errors.js'
import {
  CHUNK_DATA_BYTES_MAX,
  decodeSnapshotEnds,
  SNAPSHOT_END_BYTES,
  snapshotHeaderBytes,
  SnapshotReader,
} from '../format/snapshot.js'
import { isHexId } from '../format/hex.js'
import { MalformedBytes } from '../format/malformed.js'
import { checkOptionNames } from '../option-checks.js'
import type { SnapshotHeader } from '../types.js'
import { FileIntake, isSameReception } from './file-intake.js'
import type { Reception } from './file-intake.js'
import { FileSink } from './file-sink.js'
import { PART_SUFFIX, PartialFile, SNAPSHOT_SUFFIX } from './partial-file.js'
import { corruptError, failedError, snapshotFault } from './snapshot-fault.js'
import { newestFirst } from './snapshot-store.js'
import type {
  FlawedSnapshot,
  FoundSnapshots,
  SnapshotIntake,
  SnapshotSink,
  SnapshotStore,
  SnapshotStoreFactory,
  StoredSnapshot,
} from './snapshot-store.js'

const SNAPSHOTS_DIR = 'snapshots'
const PART_NAME = new RegExp(`^[0-9a-f]{32}\\${PART_SUFFIX}$`)
const SNAPSHOT_NAME = new RegExp(`^([0-9a-f]{32})\\${SNAPSHOT_SUFFIX}$`)
/** As much of a header as every version writes alike. */
const START_BYTES = 16

/**
 * Snapshots in files, in the folder `snapshots` beside the log, each flushed before it has its name
 * (docs/snapshots.md). Takes as much room as the snapshots that are kept, and one more while it is made or received;
 * when there is none, that one fails (ERR_RAFT_SNAPSHOT_FAILED) and gives its room back. In memory: one chunk of 64 KiB
 * for each that is made, received or read.
 */
export function fileSnapshotStore(options: Readonly<Record<string, never>> = {}): SnapshotStoreFactory {
  checkOptionNames('fileSnapshotStore', options, [])
  const recipe = { module: import.meta.url, make: 'fileSnapshotStore', options: {} }
  return { name: 'file', recipe, create: (dir) => new FileSnapshotStore(resolve(dir)) }
}

export class FileSnapshotStore implements SnapshotStore {
  readonly #dir: string
  readonly #files: Files
  #phase: 'new' | 'open' | 'closed' = 'new'
  /** What is being made or received, or is suspended. */
  readonly #parts = new Set<PartialFile>()
  readonly #receptions = new Map<string, Reception>()
  /** Whatever makes or removes names begins one after the other, so that nothing new falls to an earlier removal. */
  #beginning: Promise<unknown> = Promise.resolve()

  /** `dir` is the folder of the server. */
  constructor(dir: string, files: Files = nodeFiles) {
    this.#dir = join(dir, SNAPSHOTS_DIR)
    this.#files = files
  }

  async open(): Promise<FoundSnapshots> {
    assert(this.#phase === 'new', `open of a snapshot store that is ${this.#phase}`)
    this.#phase = 'open'
    try {
      await this.#files.makeDirectory(this.#dir)
      const names = await this.#files.list(this.#dir)
      for (const name of names) if (PART_NAME.test(name)) await this.#files.remove(join(this.#dir, name))
      // A process that was killed may have left names in the system's cache alone: of snapshots, and of the directory.
      for (const dir of [dirname(this.#dir), this.#dir]) await this.#files.syncDirectory(dir)
      return await this.#inspectAll(idsIn(names))
    } catch (error) {
      this.#phase = 'closed'
      throw snapshotFault(this.#dir, 'cannot be opened', error)
    }
  }

  create(header: SnapshotHeader): Promise<SnapshotSink> {
    return this.#inTurn(async () => {
      this.#checkOpen('create')
      const sink = new FileSink(header, this.#newPart(header.id))
      await sink.begin()
      return sink
    })
  }

  receive(header: SnapshotHeader, bytes: number): Promise<SnapshotIntake> {
    return this.#inTurn(() => this.#receive(header, bytes))
  }

  // Hot path: once per chunk.
  async *read(id: string): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#readChunks(id, true)
  }

  async verify(id: string): Promise<void> {
    const chunks = this.#readChunks(id, false)
    while ((await chunks.next()).done !== true);
  }

  async readInto(id: string, offset: number, into: Uint8Array): Promise<number> {
    assert(offset >= 0 && into.length >= 1, `a read of ${into.length} bytes at ${offset}`)
    return this.#withFile(id, 'readInto', async (file) => {
      const most = Math.min(into.length, Math.max(0, (await file.size()) - offset))
      await readFully(file, into.subarray(0, most), offset)
      return most
    })
  }

  remove(ids: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#checkOpen('remove')
      await this.#dropSuspended(({ header }) => ids.includes(header.id))
      try {
        for (const id of ids) await this.#files.remove(this.#pathOf(id))
      } catch (error) {
        throw snapshotFault(this.#dir, 'cannot be rid of those that are let go', error)
      }
    })
  }

  async close(): Promise<void> {
    this.#phase = 'closed'
    await Promise.all([...this.#parts].map((part) => part.abort(this.#closedError('a write'))))
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const begun = this.#beginning.then(call)
    this.#beginning = begun.catch(() => {})
    return begun
  }

  async #receive(header: SnapshotHeader, bytes: number): Promise<SnapshotIntake> {
    this.#checkOpen('receive')
    await this.#receptions.get(header.id)?.intake?.suspend()
    await this.#dropSuspended((reception) => !isSameReception(reception, header, bytes))
    const known = this.#receptions.get(header.id)
    if (known !== undefined && known.intake === null) {
      if (await known.part.resume(known.reader.taken)) return this.#intakeOf(known)
      await this.#drop(known)
    }
    this.#checkOpen('receive')
    const part = this.#newPart(header.id)
    await part.create()
    const reception = { header, bytes, part, reader: new SnapshotReader(bytes, false), intake: null }
    this.#receptions.set(header.id, reception)
    return this.#intakeOf(reception)
  }

  async #inspectAll(ids: readonly string[]): Promise<FoundSnapshots> {
    const whole: StoredSnapshot[] = []
    const flawed: FlawedSnapshot[] = []
    for (const id of ids) {
      try {
        whole.push(await this.#withFile(id, 'open', (file) => inspect(file, id, this.#pathOf(id))))
      } catch (error) {
        if (!(error instanceof RaftError)) throw error
        flawed.push({ id, flaw: error })
      }
    }
    return { whole: whole.toSorted(newestFirst), flawed }
  }

  async *#readChunks(id: string, givesData: boolean): AsyncGenerator<Uint8Array, void, undefined> {
    const path = this.#pathOf(id)
    const file = await this.#openFile(id, 'read')
    try {
      const reader = new SnapshotReader(Infinity, givesData)
      const piece = new Uint8Array(CHUNK_DATA_BYTES_MAX)
      for (let isMore = true; isMore;) {
        const chunks = await this.#nextChunks(path, file, reader, piece)
        if (reader.header !== null) checkId(reader.header, id, path)
        isMore = chunks !== null
        for (const chunk of chunks ?? []) yield chunk
      }
    } finally {
      // It was only read: a close that fails takes nothing away.
      await file.close().catch(() => {})
    }
  }

  /** What the next piece of the file completes; null behind its end. */
  async #nextChunks(
    path: string,
    file: DiskFile,
    reader: SnapshotReader,
    piece: Uint8Array,
  ): Promise<readonly Uint8Array[] | null> {
    this.#checkOpen('read')
    try {
      const length = await file.read(piece, reader.taken)
      if (length > 0) return reader.push(piece.subarray(0, length))
      reader.finish()
      return null
    } catch (error) {
      throw snapshotFault(path, 'could not be read', error)
    }
  }

  async #withFile<T>(id: string, call: string, use: (file: DiskFile) => Promise<T>): Promise<T> {
    const file = await this.#openFile(id, call)
    try {
      return await use(file)
    } catch (error) {
      throw snapshotFault(this.#pathOf(id), 'could not be read', error)
    } finally {
      await file.close().catch(() => {})
    }
  }

  async #openFile(id: string, call: string): Promise<DiskFile> {
    this.#checkOpen(call)
    const path = this.#pathOf(id)
    let file: DiskFile | null
    try {
      file = await this.#files.openFile(path)
    } catch (error) {
      throw snapshotFault(path, 'could not be read', error)
    }
    if (file === null) throw failedError(path, 'is not there: it was removed, or never finished')
    return file
  }

  #newPart(id: string): PartialFile {
    checkForm(id)
    const part: PartialFile = new PartialFile(this.#files, this.#dir, id, () => {
      this.#parts.delete(part)
      if (this.#receptions.get(id)?.part === part) this.#receptions.delete(id)
    })
    this.#parts.add(part)
    return part
  }

  #intakeOf(reception: Reception): SnapshotIntake {
    return new FileIntake(reception, () => this.#dropSuspended((other) => other !== reception))
  }

  async #dropSuspended(which: (reception: Reception) => boolean): Promise<void> {
    for (const reception of [...this.#receptions.values()]) {
      if (reception.intake === null && which(reception)) await this.#drop(reception)
    }
  }

  #drop({ part }: Reception): Promise<void> {
    return part.abort(failedError(part.path, 'was given up'))
  }

  #pathOf(id: string): string {
    checkForm(id)
    return join(this.#dir, id + SNAPSHOT_SUFFIX)
  }

  #checkOpen(call: string): void {
    if (this.#phase !== 'open') throw this.#closedError(call)
  }

  #closedError(call: string): RaftError {
    const message = `${call} on the snapshots in ${this.#dir}, which are not open; open them, or make another store`
    return new RaftError('ERR_RAFT_CLOSED', message)
  }
}

/** An id becomes the name of a file: whoever passes one has checked it, or decoded it. */
function checkForm(id: string): void {
  assert(isHexId(id), () => `${JSON.stringify(id)} is not the id of a snapshot`)
}

function idsIn(names: readonly string[]): readonly string[] {
  return names.flatMap((name) => SNAPSHOT_NAME.exec(name)?.[1] ?? []).toSorted()
}

/** What a file says of itself at its two ends. */
async function inspect(file: DiskFile, id: string, path: string): Promise<StoredSnapshot> {
  const bytes = await file.size()
  const start = await readFully(file, new Uint8Array(Math.min(START_BYTES, bytes)), 0)
  const headBytes = await readFully(file, new Uint8Array(Math.min(snapshotHeaderBytes(start), bytes)), 0)
  const endAt = Math.max(0, bytes - SNAPSHOT_END_BYTES)
  const end = await readFully(file, new Uint8Array(Math.min(SNAPSHOT_END_BYTES, bytes)), endAt)
  const header = decodeSnapshotEnds(headBytes, end, bytes)
  checkId(header, id, path)
  return { header, bytes }
}

function checkId(header: SnapshotHeader, id: string, path: string): void {
  if (header.id !== id) throw corruptError(path, `it holds the snapshot ${header.id}`)
}

async function readFully(file: DiskFile, into: Uint8Array, position: number): Promise<Uint8Array> {
  for (let done = 0; done < into.length;) {
    const length = await file.read(into.subarray(done), position + done)
    if (length === 0) throw new MalformedBytes('snapshot', `it ends at byte ${position + done}`)
    done += length
  }
  return into
}

/**
 * From a directory to an open file of a file store: whose is it, lock, make or replay, and then the mark of this open.
 * Nothing is reported before all of it, and what was read, is durable: state that a killed process left only in a cache
 * is not acted on.
 */

import { join } from 'node:path'

import { isFull, writeAll } from '../../disk/files.js'
import type { DiskFile } from '../../disk/files.js'
import { isOurs, RaftError } from '../../errors.js'
import { messageOf } from '../../foreign-values.js'
import { encodeBoot } from '../../format/file-batch.js'
import { logIndex, termOf } from '../../types.js'
import { createStore, hasStore, inspectPlace, LOG_FILE, unusableError } from './directory.js'
import type { Disk } from './disk.js'
import type { FileImage } from './image.js'
import type { DirectoryLock } from './lock.js'
import { readFully, replayFile } from './replay.js'
import type { Replayed } from './replay.js'
import { fingerprintOf } from '../fingerprint.js'
import { neverEmpty } from '../lost-data.js'
import { Watch } from './watch.js'
import { FileWriter, fullError } from './writer.js'
import type { StoredState } from '../log-store.js'

/** What there is while a store is open. */
export interface OpenFile {
  readonly file: DiskFile
  readonly lock: DirectoryLock
  readonly writer: FileWriter
  /** What is durable. */
  readonly image: FileImage
  readonly watch: Watch
}

/** As for the native store: 1 accepts a directory on NFS, SMB, 9p or FUSE. */
const ALLOW_REMOTE_VARIABLE = 'BALSA_ALLOW_REMOTE_FS'

export async function openStoreFile(disk: Disk, dir: string): Promise<{ at: OpenFile; stored: StoredState }> {
  const path = join(dir, LOG_FILE)
  let lock: DirectoryLock | null = null
  let file: DiskFile | null = null
  try {
    const place = await inspectPlace(disk, dir, process.env[ALLOW_REMOTE_VARIABLE] === '1')
    await disk.makeDirectory(dir)
    // Once before anything is written to it, once more when nobody else can.
    await hasStore(disk, dir)
    lock = await disk.lock(dir)
    if (!(await hasStore(disk, dir))) await createStore(disk, dir)
    file = await openFile(disk, path)
    const replayed = await replayFile(file, path)
    await makeDurable(disk, dir, file, replayed)
    const writer = new FileWriter(file, path, replayed.identity, replayed.end)
    const bootCounter = replayed.bootCounter + 1
    await writer.append('open', [encodeBoot(bootCounter)], async () => false)
    const warnings = [place.warning, lock.warning].filter((warning) => warning !== null)
    const warning = warnings.length === 0 ? null : warnings.join('; ')
    const found = place.keepsInodes ? await disk.fileAt(path) : null
    const fingerprint = found === null ? null : fingerprintOf(found)
    const stored = storedState(replayed, bootCounter, { durability: place.durability, warning, fingerprint })
    const watch = await Watch.over(disk, dir)
    return { at: { file, lock, writer, image: replayed.image, watch }, stored }
  } catch (error) {
    await giveBack(file, lock)
    throw openError(dir, path, error)
  }
}

/** The lock goes whatever becomes of the file. */
export async function giveBack(file: DiskFile | null, lock: DirectoryLock | null): Promise<void> {
  try {
    await file?.close()
  } finally {
    await lock?.release()
  }
}

async function openFile(disk: Disk, path: string): Promise<DiskFile> {
  const file = await disk.openFile(path)
  if (file !== null) return file
  const text = `${path} is missing, and FORMAT says that the store is complete. Put the file back. ${neverEmpty}`
  throw new RaftError('ERR_RAFT_STORE_CORRUPT', text)
}

/**
 * What was read may be in the system's cache alone, left there by a process that was killed or that saw a flush fail.
 * Only the last batch can be; it is written once more, since after a failed flush its pages pass for clean, and flushed
 * before anything is put behind it. So is the entry of FORMAT.
 */
async function makeDurable(disk: Disk, dir: string, file: DiskFile, { last, end, size }: Replayed): Promise<void> {
  if (size > end.position) await file.truncate(end.position)
  if (last !== null) {
    const bytes = new Uint8Array(end.position - last.position)
    await readFully(file, bytes, last.position)
    await writeAll(file, bytes, last.position)
  }
  await file.datasync()
  await disk.syncDirectory(dir)
}

function storedState(
  { image, identity }: Replayed,
  bootCounter: number,
  place: Pick<StoredState, 'durability' | 'warning' | 'fingerprint'>,
): StoredState {
  const { lastIndex, hardState, termRuns } = image.head
  return {
    firstIndex: logIndex(1),
    prevTerm: termOf(0),
    snapshot: null,
    lastIndex,
    hardState,
    termRuns: [...termRuns],
    configurations: [...image.configurations],
    incarnation: Buffer.from(identity.incarnation).toString('hex'),
    bootCounter,
    facts: new Map(image.facts),
    ...place,
  }
}

function openError(dir: string, path: string, error: unknown): unknown {
  if (isOurs(error)) return error
  if (isFull(error)) return fullError(path, error)
  return unusableError(dir, `cannot be used: ${messageOf(error)}. Check its owner, its mode and the mount`, error)
}

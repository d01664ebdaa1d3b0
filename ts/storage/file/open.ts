/**
 * From a directory to the open log of a file store: whose is it, lock, make or replay, and then the mark of this open.
 * Nothing is reported before all of it, and what was read, is durable: state that a killed process left only in a cache
 * is not acted on.
 */

import { join } from 'node:path'

import { isFull, writeAll } from '../../disk/files.js'
import { isOurs } from '../../errors.js'
import { messageOf } from '../../foreign-values.js'
import { encodeBatch, encodeBoot, encodeStoreHeader } from '../../format/file-batch.js'
import { createStore, hasStore, inspectPlace, LOG_FILE, unusableError } from './directory.js'
import type { Place } from './directory.js'
import type { Disk } from './disk.js'
import type { FileImage } from './image.js'
import type { DirectoryLock } from './lock.js'
import { readFully } from './read-fully.js'
import { replayStore } from './replay.js'
import type { Replayed } from './replay.js'
import { isUnfinished, Segments } from './segments.js'
import { fingerprintOf } from '../fingerprint.js'
import { Watch } from './watch.js'
import { fullError } from './writer.js'
import { surveyStore } from './survey.js'
import type { StoredState } from '../log-store.js'
import type { StoreSeed, StoreSurvey } from '../verification.js'

/** What there is while a store is open. */
export interface OpenStore {
  readonly lock: DirectoryLock
  readonly segments: Segments
  /** What is durable. */
  readonly image: FileImage
  readonly watch: Watch
}

/** As for the native store: 1 accepts a directory on NFS, SMB, 9p or FUSE. */
const ALLOW_REMOTE_VARIABLE = 'BALSA_ALLOW_REMOTE_FS'

export async function openStore(
  disk: Disk,
  dir: string,
  segmentBytes: number,
  seed: StoreSeed | null,
): Promise<{ at: OpenStore; stored: StoredState }> {
  let lock: DirectoryLock | null = null
  let open: Closable | null = null
  try {
    const place = await inspectPlace(disk, dir, process.env[ALLOW_REMOTE_VARIABLE] === '1')
    await disk.makeDirectory(dir)
    // Once before anything is written to it, once more when nobody else can.
    await hasStore(disk, dir)
    lock = await disk.lock(dir)
    const isThere = await hasStore(disk, dir)
    if (isThere && seed !== null) throw unusableError(dir, 'holds a store already. Choose an empty directory')
    if (!isThere) await createStore(disk, dir, seed)
    const replayed = await replayStore(disk, dir)
    open = replayed.file
    await makeDurable(disk, dir, replayed)
    const { image, leftovers } = replayed
    const segments = new Segments(disk, dir, replayed, leftovers, segmentBytes)
    open = segments
    const bootCounter = image.bootCounter + 1
    await segments.append('open', [encodeBoot(bootCounter)], async () => false)
    image.bootCounter = bootCounter
    const stored = storedState(replayed, await surroundings(disk, dir, place, lock))
    const watch = await Watch.over(disk, dir, segments.lastPath)
    segments.removeBefore(image.neededFrom)
    return { at: { lock, segments, image, watch }, stored }
  } catch (error) {
    await giveBack(open, lock)
    throw openError(dir, error)
  }
}

/** What there is while a store is only read. */
export type LookedStore = Pick<OpenStore, 'lock' | 'segments' | 'image'>

/**
 * A store that is only read, and what an open would report. Null: nothing was made there. Writes nothing, but for the
 * text in the lock.
 */
export async function lookAtStore(
  disk: Disk,
  dir: string,
  segmentBytes: number,
): Promise<{ at: LookedStore; stored: StoredState } | null> {
  const entered = await enterStore(disk, dir)
  if (entered === null) return null
  const { lock, place } = entered
  let open: Closable | null = null
  try {
    const replayed = await replayStore(disk, dir)
    open = replayed.file
    const stored = storedState(replayed, await surroundings(disk, dir, place, lock))
    const segments = new Segments(disk, dir, replayed, [], segmentBytes)
    return { at: { lock, segments, image: replayed.image }, stored }
  } catch (error) {
    await giveBack(open, lock)
    throw openError(dir, error)
  }
}

/** Everything that is damaged in it, under its lock. Null: nothing was made there. */
export async function verifyStore(disk: Disk, dir: string): Promise<StoreSurvey | null> {
  const entered = await enterStore(disk, dir)
  if (entered === null) return null
  try {
    return await surveyStore(disk, dir)
  } catch (error) {
    throw openError(dir, error)
  } finally {
    await entered.lock.release()
  }
}

/** The lock of a store that is there. */
async function enterStore(disk: Disk, dir: string): Promise<{ lock: DirectoryLock; place: Place } | null> {
  try {
    const place = await inspectPlace(disk, dir, process.env[ALLOW_REMOTE_VARIABLE] === '1')
    if ((await disk.fileAt(dir)) === null || !(await hasStore(disk, dir))) return null
    return { lock: await disk.lock(dir), place }
  } catch (error) {
    throw openError(dir, error)
  }
}

/** What the place says of what is kept there. */
async function surroundings(disk: Disk, dir: string, place: Place, lock: DirectoryLock): Promise<Surroundings> {
  const warnings = [place.warning, lock.warning].filter((warning) => warning !== null)
  const found = place.keepsInodes ? await disk.fileAt(join(dir, LOG_FILE)) : null
  return {
    durability: place.durability,
    warning: warnings.length === 0 ? null : warnings.join('; '),
    fingerprint: found === null ? null : fingerprintOf(found),
  }
}

type Surroundings = Pick<StoredState, 'durability' | 'warning' | 'fingerprint'>

interface Closable {
  close(): Promise<void>
}

/** The lock goes whatever becomes of the files. */
export async function giveBack(open: Closable | null, lock: DirectoryLock | null): Promise<void> {
  try {
    await open?.close()
  } finally {
    await lock?.release()
  }
}

/**
 * What was read may be in the system's cache alone, left there by a process that was killed or that saw a flush fail.
 * Only the last batch can be; it is written once more, since after a failed flush its pages pass for clean, and flushed
 * before anything is put behind it. So are the entries of the directory.
 */
async function makeDurable(disk: Disk, dir: string, replayed: Replayed): Promise<void> {
  const { file, lastBatch, end, size } = replayed
  if (size > end.position) await file.truncate(end.position)
  const bytes = new Uint8Array(end.position - lastBatch.position)
  await readFully(file, bytes, lastBatch.position)
  await writeAll(file, bytes, lastBatch.position)
  await file.datasync()
  for (const name of await disk.list(dir)) if (isUnfinished(name)) await disk.remove(join(dir, name))
  await touchHeader(disk, join(dir, LOG_FILE), replayed)
  await disk.syncDirectory(dir)
  // Not before the name of the segment behind it is durable.
  if (replayed.unsealed !== null) await seal(disk, replayed, replayed.unsealed)
}

/** So that from now on it shows when the segment behind it is not there. */
async function seal(
  disk: Disk,
  { identity }: Replayed,
  { segment, end }: NonNullable<Replayed['unsealed']>,
): Promise<void> {
  const file = await disk.openFile(segment.path)
  if (file === null) return
  try {
    await writeAll(file, encodeBatch(identity, end, 'sealed', []).bytes, end.position)
    await file.datasync()
  } finally {
    await file.close()
  }
}

/**
 * The same bytes once more. What puts older contents back, file by file where length or date differ, thereby replaces
 * this file with the others, and the fingerprint shows it.
 */
async function touchHeader(disk: Disk, path: string, { identity }: Replayed): Promise<void> {
  const file = await disk.openFile(path)
  if (file === null) return
  try {
    await writeAll(file, encodeStoreHeader(identity).bytes, 0)
  } finally {
    await file.close()
  }
}

function storedState({ image, identity }: Replayed, place: Surroundings): StoredState {
  const { firstIndex, prevTerm, snapshot, lastIndex, hardState, termRuns } = image.head
  return {
    firstIndex,
    prevTerm,
    snapshot,
    lastIndex,
    hardState,
    termRuns: [...termRuns],
    configurations: [...image.configurations],
    incarnation: Buffer.from(identity.incarnation).toString('hex'),
    bootCounter: image.bootCounter,
    facts: new Map(image.facts),
    ...place,
  }
}

function openError(dir: string, error: unknown): unknown {
  if (isOurs(error)) return error
  if (isFull(error)) return fullError(dir, error)
  return unusableError(dir, `cannot be used: ${messageOf(error)}. Check its owner, its mode and the mount`, error)
}

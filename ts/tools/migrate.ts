/**
 * From one of our stores to another, in an empty folder: everything that the server is known by goes along, so that it
 * goes on there as if nothing had happened, and never in both.
 *
 * What must hold: at no moment can both folders be opened. While the copy is made, a mark in `to` refuses every open.
 * When all of it is durable, a mark in `from` refuses every open, and only then the mark in `to` goes. Whoever comes in
 * between is told of the other folder; the same call once more ends it, or begins anew. Until it is marked, `from` is
 * the server's folder, and is left as it was; from then on it never is again.
 */

import { readdir, realpath, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, sep } from 'node:path'

import { systemClock } from '../clock.js'
import { isFull, nodeFiles, unlessAbsent, writeAll } from '../disk/files.js'
import { isOurs, RaftError } from '../errors.js'
import { messageOf } from '../foreign-values.js'
import { checkOptionNames, optionsError, shown } from '../option-checks.js'
import { claimFolder, FINGERPRINT_FACT, folderIdOf } from '../server/open/folder.js'
import { withStores } from '../server/open/stores.js'
import type { Stores } from '../server/open/stores.js'
import { fileSnapshotStore } from '../snapshot/file-snapshot-store.js'
import { nodeDisk } from '../storage/file/disk.js'
import { FileLogStore } from '../storage/file/file-log-store.js'
import {
  FORMAT_FILE,
  FORMAT_FILE_MARKED,
  FORMAT_FILE_NEW,
  formatText,
  markText,
  parseFormat,
} from '../storage/format-line.js'
import type { FormatLine, Mark } from '../storage/format-line.js'
import type { LogStore, StoredState } from '../storage/log-store.js'
import { NativeLogStore } from '../storage/native/native-log-store.js'
import type { StoreSeed } from '../storage/verification.js'
import { logIndex } from '../types.js'
import type { LogIndex, ServerId, StoreOperation } from '../types.js'
import { blocksOf } from './dump.js'
import { snapshotsIn } from './snapshots-in.js'
import { checkDir, ENGINES, formatOf, nothingThere, readable, storeIn } from './store-in.js'
import type { StoreEngine } from './store-in.js'

/** What `migrate` takes. */
export interface MigrateOptions {
  /** What `to` becomes. */
  readonly engine: StoreEngine
}

/** What `migrate` has done. */
export interface Migration {
  /** Absolute, as is `to`. */
  readonly from: string
  readonly to: string
  readonly engine: StoreEngine
  /** False: it had been done before, and nothing was written; or only what was left of it. */
  readonly isNew: boolean
  readonly serverId: ServerId | null
  readonly firstIndex: LogIndex
  readonly lastIndex: LogIndex
}

/** Where it may be cut off: what is done when each is told of. For tests. */
export type MigrationStep = 'created' | 'copied' | 'closed' | 'from is marked' | 'finished'

/** One ticket takes so many facts: of 4 KiB at most each. */
const FACTS_PER_TICKET = 128
/** What a creation makes before there is a `FORMAT`. */
const BEGUN = /^(?:FORMAT\.new|log|segment-0*1|data\.mdb|lock\.mdb|journal-\d+(?:\.new)?)$/
/** Never removed: what locks, and what belongs to the filesystem. */
const KEPT: ReadonlySet<string> = new Set(['LOCK', 'lost+found'])

const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/**
 * Copies what is in `from` to `to`, a folder that is empty or not there: the log with every byte of its entries, hard
 * state, boot counter, facts, the name by which peers know the store, and the snapshots beside it. Resolves when all of
 * it is durable, and `from` refuses to open. Needs room for all of it once more; in memory 1 MiB of entries.
 *
 * Cut off, whatever the way, the same call once more ends it. Rejects with ERR_RAFT_OPTIONS where `to` is `from`, lies
 * in it, or is not empty; ERR_RAFT_STORE_FULL where there is no room; ERR_RAFT_COPIED_FOLDER where `from` is a copy;
 * and with what an open of either would reject with.
 */
export function migrate(from: string, to: string, options: MigrateOptions): Promise<Migration> {
  return migrateInSteps(from, to, options, () => {})
}

export async function migrateInSteps(
  from: string,
  to: string,
  options: MigrateOptions,
  onStep: (step: MigrationStep) => void,
): Promise<Migration> {
  const { engine } = checkOptions(options)
  const places = await placesOf(checkDir('migrate', from), checkDir('migrate', to))
  const line = parseFormat((await formatOf(places.from)) ?? '')
  if (line?.mark?.kind === 'migrated-to' && line.mark.dir === places.to) return endOf(places, onStep)
  const source = await storeIn('migrate', places.from)
  const store = source.make()
  const stored = await store.look()
  if (stored === null) throw nothingThere(places.from)
  try {
    // A copy stays one: what it has forgotten is missing in `to` as well.
    claimFolder({ dir: places.from, id: folderIdOf(stored) ?? '', acceptCopiedFolder: false }, stored)
    await makeEmpty(places)
    await copyAll(store, stored, places, engine, onStep).catch((error: unknown) => {
      throw isOurs(error) ? roomless(places.to, error) : error
    })
    onStep('closed')
    // The lock of `from` is held: nobody has opened it since it was read.
    await writeFormat(places.from, { kind: 'migrated-to', dir: places.to })
  } finally {
    await store.close()
  }
  onStep('from is marked')
  await finish(places.to)
  onStep('finished')
  return answerOf(places, engine, stored, true)
}

interface Places {
  readonly from: string
  readonly to: string
}

function checkOptions(options: MigrateOptions): MigrateOptions {
  checkOptionNames('migrate', options, ['engine'])
  if (ENGINES.includes(options.engine)) return options
  throw optionsError(`migrate: option engine is ${shown(options.engine)}; it must be one of ${ENGINES.join(', ')}`)
}

/** By the names that no link stands in. */
async function placesOf(from: string, to: string): Promise<Places> {
  const places = { from: await realPathOf(from), to: await realPathOf(to) }
  if (isWithin(places.to, places.from)) {
    throw optionsError(`migrate: ${to} is, or lies in, ${from}: choose an empty folder elsewhere`)
  }
  try {
    encodeURI(places.from + places.to)
  } catch {
    throw optionsError(`migrate: the path of ${from} or ${to} is no Unicode text, and cannot be written down`)
  }
  return places
}

/** Of a path whose end need not be there. */
async function realPathOf(path: string): Promise<string> {
  try {
    const real = await unlessAbsent(() => realpath(path))
    return real ?? join(await realPathOf(dirname(path)), basename(path))
  } catch (error) {
    throw readable(path, error)
  }
}

function isWithin(inner: string, outer: string): boolean {
  const way = relative(outer, inner)
  return way === '' || !(way === '..' || way.startsWith(`..${sep}`))
}

/** `from` is marked: all of it is in `to`, and perhaps `to` only has to be told. */
async function endOf({ from, to }: Places, onStep: (step: MigrationStep) => void): Promise<Migration> {
  const line = parseFormat((await formatOf(to)) ?? '')
  if (line === null || (line.mark !== null && !isFrom(line.mark, from))) throw goneError(from, to)
  if (line.mark !== null) await finish(to)
  onStep('finished')
  const { engine, make } = await storeIn('migrate', to)
  const store = make()
  const stored = await store.look()
  await store.close()
  if (stored === null) throw nothingThere(to)
  return answerOf({ from, to }, engine, stored, false)
}

function goneError(from: string, to: string): RaftError {
  const message = `The directory ${from} was migrated to ${to}, and that is not there any more: what its server has acknowledged and voted since is lost with it. Put ${to} back. Only if its server never ran there, write the line for ${from} into its file FORMAT again (docs/engine-tools.md)`
  return new RaftError('ERR_RAFT_DIR_UNUSABLE', message)
}

const isFrom = (mark: Mark, from: string): boolean => mark.kind === 'migrating-from' && mark.dir === from

function answerOf(places: Places, engine: StoreEngine, stored: StoredState, isNew: boolean): Migration {
  const { firstIndex, lastIndex } = stored
  return { ...places, engine, isNew, serverId: folderIdOf(stored), firstIndex, lastIndex }
}

/** Removes the rest of an earlier try, and refuses whatever else is there. */
async function makeEmpty({ from, to }: Places): Promise<void> {
  try {
    const found = await unlessAbsent(() => stat(to))
    if (found === null) return
    if (!found.isDirectory()) throw optionsError(`migrate: ${to} is no directory`)
    const names = (await readdir(to)).filter((name) => !KEPT.has(name))
    if (names.length === 0) return
    const isOurRest = await isRestOf(from, to, names)
    if (!isOurRest) throw optionsError(`migrate: ${to} is not empty (it holds ${names[0]}): choose an empty folder`)
    const lock = await nodeDisk.lock(to)
    try {
      // The mark goes last: without it the rest would pass for something else.
      for (const name of names.filter((each) => each !== FORMAT_FILE)) await rm(join(to, name), { recursive: true })
      await nodeFiles.syncDirectory(to)
      await nodeFiles.remove(join(to, FORMAT_FILE))
      await nodeFiles.syncDirectory(to)
    } finally {
      await lock.release()
    }
  } catch (error) {
    throw readable(to, error)
  }
}

/** With the mark of this migration; or of a creation that was cut off before it had any, and held nothing yet. */
async function isRestOf(from: string, to: string, names: readonly string[]): Promise<boolean> {
  const text = await formatOf(to)
  if (text !== null) {
    const mark = parseFormat(text)?.mark ?? null
    return mark !== null && isFrom(mark, from)
  }
  return names.includes(FORMAT_FILE_NEW) && names.every((name) => BEGUN.test(name))
}

async function copyAll(
  source: LogStore,
  stored: StoredState,
  { from, to }: Places,
  engine: StoreEngine,
  onStep: (step: MigrationStep) => void,
): Promise<void> {
  const mark = markText({ kind: 'migrating-from', dir: from })
  // The open that makes it counts one boot: then it has counted as many as `from`.
  const seed = { incarnation: stored.incarnation, bootCounter: Math.max(0, stored.bootCounter - 1), mark }
  const storage = { name: engine, create: (dir: string) => makeSeeded(dir, engine, seed) }
  const parts = { dir: to, storage, snapshotStorage: fileSnapshotStore(), clock: systemClock(), logger: SILENT }
  const target = await withStores(parts, async (stores, made) => {
    onStep('created')
    await copySnapshots(from, stores, stored)
    await copyLog(source, stores, stored)
    await copyFacts(stores, stored, made)
    onStep('copied')
    return stores.store
  })
  // Durable it is, and yet no server could start there.
  if ((target.stats().behindBytes ?? 0) > 0) throw homeFull(to)
}

function homeFull(dir: string): RaftError {
  const message = `The journal in ${dir} has taken the whole log, and the disk has no room for it in LMDB`
  return new RaftError('ERR_RAFT_STORE_FULL', message)
}

function makeSeeded(dir: string, engine: StoreEngine, seed: StoreSeed): LogStore {
  return engine === 'file'
    ? new FileLogStore(dir, undefined, undefined, seed)
    : new NativeLogStore(dir, null, engine, seed)
}

/** Every one that is whole; each is checked while it is read. */
async function copySnapshots(from: string, target: Stores, { snapshot }: StoredState): Promise<void> {
  const snapshots = await snapshotsIn(from)
  if (snapshots === null) return
  const { whole, flawed } = snapshots.found
  const damage = flawed.find(({ id }) => id === snapshot?.id)
  if (damage !== undefined) throw damage.flaw
  if (snapshot !== null && !whole.some(({ header }) => header.id === snapshot.id))
    throw snapshotMissing(from, snapshot.id)
  await target.openSnapshots()
  for (const { header } of whole) {
    const sink = await target.snapshots.create(header)
    try {
      for await (const piece of snapshots.store.read(header.id)) await sink.write(piece)
      await sink.finish()
    } catch (error) {
      await sink.abort()
      throw error
    }
  }
}

function snapshotMissing(from: string, id: string): RaftError {
  const message = `The log in ${from} stands on the snapshot ${id}, which is not among its snapshots: its server cannot start from there, nor elsewhere. Put the file back`
  return new RaftError('ERR_RAFT_STORE_CORRUPT', message)
}

/**
 * A log that begins behind the front of its snapshot is made of two compactions: one to its first entry, and, once the
 * entries are there, the one that tells its snapshot.
 */
async function copyLog(source: LogStore, target: Stores, stored: StoredState): Promise<void> {
  const { firstIndex, lastIndex, prevTerm, snapshot } = stored
  const before = logIndex(firstIndex - 1)
  if (snapshot !== null) {
    const covered = snapshot.index === before ? snapshot : { ...snapshot, index: before, term: prevTerm }
    if (before > 0) {
      const compact = { type: 'compact', first: firstIndex, prevTerm, snapshot: covered, keepSuffix: false } as const
      await target.write([compact], 'the log')
    }
  }
  for await (const block of blocksOf(source, firstIndex, lastIndex)) {
    await target.write([{ type: 'append', block }], 'the log')
  }
  if (snapshot !== null && snapshot.index !== before) {
    await target.write([{ type: 'compact', first: firstIndex, prevTerm, snapshot, keepSuffix: true }], 'the log')
  }
}

/** The files are others: what tells them from a copy is theirs. */
async function copyFacts(target: Stores, { facts, hardState }: StoredState, made: StoredState): Promise<void> {
  const puts: StoreOperation[] = []
  for (const [key, value] of facts) {
    if (key !== FINGERPRINT_FACT) puts.push({ type: 'put', key, value })
    else if (made.fingerprint !== null) {
      puts.push({ type: 'put', key, value: new TextEncoder().encode(made.fingerprint) })
    }
  }
  while (puts.length > 0) await target.write(puts.splice(0, FACTS_PER_TICKET), 'the facts')
  await target.write([{ type: 'hardState', hardState }], 'the hard state')
}

/** `to` is a store from now on. */
async function finish(to: string): Promise<void> {
  const lock = await nodeDisk.lock(to)
  try {
    await writeFormat(to, null)
  } finally {
    await lock.release()
  }
}

/** Puts another mark behind the engine, durably and in one step. */
async function writeFormat(dir: string, mark: Mark | null): Promise<void> {
  const line = parseFormat((await formatOf(dir)) ?? '')
  if (line === null) throw nothingThere(dir)
  const marked: FormatLine = { ...line, mark }
  try {
    const file = await nodeFiles.createFile(join(dir, FORMAT_FILE_MARKED))
    try {
      await writeAll(file, new TextEncoder().encode(formatText(marked)), 0)
      await file.datasync()
    } finally {
      await file.close()
    }
    await nodeFiles.rename(join(dir, FORMAT_FILE_MARKED), join(dir, FORMAT_FILE))
    await nodeFiles.syncDirectory(dir)
  } catch (error) {
    throw roomless(dir, error)
  }
}

/** What a full disk, or a full map, made fail is told as that, whoever met it. */
function roomless(dir: string, error: unknown): unknown {
  const isOfRoom = error instanceof RaftError && (error.code === 'ERR_RAFT_STORE_FULL' || isFull(error.cause))
  if (!isFull(error) && !isOfRoom) return readable(dir, error)
  const message = `There is no room in ${dir} to go on, and the migration is not finished: make room, and call migrate once more. ${messageOf(error)}`
  return new RaftError('ERR_RAFT_STORE_FULL', message, { cause: error })
}

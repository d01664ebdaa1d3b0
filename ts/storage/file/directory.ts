/**
 * Whose directory it is, for a file store. `FORMAT`, one line of text, says that a store was made here completely; it
 * appears by a rename, only after the first segment of the log is durable. What is not ours is never touched. Where the
 * directory lies decides whether a flush means anything.
 */

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

import { writeAll } from '../../disk/files.js'
import { RaftError } from '../../errors.js'
import { encodeSegment, encodeStoreHeader, FILE_VERSION } from '../../format/file-batch.js'
import { encodeCheckpoint } from '../../format/file-checkpoint.js'
import type { Checkpoint } from '../../format/file-checkpoint.js'
import { logIndex, termOf } from '../../types.js'
import { FORMAT_FILE, FORMAT_FILE_NEW, FORMAT_MAGIC, markFault, parseFormat } from '../format-line.js'
import { neverEmpty } from '../lost-data.js'
import { segmentName } from './segments.js'
import type { Disk } from './disk.js'
import type { StoredState } from '../log-store.js'
import type { StoreSeed } from '../verification.js'

/** The header of the store: written when it is made, and never replaced. */
export const LOG_FILE = 'log'
export const LOCK_FILE = 'LOCK'
/** Where snapshots lie that belong to a log. */
const SNAPSHOTS_DIR = 'snapshots'
/** A mount point of its own holds this on ext4. */
const LOST_AND_FOUND = 'lost+found'
const ENGINE = 'file'
const FIRST_SEGMENT = segmentName(1)
const FORMAT_LINE = `${FORMAT_MAGIC} ${FILE_VERSION} ${ENGINE}`

/** The engines of the native store. */
const NATIVE_ENGINES: readonly string[] = ['lmdb', 'journal']
/** LMDB's first meta page begins with a magic number. */
const LMDB_MARK = { file: 'data.mdb', offset: 16, hex: 'dec0efbe' }

/**
 * By what the data of each store is known when `FORMAT` is lost, and the line that stands in its `FORMAT`. Of two with
 * the same mark the first one that fits: it has files beside, whose names begin so.
 */
const MARKS: readonly {
  readonly file: string
  readonly offset: number
  readonly hex: string
  readonly beside?: string
  readonly line: string
}[] = [
  { file: LOG_FILE, offset: 0, hex: Buffer.from('balsalog').toString('hex'), line: FORMAT_LINE },
  { ...LMDB_MARK, beside: 'journal-', line: `${FORMAT_MAGIC} 1 journal` },
  { ...LMDB_MARK, line: `${FORMAT_MAGIC} 2 lmdb` },
]

/** What a new store holds. */
const NOTHING: Checkpoint = {
  bootCounter: 0,
  firstIndex: logIndex(1),
  prevTerm: termOf(0),
  lastIndex: logIndex(0),
  snapshot: null,
  hardState: { term: termOf(0), votedFor: null, commitIndex: logIndex(0) },
  termRuns: [],
  facts: new Map(),
}

export type Place = Pick<StoredState, 'durability' | 'warning'> & {
  /** Whether a file keeps its inode, whatever is mounted again. */
  readonly keepsInodes: boolean
}

const ON_DEVICE: Place = { durability: 'device', warning: null, keepsInodes: true }
const IN_MEMORY: Place = {
  durability: 'none',
  warning: 'the directory lies in memory: nothing survives a restart of the machine',
  keepsInodes: true,
}
const ON_OVERLAY: Place = {
  durability: 'device',
  warning: 'the directory lies on overlayfs: use a volume; a volatile mount does not flush at all',
  keepsInodes: true,
}
const FAR_AWAY: Place = {
  durability: 'device',
  warning:
    'the directory lies on a remote or user-space filesystem: flushes and locks may mean nothing, and a copy of the directory is not noticed',
  keepsInodes: false,
}

/** Numbers of linux/magic.h; the same as those of the native store. What is not here is a device. */
const PLACES: ReadonlyMap<number | null, Place> = new Map([
  [0x0102_1994, IN_MEMORY],
  [0x8584_58f6, IN_MEMORY],
  [0x794c_7630, ON_OVERLAY],
])
const REMOTE: ReadonlyMap<number | null, string> = new Map([
  [0x6969, 'NFS'],
  [0x517b, 'SMB'],
  [0xff53_4d42, 'SMB'],
  [0xfe53_4d42, 'SMB'],
  [0x0102_1997, '9p'],
  [0x6573_5546, 'FUSE'],
])

/** What its filesystem means for the store. Refuses one that is remote. */
export async function inspectPlace(disk: Disk, dir: string, allowRemote: boolean): Promise<Place> {
  const magic = await disk.filesystem(dir)
  const remote = REMOTE.get(magic)
  if (remote === undefined) return PLACES.get(magic) ?? ON_DEVICE
  if (allowRemote) return FAR_AWAY
  const reason = `lies on ${remote}, where locks and flushes cannot be relied on. Use a local disk, or set BALSA_ALLOW_REMOTE_FS=1 to take the risk`
  throw unusableError(dir, reason)
}

/**
 * Whether a store stands there; false when there is nothing, or the rest of a creation that was cut off. Touches
 * nothing.
 */
export async function hasStore(disk: Disk, dir: string): Promise<boolean> {
  const text = await disk.readText(join(dir, FORMAT_FILE))
  if (text !== null) {
    await checkFormat(disk, dir, text)
    return true
  }
  const names = await disk.list(dir)
  const begun = names.includes(FORMAT_FILE_NEW) ? [LOG_FILE, FIRST_SEGMENT] : []
  const ours = [LOCK_FILE, LOST_AND_FOUND, FORMAT_FILE_NEW, ...begun]
  const foreign = names.find((name) => !ours.includes(name))
  if (foreign === undefined) return false
  throw await lostFormatError(disk, dir, 'is missing', foreign === SNAPSHOTS_DIR ? lostLog : notOurs(foreign))
}

/** Makes an empty store, or makes anew what was cut off; with a seed, in place of another one. */
export async function createStore(disk: Disk, dir: string, seed: StoreSeed | null): Promise<void> {
  const text = `${FORMAT_LINE}${seed?.mark ?? ''}\n`
  for (const name of [LOG_FILE, FIRST_SEGMENT]) await disk.remove(join(dir, name))
  await writeFile(disk, join(dir, FORMAT_FILE_NEW), new TextEncoder().encode(text))
  await disk.syncDirectory(dir)
  const incarnation = seed === null ? randomBytes(16) : Buffer.from(seed.incarnation, 'hex')
  const identity = { uuid: randomBytes(16), incarnation }
  const { bytes: header, first } = encodeStoreHeader(identity)
  await writeFile(disk, join(dir, LOG_FILE), header)
  const segment = encodeSegment(
    identity,
    1,
    first,
    encodeCheckpoint({ ...NOTHING, bootCounter: seed?.bootCounter ?? 0 }),
  )
  await writeFile(disk, join(dir, FIRST_SEGMENT), segment.bytes)
  await disk.syncDirectory(dir)
  await disk.rename(join(dir, FORMAT_FILE_NEW), join(dir, FORMAT_FILE))
  await disk.syncDirectory(dir)
}

/** `FORMAT` says nothing. What it stood for may all be there: then nobody may be sent to begin anew. */
async function lostFormatError(disk: Disk, dir: string, how: string, otherwise: string): Promise<RaftError> {
  const names = await disk.list(dir)
  for (const { file, offset, hex, beside, line } of MARKS) {
    if (beside !== undefined && !names.some((name) => name.startsWith(beside))) continue
    const start = await disk.readStart(join(dir, file), offset + hex.length / 2)
    if (Buffer.from(start.subarray(offset)).toString('hex') !== hex) continue
    const reason = `holds ${file} but its file FORMAT ${how}. If a server of Balsa ran here, its data is still there: write FORMAT again, the one line "${line}", and start again. ${neverEmpty}. If none did, the directory belongs to something else`
    return unusableError(dir, reason)
  }
  return unusableError(dir, otherwise)
}

const notOurs = (foreign: string): string =>
  `is not empty and not a store of Balsa (it holds ${foreign}). Choose an empty directory`

/** Snapshots are made only beside a log. */
const lostLog = `holds the directory ${SNAPSHOTS_DIR} of a server, and no log: its log is lost, or lies elsewhere. Put its other files back, as they were when it last ran. ${neverEmpty}. Only if no server of Balsa ran here, or it was removed from its cluster, move ${SNAPSHOTS_DIR} away and start again`

export function unusableError(dir: string, reason: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_DIR_UNUSABLE', `The directory ${dir} ${reason}`, { cause })
}

async function writeFile(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.createFile(path)
  try {
    await writeAll(file, bytes, 0)
    await file.datasync()
  } finally {
    await file.close()
  }
}

async function checkFormat(disk: Disk, dir: string, text: string): Promise<void> {
  const fault = markFault(dir, text)
  if (fault !== null) throw fault
  const line = parseFormat(text)
  if (line === null) {
    const how = text.trim() === '' ? 'is empty' : 'is not of Balsa'
    throw await lostFormatError(
      disk,
      dir,
      how,
      `holds a file FORMAT that ${how}, and no data of Balsa. Choose an empty directory`,
    )
  }
  const { version, engine } = line
  if (engine !== ENGINE) {
    const maker = NATIVE_ENGINES.includes(engine) ? 'nativeStore()' : 'the store of that name'
    const reason = `was written by the engine ${engine}, and fileStore() reads the engine ${ENGINE} only. Open it with ${maker}`
    throw new RaftError('ERR_RAFT_STORE_FORMAT', `The directory ${dir} ${reason}`)
  }
  if (version !== String(FILE_VERSION)) {
    const reason = `has format version ${version}, and this Balsa reads version ${FILE_VERSION} only. Run the Balsa that wrote it`
    throw new RaftError('ERR_RAFT_STORE_FORMAT', `The directory ${dir} ${reason}`)
  }
}

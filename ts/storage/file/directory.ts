/**
 * Whose directory it is, for a file store. `FORMAT`, one line of text, says that a store was made here completely; it appears by
 * a rename, only after the header of the log is durable. What is not ours is never touched. Where the directory lies decides
 * whether a flush means anything.
 */

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'

import { RaftError } from '../../errors.js'
import { encodeFileHeader, FILE_VERSION } from '../../format/file-batch.js'
import { writeAll } from './writer.js'
import type { Disk } from './disk.js'
import type { StoredState } from '../log-store.js'

export const LOG_FILE = 'log'
const LOCK_FILE = 'LOCK'
const FORMAT_FILE = 'FORMAT'
const FORMAT_FILE_NEW = 'FORMAT.new'
/** A mount point of its own holds this on ext4. */
const LOST_AND_FOUND = 'lost+found'
const MAGIC = 'balsa-store'
const ENGINE = 'file'
const FORMAT_TEXT = `${MAGIC} ${FILE_VERSION} ${ENGINE}\n`

type Place = Pick<StoredState, 'durability' | 'warning'>

const ON_DEVICE: Place = { durability: 'device', warning: null }
const IN_MEMORY: Place = {
  durability: 'none',
  warning: 'the directory lies in memory: nothing survives a restart of the machine',
}
const ON_OVERLAY: Place = {
  durability: 'device',
  warning: 'the directory lies on overlayfs: use a volume; a volatile mount does not flush at all',
}
const FAR_AWAY: Place = {
  durability: 'device',
  warning: 'the directory lies on a remote or user-space filesystem: flushes and locks may mean nothing',
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

/** Whether a store stands there; false when there is nothing, or the rest of a creation that was cut off. Touches nothing. */
export async function hasStore(disk: Disk, dir: string): Promise<boolean> {
  const text = await disk.readText(join(dir, FORMAT_FILE))
  if (text !== null) {
    checkFormat(dir, text)
    return true
  }
  const names = await disk.list(dir)
  const ours = [LOCK_FILE, LOST_AND_FOUND, FORMAT_FILE_NEW, ...(names.includes(FORMAT_FILE_NEW) ? [LOG_FILE] : [])]
  const foreign = names.find((name) => !ours.includes(name))
  if (foreign === undefined) return false
  throw unusableError(dir, `is not empty and not a store of Balsa (it holds ${foreign}). Choose an empty directory`)
}

/** Makes an empty store, or makes anew what was cut off. */
export async function createStore(disk: Disk, dir: string): Promise<void> {
  await disk.remove(join(dir, LOG_FILE))
  await writeFile(disk, join(dir, FORMAT_FILE_NEW), new TextEncoder().encode(FORMAT_TEXT))
  await disk.syncDirectory(dir)
  const header = encodeFileHeader({ uuid: randomBytes(16), incarnation: randomBytes(16) })
  await writeFile(disk, join(dir, LOG_FILE), header)
  await disk.syncDirectory(dir)
  await disk.rename(join(dir, FORMAT_FILE_NEW), join(dir, FORMAT_FILE))
  await disk.syncDirectory(dir)
}

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

function checkFormat(dir: string, text: string): void {
  const [magic, version, engine, ...rest] = text.trim().split(/\s+/)
  if (magic !== MAGIC || engine === undefined || rest.length > 0) {
    throw unusableError(dir, 'holds a file FORMAT that is not of Balsa. Choose an empty directory')
  }
  if (engine !== ENGINE) {
    const maker = engine === 'lmdb' ? 'nativeStore()' : 'the store of that name'
    const reason = `was written by the engine ${engine}, and fileStore() reads the engine ${ENGINE} only. Open it with ${maker}, or give fileStore() an empty directory`
    throw new RaftError('ERR_RAFT_STORE_FORMAT', `The directory ${dir} ${reason}`)
  }
  if (version !== String(FILE_VERSION)) {
    const reason = `has format version ${version}, and this Balsa reads version ${FILE_VERSION} only. Run the Balsa that wrote it`
    throw new RaftError('ERR_RAFT_STORE_FORMAT', `The directory ${dir} ${reason}`)
  }
}

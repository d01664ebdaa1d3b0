/** Which of our stores a folder holds, by its file `FORMAT`; the store itself refuses whatever else is wrong there. */

import { readFile, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { unlessAbsent } from '../disk/files.js'
import { isOurs, RaftError } from '../errors.js'
import { messageOf } from '../foreign-values.js'
import { optionsError, shown } from '../option-checks.js'
import { FileLogStore } from '../storage/file/file-log-store.js'
import { FORMAT_FILE, parseFormat } from '../storage/format-line.js'
import { NativeLogStore } from '../storage/native/native-log-store.js'

/** What writes a store, as `FORMAT` names it; the native store has two modes. */
export type StoreEngine = 'file' | 'lmdb' | 'journal'

export const ENGINES: readonly StoreEngine[] = ['file', 'lmdb', 'journal']

export interface FoundStore {
  /** Absolute. */
  readonly dir: string
  readonly engine: StoreEngine
  readonly formatVersion: number
  /** Not opened yet: each is for one call. */
  readonly make: () => FileLogStore | NativeLogStore
}

/** Rejects with ERR_RAFT_DIR_UNUSABLE where there is none. */
export async function storeIn(call: string, dir: string): Promise<FoundStore> {
  const path = checkDir(call, dir)
  const text = await formatOf(path)
  const line = text === null ? null : parseFormat(text)
  const engine = ENGINES.find((known) => known === line?.engine)
  if (line !== null && engine === undefined) {
    const reason = `was written by the engine ${line.engine}, and this Balsa reads ${ENGINES.join(', ')}. Run the Balsa that wrote it`
    throw new RaftError('ERR_RAFT_STORE_FORMAT', `The directory ${path} ${reason}`)
  }
  // Without a line that says so, the data does: an open by its store names what is wrong.
  const guessed = engine ?? ((await isThere(join(path, 'data.mdb'))) ? 'lmdb' : 'file')
  return { dir: path, engine: guessed, formatVersion: Number(line?.version ?? 0), make: () => makeStore(path, guessed) }
}

/** `null` is what a store answers with where none was made. */
export function nothingThere(dir: string): RaftError {
  return new RaftError('ERR_RAFT_DIR_UNUSABLE', `The directory ${dir} holds no store: name the folder of a server`)
}

export function checkDir(call: string, dir: unknown): string {
  if (typeof dir === 'string' && dir !== '') return resolve(dir)
  throw optionsError(`${call}: a folder is named by its path, and was given ${shown(dir)}`)
}

/** The text of `FORMAT`; null where there is none. */
export async function formatOf(dir: string): Promise<string | null> {
  try {
    const found = await unlessAbsent(() => stat(dir))
    if (found === null) throw new RaftError('ERR_RAFT_DIR_UNUSABLE', `The directory ${dir} does not exist`)
    if (!found.isDirectory()) throw new RaftError('ERR_RAFT_DIR_UNUSABLE', `${dir} is no directory`)
    return await unlessAbsent(() => readFile(join(dir, FORMAT_FILE), 'utf8'))
  } catch (error) {
    throw readable(dir, error)
  }
}

/** An error of the system as the library's own. */
export function readable(dir: string, error: unknown): unknown {
  if (isOurs(error)) return error
  const message = `The directory ${dir} cannot be used: ${messageOf(error)}. Check its owner, its mode and the mount`
  return new RaftError('ERR_RAFT_DIR_UNUSABLE', message, { cause: error })
}

function makeStore(dir: string, engine: StoreEngine): FileLogStore | NativeLogStore {
  return engine === 'file' ? new FileLogStore(dir) : new NativeLogStore(dir, null, engine)
}

async function isThere(path: string): Promise<boolean> {
  return (await unlessAbsent(() => stat(path))) !== null
}

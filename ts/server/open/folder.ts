/**
 * Whose folder it is: which server's, and whether it is the one that this server left, or a copy of it. Both stand in
 * the store, as facts that are written in the same ticket as the first entry; a store that was made before there were
 * such facts gets them at its next start.
 *
 * What must hold: nothing is said to a peer from a folder of another server, nor from a copy, unless the operator takes
 * it: what is in it may be older than what this server has acknowledged and voted.
 */

import { RaftError } from '../../errors.js'
import { isSameFile, newestFingerprint } from '../../storage/fingerprint.js'
import type { StoredState } from '../../storage/log-store.js'
import type { ServerId, StoreOperation } from '../../types.js'

const SERVER_ID_FACT = 'serverId'
export const FINGERPRINT_FACT = 'fingerprint'

export interface FolderOwner {
  readonly dir: string
  readonly id: ServerId
  /** Takes a copy for the folder that this server left. */
  readonly acceptCopiedFolder: boolean
}

/**
 * Throws when the folder is not this server's own. Answers with what is to be written so that it is known as that from
 * now on.
 */
export function claimFolder(owner: FolderOwner, stored: StoredState): readonly StoreOperation[] {
  const writtenId = folderIdOf(stored)
  if (writtenId !== null && writtenId !== owner.id) throw wrongFolder(owner, writtenId)
  const written = textOf(stored, FINGERPRINT_FACT)
  if (isCopy(stored) && !owner.acceptCopiedFolder) throw copiedFolder(owner, stored)
  const seen = stored.fingerprint
  const fingerprint = seen === null || written === null ? seen : newestFingerprint(written, seen)
  return [
    ...(writtenId === null ? [put(SERVER_ID_FACT, owner.id)] : []),
    ...(fingerprint === null || fingerprint === written ? [] : [put(FINGERPRINT_FACT, fingerprint)]),
  ]
}

/** Whether the files are others than those that the store was last opened in. */
export function isCopy(stored: StoredState): boolean {
  const written = textOf(stored, FINGERPRINT_FACT)
  return written !== null && stored.fingerprint !== null && !isSameFile(written, stored.fingerprint)
}

/** The server whose folder it is; null where it was made before folders said so. */
export function folderIdOf(stored: StoredState): ServerId | null {
  return textOf(stored, SERVER_ID_FACT)
}

function textOf({ facts }: StoredState, key: string): string | null {
  const value = facts.get(key)
  return value === undefined ? null : new TextDecoder().decode(value)
}

function put(key: string, text: string): StoreOperation {
  return { type: 'put', key, value: new TextEncoder().encode(text) }
}

function wrongFolder({ dir, id }: FolderOwner, written: ServerId): RaftError {
  return new RaftError(
    'ERR_RAFT_WRONG_FOLDER',
    `the folder ${dir} belongs to server ${written}, and this is server ${id}: it would vote and acknowledge in the name of another. Give each server the folder it was made with`,
  )
}

function copiedFolder({ dir, id }: FolderOwner, stored: StoredState): RaftError {
  const seen = `its data is file ${stored.fingerprint} of the filesystem, and was file ${textOf(stored, FINGERPRINT_FACT)} (inode/birth)`
  return new RaftError(
    'ERR_RAFT_COPIED_FOLDER',
    `the folder ${dir} of server ${id} is a copy, or was restored: ${seen}. Whatever this server acknowledged or voted after the copy was made is forgotten in it, so that writes which the cluster confirmed could vanish. Start from the original folder. Only if this copy was made after the server last ran, and the original will never run again, take it once with the option acceptCopiedFolder of Raft.open (balsa-kv: --accept-copied-folder). A backup is never such a copy (README, "Copies of a folder")`,
  )
}

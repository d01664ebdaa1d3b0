/** What went wrong with a snapshot, in the words of the errors of snapshot-store.ts. */

import { isOurs, RaftError } from '../errors.js'
import { isFull } from '../disk/files.js'
import { messageOf } from '../foreign-values.js'
import { MalformedBytes, UnknownFormat } from '../format/malformed.js'

/** `doing` is what was tried, as in `could not be written`. What is ours already stays as it is. */
export function snapshotFault(path: string, doing: string, error: unknown): Error {
  if (isOurs(error)) return error
  if (error instanceof UnknownFormat) {
    return new RaftError('ERR_RAFT_STORE_FORMAT', `The snapshot ${path} cannot be read: ${error.message}`, {
      cause: error,
    })
  }
  if (error instanceof MalformedBytes) return corruptError(path, error.message, error)
  const help = isFull(error) ? 'Its disk is full: free space, and try again' : 'Check the disk, and try again'
  return failedError(path, `${doing}: ${messageOf(error)}. ${help}`, error)
}

export function corruptError(path: string, reason: string, cause?: unknown): RaftError {
  const remedy = 'Check the disk; an intact copy of the file, put back under its name, is accepted'
  return new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', `The snapshot ${path} is damaged: ${reason}. ${remedy}`, { cause })
}

/** Of one that comes from another server. */
export function refusedError(path: string, reason: string): RaftError {
  const message = `The snapshot ${path} that was being received is refused: ${reason}. What came of it is removed; it may be sent again`
  return new RaftError('ERR_RAFT_SNAPSHOT_CORRUPT', message)
}

export function failedError(path: string, reason: string, cause?: unknown): RaftError {
  return new RaftError('ERR_RAFT_SNAPSHOT_FAILED', `The snapshot ${path} ${reason}`, { cause })
}

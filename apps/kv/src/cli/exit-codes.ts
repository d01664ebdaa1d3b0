/**
 * With which code the process ends (after sysexits.h), so that whoever started it knows whether starting it again can
 * help.
 */

import { RaftError, type RaftErrorCode } from 'balsa-raft'
import { SecurityError } from '../security/small-file.js'

export const exitCodes = {
  ok: 0,
  /** A defect of our own: started again, it may well work. */
  defect: 1,
  usage: 64,
  /** The log is damaged, or of another format than this version's. Only a person can help. */
  damaged: 65,
  /** A port is taken, the addon is missing, or no member has answered whom it was to join. */
  unavailable: 69,
  /**
   * The store failed and no longer says what is on the disk, or an entry could not be applied. Only a person should
   * decide to go on.
   */
  poisoned: 70,
  /** The folder cannot be made or written, or holds other things. */
  cannotCreate: 73,
  /** The disk is full. */
  full: 74,
  /** Another process holds the folder. */
  locked: 75,
  /** It was removed from the cluster. */
  removed: 77,
  /**
   * The folder belongs to another cluster or server or is a copy, or a peer is not who it was, or does not believe that
   * this one is who it says.
   */
  mismatch: 78,
} as const

/** Starting the same server again on its own would not help, or would hide a loss. */
export const neverRestarted: ReadonlySet<number> = new Set([
  exitCodes.usage,
  exitCodes.damaged,
  exitCodes.poisoned,
  exitCodes.cannotCreate,
  exitCodes.removed,
  exitCodes.mismatch,
])

const byError: Partial<Record<RaftErrorCode, number>> = {
  ERR_RAFT_OPTIONS: exitCodes.usage,
  ERR_RAFT_STORE_CORRUPT: exitCodes.damaged,
  ERR_RAFT_STORE_FORMAT: exitCodes.damaged,
  ERR_RAFT_TIMEOUT: exitCodes.unavailable,
  ERR_RAFT_LISTEN: exitCodes.unavailable,
  ERR_RAFT_NATIVE_UNAVAILABLE: exitCodes.unavailable,
  ERR_RAFT_STORE_POISONED: exitCodes.poisoned,
  ERR_RAFT_APPLY_FAILED: exitCodes.poisoned,
  ERR_RAFT_DIR_UNUSABLE: exitCodes.cannotCreate,
  ERR_RAFT_STORE_FULL: exitCodes.full,
  ERR_RAFT_DIR_LOCKED: exitCodes.locked,
  ERR_RAFT_CLUSTER_MISMATCH: exitCodes.mismatch,
  ERR_RAFT_CLUSTER_RECOVERED: exitCodes.mismatch,
  ERR_RAFT_WRONG_FOLDER: exitCodes.mismatch,
  ERR_RAFT_COPIED_FOLDER: exitCodes.mismatch,
  ERR_RAFT_PEER_REPLACED: exitCodes.mismatch,
  ERR_RAFT_BOOT_UNPROVEN: exitCodes.mismatch,
  ERR_RAFT_UNAUTHENTICATED: exitCodes.mismatch,
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError || error instanceof SecurityError) return exitCodes.usage
  if (error instanceof ListenError) return exitCodes.unavailable
  return error instanceof RaftError ? (byError[error.code] ?? exitCodes.defect) : exitCodes.defect
}

/** What was asked for makes no sense. The message names the option, what was given and what may be. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The Redis address cannot be listened at. The message names it and says why. */
export class ListenError extends Error {
  override readonly name = 'ListenError'
}

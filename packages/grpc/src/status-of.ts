/**
 * What an error of Balsa is to whoever speaks gRPC: a status, with its code, its outcome and its leader in metadata.
 */

import { Metadata, status } from '@grpc/grpc-js'
import { RaftError, type RaftErrorCode } from 'balsa-raft'

/** A status of gRPC, as the callback of a unary call and `emit('error', ...)` of a stream take it. */
export interface GrpcStatus {
  readonly code: status
  readonly details: string
  readonly metadata: Metadata
}

/** The keys of `statusOf`'s metadata; proto/balsa/admin/v1/admin.proto says what is in them. */
export const METADATA_KEYS = {
  code: 'balsa-code',
  outcome: 'balsa-outcome',
  retryable: 'balsa-retryable',
  leaderId: 'balsa-leader-id',
  leaderAddress: 'balsa-leader-address',
} as const

/** In words; headers have a bound. */
const DETAILS_LENGTH_MAX = 2000

const CODES: Readonly<Record<RaftErrorCode, status>> = {
  ERR_RAFT_NOT_LEADER: status.FAILED_PRECONDITION,
  ERR_RAFT_NO_LEADER: status.UNAVAILABLE,
  ERR_RAFT_OVERLOADED: status.RESOURCE_EXHAUSTED,
  ERR_RAFT_TOO_LARGE: status.INVALID_ARGUMENT,
  ERR_RAFT_ENCODE: status.INVALID_ARGUMENT,
  ERR_RAFT_INVALID: status.INVALID_ARGUMENT,
  ERR_RAFT_LEADERSHIP_LOST: status.ABORTED,
  ERR_RAFT_TRANSFER_IN_PROGRESS: status.ABORTED,
  ERR_RAFT_TRANSFER_FAILED: status.ABORTED,
  ERR_RAFT_TIMEOUT: status.DEADLINE_EXCEEDED,
  ERR_RAFT_ABORTED: status.CANCELLED,
  ERR_RAFT_CLOSED: status.UNAVAILABLE,
  ERR_RAFT_APPLY_FAILED: status.INTERNAL,
  ERR_RAFT_STORE_CORRUPT: status.DATA_LOSS,
  ERR_RAFT_STORE_FULL: status.RESOURCE_EXHAUSTED,
  ERR_RAFT_STORE_POISONED: status.INTERNAL,
  ERR_RAFT_STORE_FORMAT: status.INTERNAL,
  ERR_RAFT_SNAPSHOT_CORRUPT: status.DATA_LOSS,
  ERR_RAFT_SNAPSHOT_FAILED: status.INTERNAL,
  ERR_RAFT_NATIVE_UNAVAILABLE: status.INTERNAL,
  ERR_RAFT_DIR_LOCKED: status.FAILED_PRECONDITION,
  ERR_RAFT_DIR_UNUSABLE: status.FAILED_PRECONDITION,
  ERR_RAFT_CLUSTER_MISMATCH: status.FAILED_PRECONDITION,
  ERR_RAFT_CLUSTER_RECOVERED: status.FAILED_PRECONDITION,
  ERR_RAFT_WRONG_FOLDER: status.FAILED_PRECONDITION,
  ERR_RAFT_COPIED_FOLDER: status.FAILED_PRECONDITION,
  ERR_RAFT_PEER_REPLACED: status.FAILED_PRECONDITION,
  ERR_RAFT_BOOT_UNPROVEN: status.FAILED_PRECONDITION,
  ERR_RAFT_THREAD_LOST: status.UNAVAILABLE,
  ERR_RAFT_LISTEN: status.FAILED_PRECONDITION,
  ERR_RAFT_UNREACHABLE: status.UNAVAILABLE,
  ERR_RAFT_CLIENT_REFUSED: status.PERMISSION_DENIED,
  ERR_RAFT_UNAUTHENTICATED: status.UNAUTHENTICATED,
  ERR_RAFT_QUERY_FAILED: status.INTERNAL,
  ERR_RAFT_CHANGE_REFUSED: status.FAILED_PRECONDITION,
  ERR_RAFT_REMOVED: status.FAILED_PRECONDITION,
  ERR_RAFT_SESSION_LOST: status.FAILED_PRECONDITION,
  ERR_RAFT_SESSION_SEQUENCE: status.FAILED_PRECONDITION,
  ERR_RAFT_ANSWER_LOST: status.UNKNOWN,
  ERR_RAFT_OPTIONS: status.INVALID_ARGUMENT,
}

/**
 * The status for an error that a call of Balsa has rejected with; also for the services of an application. What is no
 * RaftError is UNKNOWN, without its words: they may hold what is not meant for a caller.
 */
export function statusOf(error: unknown): GrpcStatus {
  const metadata = new Metadata()
  if (!(error instanceof RaftError)) return { code: status.UNKNOWN, details: 'an error of the server', metadata }
  const { code, outcome, retryable, leader, message } = error
  metadata.set(METADATA_KEYS.code, code)
  metadata.set(METADATA_KEYS.outcome, outcome)
  metadata.set(METADATA_KEYS.retryable, String(retryable))
  if (leader !== null) {
    metadata.set(METADATA_KEYS.leaderId, asciiOf(leader.id))
    metadata.set(METADATA_KEYS.leaderAddress, asciiOf(leader.address))
  }
  // A later version of Balsa may have codes that this package does not know.
  const known: status | undefined = CODES[code]
  return { code: known ?? status.UNKNOWN, details: wellFormed(message).slice(0, DETAILS_LENGTH_MAX), metadata }
}

/** gRPC encodes details as a URI, and fails for half of a pair of surrogates. */
const wellFormed = (text: string): string => text.replaceAll(/\p{Cs}/gu, '\ufffd')

const asciiOf = (text: string): string => wellFormed(text).replaceAll(/[^\x20-\x7e]|%/gu, encodeURIComponent)

/**
 * WAIT numreplicas timeout, and RAFT INDEX: how far what this connection wrote has come. Both wait for the connection's
 * own writes first.
 */

import { parseInteger } from '../data-set/integer.js'
import { failure, notAnInteger, type ErrorReply, type Reply } from '../resp/reply.js'
import { elsewhere } from '../server/raft-answers.js'
import type { LocalContext } from './local-command.js'

interface Wanted {
  readonly count: number
  /** Infinity: as long as it takes. */
  readonly timeoutMs: number
}

export function wait(context: LocalContext, words: readonly string[]): Promise<Reply> | ErrorReply {
  const wanted = wantedOf(words)
  if ('type' in wanted) return wanted
  const { client, server } = context
  const known = copiesOf(context)
  if (typeof known !== 'number') return known
  if (known >= wanted.count) return Promise.resolve(known)
  if (!server.leadership.isLeader) {
    const leader = server.leadership.leader?.id ?? 'nobody'
    return failure(
      `ERR WAIT: this server forwards, and knows of ${known} others by the quorum alone; ask the leader (${leader}) for more`,
    )
  }
  return server.copyWaits.wait({ client, index: client.session.writtenIndex, ...wanted })
}

/** As it stands in a transaction, where it waits for nothing. */
export function waitNot(context: LocalContext, words: readonly string[]): Reply {
  const wanted = wantedOf(words)
  return 'type' in wanted ? wanted : copiesOf(context)
}

export function lastIndex({ client: { session } }: LocalContext): Promise<Reply> {
  return Promise.resolve(session.writtenIndex)
}

/** Other servers that are known to have on disk what this connection wrote. */
function copiesOf({ client: { session }, server }: LocalContext): number | ErrorReply {
  const { leadership, status } = server
  if (leadership.isLeader) return server.copyWaits.copies(session.writtenIndex)
  if (!leadership.forwards) return failure('ERR WAIT cannot be used with replica instances; ask the leader')
  if (leadership.leader === null) return elsewhere(leadership, 0)
  // What was answered is on a quorum, and only the leader knows on which others. A configuration that is not committed
  // may want more of them than have it.
  const { voters, outgoing } = status.configuration
  if (!status.configurationIsCommitted) return 0
  const quorum = (count: number): number => Math.floor(count / 2) + 1
  return Math.max(quorum(voters.length), outgoing === null ? 0 : quorum(outgoing.length)) - 1
}

/** In the order in which Redis looks. */
function wantedOf(words: readonly string[]): Wanted | ErrorReply {
  const count = parseInteger(words[1] ?? '')
  if (count === null) return notAnInteger
  const timeout = parseInteger(words[2] ?? '')
  if (typeof timeout !== 'number') return failure('ERR timeout is not an integer or out of range')
  if (timeout < 0) return failure('ERR timeout is negative')
  return { count: Number(count), timeoutMs: timeout === 0 ? Infinity : timeout }
}

/** SAVE, BGSAVE and LASTSAVE: snapshots of this server, which compact its log. */

import { failure, status, syntaxError, textBytes, type ErrorReply, type Reply } from '../resp/reply.js'
import type { LocalContext, ServerState } from './local-command.js'

/** Answered when the snapshot is durable: only the client that asked waits for it. */
export function save({ server }: LocalContext): Promise<Reply> | ErrorReply {
  return refusal(server) ?? server.saves.save().then(() => status('OK'))
}

export function backgroundSave({ server }: LocalContext, words: readonly string[]): Reply {
  const isScheduled = words.length === 2 && words[1]?.toLowerCase() === 'schedule'
  if (words.length > 1 && !isScheduled) return syntaxError
  const refused = refusal(server)
  if (refused !== null) return refused
  const { isTaking } = server.saves
  if (isTaking && !isScheduled) return failure('ERR Background save already in progress')
  // What becomes of it is told by INFO persistence, and in the log.
  server.saves.save().catch(() => undefined)
  return status(isTaking ? 'Background saving scheduled' : 'Background saving started')
}

export const lastSave = ({ server }: LocalContext): Reply => Math.floor(server.saves.lastAt / 1000)

function refusal({ saves }: ServerState): ErrorReply | null {
  return saves.unavailable === null ? null : failure(`ERR no snapshot is taken: ${textBytes(saves.unavailable)}`)
}

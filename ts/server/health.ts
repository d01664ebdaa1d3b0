/**
 * Whether a server runs, and whether it may be asked: in one look, with the reason when not.
 *
 * Ready means what `ready()` waits for, and that it still holds: a leader is known, and state is current as of two
 * election timeouts ago or later. That is as long as it takes a follower to doubt its leader, or a leader to learn that
 * nobody follows it: who is cut off, or stands still while others go on, is not ready from then on.
 */

import type { RaftCore } from '../core/raft-core.js'
import type { RaftErrorCode } from '../errors.js'
import type { Currency } from './currency.js'
import type { Life } from './life.js'

const STALENESS_TIMEOUTS_MAX = 2

/** Whether a server is alive, and whether it is ready to be asked (docs/watching.md). */
export interface Health {
  /** It runs: it has neither halted nor begun to close. */
  readonly isAlive: boolean
  /** A leader is known, and local state is current. */
  readonly isReady: boolean
  /** Why it is not ready; null while it is. */
  readonly reason: string | null
  /** Of the error that halted it; null when none has. */
  readonly fault: RaftErrorCode | null
  /** How long ago everything that was then known to be committed is applied here by now; null before the first time. */
  readonly stalenessMs: number | null
}

export interface HealthParts {
  readonly core: RaftCore
  readonly life: Life
  readonly currency: Currency
  readonly isRestoring: boolean
  readonly electionTimeoutMs: number
  readonly now: number
}

export function healthOf(parts: HealthParts): Health {
  const { core, life, currency, now } = parts
  // A turn may be long ago: a server that is alone, and idle, has none.
  if (life.isRunning) currency.look(core, now)
  const stalenessMs = currency.at === -Infinity ? null : now - currency.at
  const reason = reasonOf(parts, stalenessMs)
  return Object.freeze({
    isAlive: life.refusal === null,
    isReady: reason === null,
    reason,
    fault: life.fault?.code ?? null,
    stalenessMs,
  })
}

function reasonOf(parts: HealthParts, stalenessMs: number | null): string | null {
  const { core, life, isRestoring, electionTimeoutMs } = parts
  if (life.fault !== null) return `this server has halted: ${life.fault.code}`
  if (life.refusal !== null) return 'this server is closing, or closed'
  if (!core.isMember) return 'this server is no member of the cluster'
  if (core.leader === null) return 'no leader is known'
  if (isRestoring) return 'the state machine is being restored from a snapshot'
  if (stalenessMs === null) return 'what was committed when the leader became known is not applied yet'
  const max = STALENESS_TIMEOUTS_MAX * electionTimeoutMs
  if (stalenessMs <= max) return null
  return `local state is current as of ${Math.round(stalenessMs)} ms ago, and ${max} ms are the most`
}

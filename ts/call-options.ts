/**
 * The options of single calls, the same on a server and on a client, and the check of them. A default stands where the
 * call is.
 */

import { checkNumber, checkOptionNames, fail, has, optionsError, shown } from './option-checks.js'
import { isPosition, logIndex } from './types.js'
import type { SessionToken } from './types.js'

/** Every name that a call takes which can be waited for. */
export const CALL_OPTION_NAMES: readonly string[] = ['signal', 'timeoutMs']
const SESSION_OPTION_NAMES = [...CALL_OPTION_NAMES, 'expiresAfterMs']
const READ_OPTION_NAMES: readonly string[] = [...CALL_OPTION_NAMES, 'consistency']
const SUBMIT_OPTION_NAMES: readonly string[] = [...CALL_OPTION_NAMES, 'retry']

/** Throws ERR_RAFT_OPTIONS when the options of a call that can be waited for are wrong; `call` is its name. */
export function checkCallOptions(call: string, options: object | undefined): void {
  if (options !== undefined) checkWait(call, options, CALL_OPTION_NAMES)
}

/** As `checkCallOptions`, for a read. */
export function checkReadOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, READ_OPTION_NAMES)
  const { consistency = 'linearizable' } = options as { readonly consistency?: unknown }
  if (consistency !== 'linearizable' && consistency !== 'lease' && consistency !== 'stale') {
    fail('consistency', `is ${shown(consistency)}; must be linearizable, lease or stale`)
  }
}

/** As `checkCallOptions`, for a query. */
export function checkQueryOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, READ_OPTION_NAMES)
  const { consistency = 'linearizable' } = options as { readonly consistency?: unknown }
  if (consistency === 'linearizable' || consistency === 'lease' || consistency === 'stale') return
  const names = typeof consistency === 'object' && consistency !== null ? Object.keys(consistency) : []
  const { maxStalenessMs, minIndex } = (consistency ?? {}) as Readonly<Record<string, unknown>>
  if (names.length !== 1 || (maxStalenessMs === undefined && minIndex === undefined)) {
    const kinds = 'linearizable, lease, stale, { maxStalenessMs } or { minIndex }'
    fail(
      'consistency',
      `is ${shown(consistency)}${names.length === 0 ? '' : ` with ${names.join(', ')}`}; must be ${kinds}`,
    )
  }
  if (maxStalenessMs !== undefined) checkNumber('maxStalenessMs', maxStalenessMs, 0, 2 ** 31 - 1)
  else if (!isPosition(minIndex)) fail('minIndex', `is ${shown(minIndex)}; must be an index, such as propose tells`)
}

/** As `checkCallOptions`, for a command that any server takes. */
export function checkSubmitOptions(call: string, options: object | undefined): void {
  if (options === undefined) return
  checkWait(call, options, SUBMIT_OPTION_NAMES)
  const { retry = 'safe' } = options as { readonly retry?: unknown }
  if (retry !== 'safe' && retry !== 'idempotent' && retry !== false) {
    fail('retry', `is ${shown(retry)}; must be safe, idempotent or false`)
  }
}

/** Of entry time, without an entry of a session: an hour, or what is asked for. */
const SESSION_EXPIRES_MS = 3_600_000
export const SESSION_EXPIRES_MS_MIN = 1000
export const SESSION_EXPIRES_MS_MAX = 30 * 24 * 3_600_000
/** Above it must be room for all that are still to come. */
export const SEQUENCE_MAX = 2 ** 52

/** As `checkCallOptions`, for a session that is opened. Answers with when it expires. */
export function checkSessionOptions(call: string, options: object | undefined): number {
  if (options === undefined) return SESSION_EXPIRES_MS
  checkWait(call, options, SESSION_OPTION_NAMES)
  const { expiresAfterMs = SESSION_EXPIRES_MS } = options as { readonly expiresAfterMs?: number }
  checkNumber('expiresAfterMs', expiresAfterMs, SESSION_EXPIRES_MS_MIN, SESSION_EXPIRES_MS_MAX)
  return Math.floor(expiresAfterMs)
}

/** What a session is resumed with. */
export function checkSessionToken(call: string, token: unknown): SessionToken {
  const { id, sequence } = (typeof token === 'object' && token !== null ? token : {}) as Partial<SessionToken>
  if (isPosition(id) && id > 0 && isPosition(sequence, SEQUENCE_MAX) && sequence > 0)
    return { id: logIndex(id), sequence }
  throw optionsError(`${call} takes the token of a session, { id, sequence }, and was given ${shown(token)}`)
}

export function checkWait(call: string, options: object, names: readonly string[]): void {
  checkOptionNames(call, options, names)
  const { signal, timeoutMs } = options as { readonly signal?: unknown; readonly timeoutMs?: unknown }
  // What setTimeout can hold.
  if (timeoutMs !== undefined) checkNumber('timeoutMs', timeoutMs, 1, 2 ** 31 - 1)
  if (signal !== undefined && !isSignal(signal)) fail('signal', 'must be an AbortSignal')
}

/** Told by what it has: a signal of another realm is none of this one's AbortSignals. */
export function isSignal(value: unknown): boolean {
  if (!has(value, 'addEventListener', 'removeEventListener')) return false
  return typeof (value as { readonly aborted?: unknown }).aborted === 'boolean'
}

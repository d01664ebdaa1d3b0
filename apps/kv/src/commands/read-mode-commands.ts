/** READONLY and READWRITE: how a connection reads. */

import { parseInteger } from '../data-set/integer.js'
import { failure, ok, quote } from '../resp/reply.js'
import type { ErrorReply, Reply } from '../resp/reply.js'
import type { ReadMode } from '../server/client/read-mode.js'
import type { LocalContext } from './local-command.js'

const USAGE = 'READONLY takes nothing, or LINEARIZABLE, LEASE, STALE, MAXSTALENESS <milliseconds> or MININDEX <index>'

export function readonlyOn({ client: { session } }: LocalContext, words: readonly string[]): Reply {
  const mode = readModeOf(words.slice(1))
  if (typeof mode === 'object' && 'type' in mode) return mode
  session.readMode = mode
  return ok
}

export function readonlyOff({ client: { session } }: LocalContext): Reply {
  session.readMode = 'leader'
  return ok
}

function readModeOf([name, number, ...rest]: readonly string[]): ReadMode | ErrorReply {
  if (rest.length > 0) return failure(`ERR ${USAGE}; there is more behind that`)
  const mode = name?.toLowerCase()
  switch (mode) {
    case undefined:
      return 'replica'
    case 'linearizable':
    case 'lease':
    case 'stale':
      return number === undefined ? mode : failure(`ERR ${USAGE}; ${mode.toUpperCase()} stands alone`)
    case 'maxstaleness': {
      const maxStalenessMs = wholeNumber(number)
      return maxStalenessMs === null ? notWhole('MAXSTALENESS', number) : { maxStalenessMs }
    }
    case 'minindex': {
      const minIndex = wholeNumber(number)
      return minIndex === null ? notWhole('MININDEX', number) : { minIndex }
    }
    default:
      return failure(`ERR ${USAGE}; '${quote(name ?? '')}' is none of them`)
  }
}

/** Null: it is not of 0 .. 2^53 - 1. */
function wholeNumber(text: string | undefined): number | null {
  const value = parseInteger(text ?? '')
  return typeof value === 'number' && value >= 0 ? value : null
}

function notWhole(name: string, given: string | undefined): ErrorReply {
  const is = given === undefined ? 'nothing' : `'${quote(given)}'`
  return failure(`ERR ${name} takes a whole number of 0 .. ${Number.MAX_SAFE_INTEGER}, and was given ${is}`)
}

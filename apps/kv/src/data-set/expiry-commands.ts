/** EXPIRE and its relatives: everything that reads or sets a deadline of a key that is there. */

import { failure, notAnInteger, quote, type ErrorReply, type Reply } from '../resp/reply.js'
import type { DataSet } from './data-set.js'
import { parseInteger } from './integer.js'

const DEADLINE_MAX = 2n ** 63n - 1n

export interface DeadlineUnits {
  readonly unitMs: 1 | 1000
  /** What the amount is counted from. */
  readonly base: number
  /** The smallest amount that is not an error. */
  readonly min: number
}

/**
 * Turns an amount as a client gave it into a deadline, or says why not, in the order in which Redis looks. Deadlines
 * beyond 2^53 (the year 287,396) are kept to 53 bits.
 */
export function deadlineFrom(command: string, amount: string, units: DeadlineUnits): number | ErrorReply {
  const value = parseInteger(amount)
  if (value === null) return notAnInteger
  const deadline = BigInt(value) * BigInt(units.unitMs)
  if (value < units.min || deadline < -DEADLINE_MAX - 1n || deadline > DEADLINE_MAX - BigInt(units.base)) {
    return failure(`ERR invalid expire time in '${command}' command`)
  }
  return Number(deadline) + units.base
}

type Handler = (data: DataSet, words: readonly string[], now: number) => Reply

export function expireCommand(unitMs: 1 | 1000): Handler {
  return (data, words, now) => {
    const [command = '', key = '', amount = ''] = words
    const conditions = readConditions(words)
    if ('type' in conditions) return conditions
    const deadline = deadlineFrom(command, amount, { unitMs, base: now, min: Number.NEGATIVE_INFINITY })
    if (typeof deadline !== 'number') return deadline
    const old = data.get(key)?.deadline
    if (old === undefined || !permits(conditions, old, deadline)) return 0
    // 0 means for ever, so a deadline long past is brought to the first millisecond that is not.
    data.setDeadline(key, Math.max(1, deadline))
    return 1
  }
}

export function remaining(unitMs: 1 | 1000): Handler {
  return (data, words, now) => {
    const item = data.get(words[1] ?? '')
    if (item === undefined) return -2
    if (item.deadline === 0) return -1
    const left = Math.max(0, item.deadline - now)
    return unitMs === 1 ? left : Math.floor((left + 500) / 1000)
  }
}

export function persist(data: DataSet, words: readonly string[]): Reply {
  const key = words[1] ?? ''
  const deadline = data.get(key)?.deadline ?? 0
  if (deadline === 0) return 0
  data.setDeadline(key, 0)
  return 1
}

interface Conditions {
  readonly nx: boolean
  readonly xx: boolean
  readonly gt: boolean
  readonly lt: boolean
}

function readConditions(words: readonly string[]): Conditions | ErrorReply {
  const found = { nx: false, xx: false, gt: false, lt: false }
  for (const word of words.slice(3)) {
    const option = word.toLowerCase()
    if (option !== 'nx' && option !== 'xx' && option !== 'gt' && option !== 'lt') {
      return failure(`ERR Unsupported option ${quote(word, word.length)}`)
    }
    found[option] = true
  }
  if (found.nx && (found.xx || found.gt || found.lt)) {
    return failure('ERR NX and XX, GT or LT options at the same time are not compatible')
  }
  if (found.gt && found.lt) return failure('ERR GT and LT options at the same time are not compatible')
  return found
}

/** A key without a deadline counts as one whose deadline never comes. */
function permits(conditions: Conditions, old: number, deadline: number): boolean {
  if (conditions.nx && old !== 0) return false
  if (conditions.xx && old === 0) return false
  if (conditions.gt && (old === 0 || deadline <= old)) return false
  return !(conditions.lt && old !== 0 && deadline >= old)
}

/**
 * How large the answer of a command that tells values will be, by the values that are here now: known before it
 * begins, so that a client with many of them under way is stopped in time. Only a guess, since what is under way
 * changes values.
 */

import type { CommandRow } from '../../commands/command-table.js'
import type { DataSet } from '../../data-set/data-set.js'

/** Where no value is longer, looking for one would cost more than that it may be shorter. */
const SMALL_VALUE_BYTES = 512

/** `least`: what each value may have become by then. */
export function expectedAnswerBytes(row: CommandRow, words: readonly string[], data: DataSet, least: number): number {
  switch (row.name) {
    case 'get':
    case 'getset':
    case 'getdel':
      return valueBytes(data, words[1], least)
    case 'set':
      // Only with options may it tell the old value.
      return words.length > 3 ? valueBytes(data, words[1], least) : 0
    case 'mget': {
      let bytes = 0
      for (let at = 1; at < words.length; at += 1) bytes += valueBytes(data, words[at], least)
      return bytes
    }
    default:
      return 0
  }
}

function valueBytes(data: DataSet, key: string | undefined, least: number): number {
  if (data.valueBytesMax <= SMALL_VALUE_BYTES) return Math.max(least, data.valueBytesMax)
  return Math.max(least, data.get(key ?? '')?.value.length ?? 0)
}

/**
 * The commands that touch the data set. Each is a function of the data set, its arguments and a time, and of nothing
 * else; it answers what Redis 7 answers and never throws. Those that write run on every server, when their entry is
 * applied.
 */

import { BULK_BYTES_MAX } from '../limits.js'
import { failure, notAnInteger, ok, status, syntaxError, wrongArity, type Reply } from '../resp/reply.js'
import type { DataSet } from './data-set.js'
import { expireCommand, persist, remaining } from './expiry-commands.js'
import { isRefusal, prepareGlob } from './glob.js'
import { addIntegers, negateInteger, parseInteger, type Integer } from './integer.js'
import { keysWalk, type KeyWalkOf } from './key-walk.js'
import { set } from './set-command.js'

/** `words[0]` is the command's name in lower case; `now`: entry time, by which TTL counts and EX begins. */
export type DataHandler = (data: DataSet, words: readonly string[], now: number) => Reply

export interface DataCommand {
  readonly writes: boolean
  /**
   * Looks at many keys that its words do not name: no part of a transaction, since an entry's work must be bounded by
   * its size.
   */
  readonly walks: boolean
  /** How it is carried out in slices; null: `run` is short enough. */
  readonly walkOf: KeyWalkOf | null
  readonly run: DataHandler
}

const reads = (run: DataHandler): DataCommand => ({ writes: false, walks: false, walkOf: null, run })
const walks = (run: DataHandler, walkOf: KeyWalkOf | null = null): DataCommand => {
  return { writes: false, walks: true, walkOf, run }
}
const writes = (run: DataHandler): DataCommand => ({ writes: true, walks: false, walkOf: null, run })

/** By name in lower case. The arity has been checked against the command table. */
export const dataCommands: ReadonlyMap<string, DataCommand> = new Map([
  ['get', reads((data, words) => data.get(word(words, 1))?.value ?? null)],
  ['set', writes(set)],
  ['setnx', writes(setnx)],
  ['getset', writes(getset)],
  ['getdel', writes(getdel)],
  ['del', writes(del)],
  ['unlink', writes(del)],
  ['exists', reads(exists)],
  ['incr', writes((data, words) => increment(data, word(words, 1), 1))],
  ['decr', writes((data, words) => increment(data, word(words, 1), -1))],
  ['incrby', writes(incrby)],
  ['decrby', writes(decrby)],
  ['append', writes(append)],
  ['strlen', reads((data, words) => data.get(word(words, 1))?.value.length ?? 0)],
  ['mget', reads((data, words) => words.slice(1).map((key) => data.get(key)?.value ?? null))],
  ['mset', writes(mset)],
  ['expire', writes(expireCommand(1000))],
  ['pexpire', writes(expireCommand(1))],
  ['ttl', reads(remaining(1000))],
  ['pttl', reads(remaining(1))],
  ['persist', writes(persist)],
  ['type', reads((data, words) => status(data.get(word(words, 1)) === undefined ? 'none' : 'string'))],
  ['scan', walks(scan)],
  ['keys', walks(keys, keysWalk)],
  ['dbsize', reads((data) => data.size)],
  ['flushall', writes(flushall)],
])

const word = (words: readonly string[], at: number): string => words[at] ?? ''

function setnx(data: DataSet, words: readonly string[]): Reply {
  const key = word(words, 1)
  if (data.get(key) !== undefined) return 0
  data.set(key, word(words, 2), 0)
  return 1
}

function getset(data: DataSet, words: readonly string[]): Reply {
  const key = word(words, 1)
  const old = data.get(key)?.value ?? null
  data.set(key, word(words, 2), 0)
  return old
}

function getdel(data: DataSet, words: readonly string[]): Reply {
  const key = word(words, 1)
  const old = data.get(key)?.value ?? null
  if (old !== null) data.delete(key)
  return old
}

function del(data: DataSet, words: readonly string[]): Reply {
  let count = 0
  for (let at = 1; at < words.length; at += 1) if (data.delete(word(words, at))) count += 1
  return count
}

function exists(data: DataSet, words: readonly string[]): Reply {
  let count = 0
  for (let at = 1; at < words.length; at += 1) if (data.get(word(words, at)) !== undefined) count += 1
  return count
}

function incrby(data: DataSet, words: readonly string[]): Reply {
  const by = parseInteger(word(words, 2))
  return by === null ? notAnInteger : increment(data, word(words, 1), by)
}

function decrby(data: DataSet, words: readonly string[]): Reply {
  const by = parseInteger(word(words, 2))
  if (by === null) return notAnInteger
  const opposite = negateInteger(by)
  return opposite === null ? failure('ERR decrement would overflow') : increment(data, word(words, 1), opposite)
}

function increment(data: DataSet, key: string, by: Integer): Reply {
  const item = data.get(key)
  const old = parseInteger(item?.value ?? '0')
  if (old === null) return notAnInteger
  const sum = addIntegers(old, by)
  if (sum === null) return failure('ERR increment or decrement would overflow')
  data.set(key, String(sum), item?.deadline ?? 0)
  return sum
}

function append(data: DataSet, words: readonly string[]): Reply {
  const key = word(words, 1)
  const item = data.get(key)
  const value = (item?.value ?? '') + word(words, 2)
  if (value.length > BULK_BYTES_MAX) {
    return failure('ERR string exceeds maximum allowed size (proto-max-bulk-len)')
  }
  const old = item?.value.length ?? 0
  data.set(key, value, item?.deadline ?? 0)
  if (old >> JOIN_SHIFT !== value.length >> JOIN_SHIFT) data.joinLater(key)
  return value.length
}

/**
 * V8 joins strings by reference, 32 bytes for each join, until somebody looks inside: a value of a million one-byte
 * appends took 32 MB. So it is made to look every 4 KiB (then 1 MB), but not at once: a transaction may append to
 * hundreds of long values, and each takes a millisecond.
 */
const JOIN_SHIFT = 12

function mset(data: DataSet, words: readonly string[]): Reply {
  if (words.length % 2 === 0) return wrongArity('mset')
  for (let at = 1; at < words.length; at += 2) data.set(word(words, at), word(words, at + 1), 0)
  return ok
}

/** All at once, as entries of earlier versions may ask for it; a client's own is a walk. */
function keys(data: DataSet, words: readonly string[]): Reply {
  const walk = keysWalk(words)
  if ('type' in walk) return walk
  let cursor = 0
  do cursor = data.scan(cursor, data.size, ({ key }) => walk.visit(key))
  while (cursor !== 0)
  return walk.answer()
}

function scan(data: DataSet, words: readonly string[]): Reply {
  const cursor = /^[0-9]{1,15}$/.test(word(words, 1)) ? Number(word(words, 1)) : null
  if (cursor === null) return failure('ERR invalid cursor')
  let count: Integer = 10
  let pattern = '*'
  let wantsStrings = true
  for (let at = 2; at < words.length; at += 2) {
    const value = words[at + 1]
    const option = word(words, at).toLowerCase()
    if (value === undefined) return syntaxError
    if (option === 'count') {
      const number = parseInteger(value)
      if (number === null) return notAnInteger
      if (number < 1) return syntaxError
      count = number
    } else if (option === 'match') {
      pattern = value
    } else if (option === 'type') {
      wantsStrings = value.toLowerCase() === 'string'
    } else {
      return syntaxError
    }
  }
  const accepts = prepareGlob(pattern)
  if (isRefusal(accepts)) return accepts
  const found: string[] = []
  const next = data.scan(cursor, Number(count), (item) => {
    if (wantsStrings && accepts(item.key)) found.push(item.key)
  })
  return [String(next), found]
}

function flushall(data: DataSet, words: readonly string[]): Reply {
  const how = words[1]?.toLowerCase() ?? 'sync'
  if (words.length > 2 || (how !== 'sync' && how !== 'async')) return syntaxError
  data.clear()
  return ok
}

/** SET with its options. */

import { ok, syntaxError, type ErrorReply, type Reply } from '../resp/reply.js'
import type { DataSet } from './data-set.js'
import { deadlineFrom } from './expiry-commands.js'

interface SetOptions {
  readonly condition: 'always' | 'ifMissing' | 'ifThere'
  readonly returnsOld: boolean
  readonly keepsDeadline: boolean
  readonly expiry: { readonly option: ExpiryOption; readonly amount: string } | null
}

type ExpiryOption = 'ex' | 'px' | 'exat' | 'pxat'

export function set(data: DataSet, words: readonly string[], now: number): Reply {
  // Hot path: without options.
  if (words.length === 3) {
    data.set(words[1] ?? '', words[2] ?? '', 0)
    return ok
  }
  const options = readOptions(words)
  if ('type' in options) return options
  let deadline = 0
  if (options.expiry !== null) {
    const { option, amount } = options.expiry
    const base = option === 'ex' || option === 'px' ? now : 0
    const found = deadlineFrom('set', amount, { unitMs: option === 'ex' || option === 'exat' ? 1000 : 1, base, min: 1 })
    if (typeof found !== 'number') return found
    deadline = found
  }
  const [, key = '', value = ''] = words
  const old = data.get(key)
  const answer = (done: boolean): Reply => (options.returnsOld ? (old?.value ?? null) : done ? ok : null)
  if (options.condition === 'ifMissing' ? old !== undefined : options.condition === 'ifThere' && old === undefined) {
    return answer(false)
  }
  const reply = answer(true)
  data.set(key, value, options.keepsDeadline ? (old?.deadline ?? 0) : deadline)
  return reply
}

function readOptions(words: readonly string[]): SetOptions | ErrorReply {
  let condition: SetOptions['condition'] = 'always'
  let returnsOld = false
  let keepsDeadline = false
  let expiry: SetOptions['expiry'] = null
  for (let at = 3; at < words.length; at += 1) {
    const option = words[at]?.toLowerCase() ?? ''
    if (option === 'nx' && condition !== 'ifThere') {
      condition = 'ifMissing'
    } else if (option === 'xx' && condition !== 'ifMissing') {
      condition = 'ifThere'
    } else if (option === 'get') {
      returnsOld = true
    } else if (option === 'keepttl' && expiry === null) {
      keepsDeadline = true
    } else if (isExpiry(option) && !keepsDeadline && (expiry === null || expiry.option === option)) {
      at += 1
      const amount = words[at]
      if (amount === undefined) return syntaxError
      expiry = { option, amount }
    } else {
      return syntaxError
    }
  }
  return { condition, returnsOld, keepsDeadline, expiry }
}

function isExpiry(option: string): option is ExpiryOption {
  return option === 'ex' || option === 'px' || option === 'exat' || option === 'pxat'
}

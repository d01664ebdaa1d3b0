/** What one client says on one connection, and what is known of it by its answers so far. */

import type { Answer } from './answer.js'

export interface Request {
  /** The name in lower case. */
  readonly words: readonly string[]
  /** Names what it writes, once in a world (`markOf`); null: it writes nothing. */
  readonly mark: string | null
  /** What had been seen by anybody when it was sent: an index of the log. */
  readonly seen: number
  /** By which the server judged deadlines when it was sent. */
  readonly entryTime: number
}

/** A key that is watched: its WATCH was carried out somewhere between these entries. */
export interface Watch {
  readonly from: number
  readonly to: number
}

export class Dialogue {
  readonly name: string
  /** READONLY was said: its reads may be old, but never go back. */
  readonly isStale: boolean
  /** Sent and not answered, the oldest first. */
  readonly pending: Request[] = []
  /** Everything up to this entry has been seen here. */
  low = 0
  readonly watches = new Map<string, Watch>()
  /** Queued since MULTI; null outside. */
  queued: Request[] | null = null
  /** One of them was refused. */
  isRefused = false
  /** A walk by SCAN: what was returned so far, and where it began. */
  walk: { readonly from: number; readonly found: Set<string> } | null = null

  constructor(name: string, isStale: boolean) {
    this.name = name
    this.isStale = isStale
  }
}

/** Of a command as it was sent or as it stands in the log: what no other in this world writes. */
export function markOf(words: readonly string[]): string | null {
  const [name = '', key = '', argument = ''] = words
  switch (name) {
    case 'set':
    case 'mset':
      return `value ${argument}`
    case 'incrby':
      return `${key} by ${argument}`
    case 'pexpire':
      return `expiry ${argument}`
    case 'del':
      return `deletion ${words.at(-1)}`
    case 'flushall':
      return `flush ${key}`
    default:
      return null
  }
}

/** Of a transaction: that of the first command that has one. */
export function markOfAll(commands: readonly (readonly string[])[]): string | null {
  for (const words of commands) {
    const mark = markOf(words)
    if (mark !== null) return mark
  }
  return null
}

export function show(answer: Answer): string {
  const text = typeof answer === 'string' ? answer : `[${answer.map(show).join(', ')}]`
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

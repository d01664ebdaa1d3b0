/**
 * What the commands of the worlds mean, one after the other, as the log has them: a sequential model that shares
 * nothing with the server. It keeps every state that there was, so that a read can be held against any of them.
 */

import { NOTHING, type Answer } from './answer.js'

/** What an entry of the log says, as the server wrote it. */
export type ModelEntry =
  | { readonly type: 'command'; readonly words: readonly string[] }
  | {
      readonly type: 'transaction'
      readonly watched: readonly { readonly key: string; readonly version: number }[]
      readonly commands: readonly (readonly string[])[]
    }
  | { readonly type: 'time' }

/** A key from the entry `at` on, until its next version. */
export interface Version {
  readonly at: number
  /** Null: deleted. */
  readonly value: string | null
  /** By the time of entries; 0: none. */
  readonly deadline: number
}

const ABSENT: Version = { at: 0, value: null, deadline: 0 }
const NOT_AN_INTEGER = '-ERR value is not an integer or out of range'
const OVERFLOW = '-ERR increment or decrement would overflow'
const INTEGER_MAX = 2n ** 63n - 1n

export class Model {
  readonly #versions = new Map<string, Version[]>()
  /** By index: the time that has been reached. */
  readonly #times: number[] = [0]
  readonly #answers = new Map<number, Answer>()
  #last = 0

  /** The index of the last entry. */
  get last(): number {
    return this.#last
  }

  get keys(): Iterable<string> {
    return this.#versions.keys()
  }

  apply(index: number, time: number, entry: ModelEntry): void {
    const before = this.#times[this.#last] ?? 0
    // What is no entry of the service has no effect, and no time of its own.
    for (let at = this.#last + 1; at < index; at += 1) this.#times[at] = before
    this.#times[index] = Math.max(before, time)
    this.#last = index
    if (entry.type === 'command') this.#answers.set(index, this.#run(index, entry.words))
    if (entry.type === 'transaction') this.#answers.set(index, this.#transaction(index, entry))
  }

  /** What whoever wrote the entry must be told. */
  answerOf(index: number): Answer {
    return this.#answers.get(index) ?? NOTHING
  }

  timeAt(index: number): number {
    return this.#times[Math.min(index, this.#last)] ?? 0
  }

  /** The key after entry `index`, dead or alive. */
  versionAt(key: string, index: number): Version {
    const versions = this.#versions.get(key) ?? []
    for (let at = versions.length - 1; at >= 0; at -= 1) {
      const version = versions[at]
      if (version !== undefined && version.at <= index) return version
    }
    return ABSENT
  }

  /** Null for a key that is not there, or dead by the time of the entries up to `index`. */
  liveAt(key: string, index: number): Version | null {
    const version = this.versionAt(key, index)
    return livesAt(version, this.timeAt(index)) ? version : null
  }

  /**
   * Whether a key that was as it was after entry `from` has been changed, deleted or has died by the entry `to`, before
   * that takes effect. A key that is absent at both ends counts as unchanged.
   */
  hasChanged(key: string, from: number, to: number): boolean {
    const before = this.liveAt(key, from)
    const after = this.versionAt(key, to - 1)
    const lives = livesAt(after, this.timeAt(to))
    return before === null ? lives : !lives || after.at !== before.at
  }

  /** Whether a command of an entry after `index` deleted the key, though a later one of the same made it again. */
  wasDeletedAfter(key: string, index: number): boolean {
    return (this.#versions.get(key) ?? []).some(({ at, value }) => at > index && value === null)
  }

  #transaction(index: number, { watched, commands }: ModelEntry & { type: 'transaction' }): Answer {
    const isUnchanged = watched.every(({ key, version }) => (this.liveAt(key, index)?.at ?? 0) === version)
    return isUnchanged ? commands.map((words) => this.#run(index, words)) : NOTHING
  }

  #run(index: number, words: readonly string[]): Answer {
    const [name = '', key = ''] = words
    const now = this.timeAt(index)
    switch (name) {
      case 'get':
        return bulk(this.liveAt(key, index)?.value ?? null)
      case 'mget':
        return words.slice(1).map((each) => bulk(this.liveAt(each, index)?.value ?? null))
      case 'pttl':
        return remaining(this.liveAt(key, index), now)
      case 'ttl':
        return inSeconds(remaining(this.liveAt(key, index), now))
      case 'set':
        this.#put(index, key, words[2] ?? '', words[3] === undefined ? 0 : now + Number(words[4]))
        return '+OK'
      case 'mset':
        for (let at = 1; at < words.length; at += 2) this.#put(index, words[at] ?? '', words[at + 1] ?? '', 0)
        return '+OK'
      case 'incrby':
        return this.#increment(index, key, BigInt(words[2] ?? '0'))
      case 'del':
        return `:${words.slice(1).filter((each) => this.#delete(index, each)).length}`
      case 'flushall':
        for (const each of this.keys) this.#delete(index, each)
        return '+OK'
      case 'pexpire':
      case 'expire':
        return this.#expire(index, key, now + Number(words[2]) * (name === 'expire' ? 1000 : 1))
      default:
        return `-the model does not know '${name}'`
    }
  }

  #increment(index: number, key: string, by: bigint): Answer {
    const live = this.liveAt(key, index)
    const old = live?.value ?? '0'
    if (!/^(?:0|-?[1-9][0-9]{0,18})$/.test(old)) return NOT_AN_INTEGER
    const sum = BigInt(old) + by
    if (sum > INTEGER_MAX || sum < -INTEGER_MAX - 1n) return OVERFLOW
    this.#put(index, key, String(sum), live?.deadline ?? 0)
    return `:${sum}`
  }

  #delete(index: number, key: string): boolean {
    if (this.liveAt(key, index) === null) return false
    this.#write(key, { at: index, value: null, deadline: 0 })
    return true
  }

  #expire(index: number, key: string, deadline: number): Answer {
    const live = this.liveAt(key, index)
    if (live === null) return ':0'
    if (deadline <= this.timeAt(index)) return this.#delete(index, key) ? ':1' : ':0'
    this.#put(index, key, live.value ?? '', deadline)
    return ':1'
  }

  #put(at: number, key: string, value: string, deadline: number): void {
    this.#write(key, { at, value, deadline })
  }

  #write(key: string, version: Version): void {
    const versions = this.#versions.get(key)
    if (versions === undefined) this.#versions.set(key, [version])
    else versions.push(version)
  }
}

export function livesAt({ value, deadline }: Version, time: number): boolean {
  return value !== null && (deadline === 0 || deadline > time)
}

export const bulk = (value: string | null): Answer => (value === null ? NOTHING : `$${value}`)

/** In milliseconds. */
function remaining(live: Version | null, now: number): Answer {
  if (live === null) return ':-2'
  return live.deadline === 0 ? ':-1' : `:${live.deadline - now}`
}

function inSeconds(milliseconds: Answer): Answer {
  const left = Number(String(milliseconds).slice(1))
  return left < 0 ? milliseconds : `:${Math.floor((left + 500) / 1000)}`
}

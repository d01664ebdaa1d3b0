/**
 * Judges what clients were told, as they are told it, by the log that the servers applied: each entry is given to a
 * sequential model once, and each answer must be the model's at an entry where it may have been.
 *
 * What must hold:
 * - An acknowledged write is in the log, once, and was answered as the model answers it there; one that was refused
 *   never comes.
 * - A read saw the state after one entry: not before anything that was seen by anybody when it was sent, nor before
 *   what its own connection wrote or saw; a stale one (READONLY, but for LINEARIZABLE and LEASE) not before the latter.
 * - A key is dead for every reader once its deadline has passed by the server's own time, and for no reader before the
 *   time of an entry has reached it.
 * - EXEC is one entry. It answers nothing exactly if a watched key was changed, deleted or died in between.
 * - Answers come in the order of the requests, one for each.
 */

import { areEqual, isError, isNothing, type Answer } from './answer.js'
import { markOf, markOfAll, show, type Dialogue, type Request, type Watch } from './dialogue.js'
import { bulk, livesAt, Model, type ModelEntry } from './model.js'

/** Of a command that was not carried out and never will be. */
const REFUSALS = /^-(?:MOVED|CLUSTERDOWN|TRYAGAIN|OOM|EXECABORT|ERR RAFT_TOO_LARGE)\b/
/** Of a command of which nobody knows. */
const UNKNOWN = /^-ERR RAFT_(?:UNKNOWN|APPLIED|FAILED|APPLY_FAILED|STORE_\w+)\b/
/** Lines that are kept to be told with a failure. */
const LINES_MAX = 60

/** Of the judge; `cause` when it only tells what an invariant said, or what went wrong. */
export class Complaint extends Error {
  override readonly name = 'Complaint'
}

export class Judge {
  readonly model = new Model()
  /** What did not hold, with what went before it; null: all did. */
  failure: Error | null = null
  answered = 0
  /** How often each kind of thing was seen: a world in which nothing is refused proves little about refusals. */
  readonly reached = new Map<string, number>()
  /** Up to this entry everything has been seen by somebody. */
  seen = 0
  readonly #now: () => number
  /** Where each write stands in the log. */
  readonly #places = new Map<string, number>()
  readonly #refused = new Set<string>()
  readonly #lines: string[] = []

  readonly #forwards: boolean

  /** `forwards`: the servers do, and send nobody away. */
  constructor(now: () => number, forwards: boolean) {
    this.#now = now
    this.#forwards = forwards
  }

  /** Some server applies it, the first one or another. */
  committed(index: number, time: number, entry: ModelEntry): void {
    if (index <= this.model.last) return
    this.model.apply(index, time, entry)
    const commands = entry.type === 'command' ? [entry.words] : entry.type === 'transaction' ? entry.commands : []
    this.#tell(`entry ${index} at ${time}: ${commands.map((words) => words.join(' ')).join('; ') || entry.type}`)
    const mark = markOfAll(commands)
    if (mark === null) return
    this.#hold(!this.#places.has(mark), () => `${mark} is in the log twice, at ${this.#places.get(mark)} and ${index}`)
    this.#hold(!this.#refused.has(mark), () => `${mark} was refused, and yet it is in the log at ${index}`)
    this.#places.set(mark, index)
  }

  sent(dialogue: Dialogue, words: readonly string[], entryTime: number): void {
    this.#tell(`${dialogue.name} > ${words.join(' ')}`)
    dialogue.pending.push({ words, mark: markOf(words), seen: this.seen, entryTime })
  }

  /** `entryTime`: of the server, when it wrote the answer. */
  received(dialogue: Dialogue, answer: Answer, entryTime: number): Request | null {
    const request = dialogue.pending.shift()
    this.#tell(`${dialogue.name} < ${show(answer)}   (${request?.words.join(' ')})`)
    if (request === undefined) {
      this.#fail(`${dialogue.name} is answered ${show(answer)}, and has asked nothing`)
      return null
    }
    this.answered += 1
    this.#count(request, answer)
    const complaint = this.#judge(dialogue, request, answer, entryTime)
    if (complaint !== null) {
      this.#fail(`${dialogue.name}: ${request.words.join(' ')} is answered ${show(answer)}, but ${complaint}`)
    }
    this.seen = Math.max(this.seen, dialogue.isStale ? 0 : dialogue.low)
    return request
  }

  ended(dialogue: Dialogue): void {
    this.#tell(`${dialogue.name} ends, ${dialogue.pending.length} unanswered`)
  }

  /** `cause`: what was thrown, when the judge only tells it. */
  fail(message: string, cause?: unknown): void {
    this.#fail(message, cause)
  }

  /** Null: it may have been answered so. */
  #judge(dialogue: Dialogue, request: Request, answer: Answer, entryTime: number): string | null {
    const [name = ''] = request.words
    if (this.#forwards && isError(answer) && answer.startsWith('-MOVED')) return 'its server forwards'
    if (name === 'exec') return this.#exec(dialogue, request, answer)
    if (name === 'multi' || name === 'discard' || name === 'unwatch' || name === 'readonly') {
      return this.#steered(dialogue, name, answer)
    }
    if (dialogue.queued !== null) return this.#queued(dialogue, request, answer)
    if (name === 'watch') return this.#watch(dialogue, request, answer)
    if (name === 'echo') return areEqual(answer, `$${request.words[1]}`) ? null : 'another text was sent'
    if (request.mark !== null) return this.#write(dialogue, request.mark, request, answer)
    return this.#read(dialogue, request, answer, entryTime)
  }

  #steered(dialogue: Dialogue, name: string, answer: Answer): string | null {
    if (!areEqual(answer, '+OK')) return 'it can only be answered +OK here'
    if (name === 'multi') {
      dialogue.queued = []
      dialogue.isRefused = false
    } else if (name !== 'readonly') {
      dialogue.watches.clear()
      if (name === 'discard') dialogue.queued = null
    }
    return null
  }

  #queued(dialogue: Dialogue, request: Request, answer: Answer): string | null {
    if (isError(answer) && REFUSALS.test(answer)) {
      dialogue.isRefused = true
      return null
    }
    if (answer !== '+QUEUED') return 'it stands in a MULTI'
    dialogue.queued?.push(request)
    return null
  }

  #watch(dialogue: Dialogue, { words, seen }: Request, answer: Answer): string | null {
    if (isError(answer)) return REFUSALS.test(answer) || UNKNOWN.test(answer) ? null : 'no WATCH fails so'
    if (!areEqual(answer, '+OK')) return 'it is a WATCH'
    const watch: Watch = { from: Math.max(dialogue.low, seen), to: this.model.last }
    for (const key of words.slice(1)) if (!dialogue.watches.has(key)) dialogue.watches.set(key, watch)
    return null
  }

  #exec(dialogue: Dialogue, request: Request, answer: Answer): string | null {
    const { queued, isRefused } = dialogue
    const watches = [...dialogue.watches]
    dialogue.queued = null
    dialogue.watches.clear()
    if (queued === null) return 'there was no MULTI'
    const mark = markOfAll(queued.map(({ words }) => words))
    if (isRefused && !(isError(answer) && answer.startsWith('-EXECABORT'))) return 'a command of it was refused'
    if (isError(answer)) return mark === null ? null : this.#failedWrite(mark, answer)
    if (mark === null) return queued.length === 0 && Array.isArray(answer) ? null : 'nothing is known of it'
    const place = this.#places.get(mark)
    if (place === undefined) {
      if (!isNothing(answer)) return 'it is not in the log'
      const to = this.model.last + 1
      this.#refused.add(mark)
      return this.#mayHaveChanged(watches, to) ? null : 'no watched key was changed'
    }
    if (!isNothing(answer)) {
      const changed = watches.find(([key, watch]) => !this.#mayBeUnchanged(key, watch, place))
      if (changed !== undefined) return `the watched ${changed[0]} was changed before entry ${place}`
    } else if (!this.#mayHaveChanged(watches, place)) return `no watched key was changed before entry ${place}`
    return this.#placed(dialogue, place, request, answer)
  }

  #mayBeUnchanged(key: string, { from, to }: Watch, place: number): boolean {
    for (let at = from; at <= Math.min(to, place - 1); at += 1) {
      if (!this.model.hasChanged(key, at, place)) return true
    }
    return false
  }

  /** A key may also have been made and deleted again: then any entry that touched it is reason enough. */
  #mayHaveChanged(watches: readonly (readonly [string, Watch])[], place: number): boolean {
    return watches.some(([key, { from }]) => {
      return this.model.hasChanged(key, from, place) || this.model.versionAt(key, place - 1).at > from
    })
  }

  #write(dialogue: Dialogue, mark: string, request: Request, answer: Answer): string | null {
    const place = this.#places.get(mark)
    if (isError(answer) && (place === undefined || !areEqual(answer, this.model.answerOf(place)))) {
      return this.#failedWrite(mark, answer)
    }
    if (place === undefined) return 'it is not in the log'
    return this.#placed(dialogue, place, request, answer)
  }

  #failedWrite(mark: string, answer: string): string | null {
    if (UNKNOWN.test(answer)) return null
    if (!REFUSALS.test(answer)) return 'nothing fails so'
    this.#refused.add(mark)
    const place = this.#places.get(mark)
    return place === undefined ? null : `it is in the log at ${place}`
  }

  #placed(dialogue: Dialogue, place: number, { seen }: Request, answer: Answer): string | null {
    const expected = this.model.answerOf(place)
    if (!areEqual(answer, expected)) return `at entry ${place} its answer is ${show(expected)}`
    if (place <= seen) return `it stands at ${place}, and ${seen} had been seen when it was sent`
    if (place <= dialogue.low) return `it stands at ${place}, and its connection had come to ${dialogue.low}`
    dialogue.low = place
    return null
  }

  #read(dialogue: Dialogue, request: Request, answer: Answer, entryTime: number): string | null {
    if (isError(answer)) {
      return REFUSALS.test(answer) || UNKNOWN.test(answer) ? null : 'no read fails so'
    }
    if (request.words[0] === 'scan') return this.#scan(dialogue, request, answer)
    const from = dialogue.isStale ? dialogue.low : Math.max(dialogue.low, request.seen)
    for (let at = from; at <= this.model.last; at += 1) {
      if (!this.#isViewAt(at, dialogue, request, answer, entryTime)) continue
      dialogue.low = at
      return null
    }
    const [, key = ''] = request.words
    const shown = JSON.stringify(this.model.versionAt(key, from))
    return `no state from entry ${from} to ${this.model.last} reads so; ${key} at ${from}: ${shown}, time ${this.model.timeAt(from)}, server ${request.entryTime} .. ${entryTime}`
  }

  #isViewAt(at: number, dialogue: Dialogue, { words, entryTime }: Request, answer: Answer, until: number): boolean {
    const name = words[0] ?? ''
    const time = this.model.timeAt(at)
    const view: View = {
      at,
      // A follower that hears from its leader may find that it was ahead: its time goes back then.
      from: Math.max(time, Math.min(entryTime, until)),
      time,
      until: dialogue.isStale ? Math.max(time, until) : time,
    }
    if (name === 'keys') return this.#areKeysAt(view, answer)
    if (name === 'get') return this.#isValueAt(view, words[1] ?? '', answer)
    if (name === 'mget') {
      return Array.isArray(answer) && words.slice(1).every((key, n) => this.#isValueAt(view, key, answer[n] ?? ''))
    }
    return this.#isTtlAt(view, words, answer, Math.max(time, until))
  }

  /** What lives for a reader has a deadline that lies ahead of the server's time while it was asked. */
  #isValueAt({ at, from, until }: View, key: string, answer: Answer): boolean {
    const version = this.model.versionAt(key, at)
    if (isNothing(answer)) return !livesAt(version, until)
    return livesAt(version, from) && areEqual(answer, bulk(version.value))
  }

  #isTtlAt({ at, from, until }: View, words: readonly string[], answer: Answer, latest: number): boolean {
    const version = this.model.versionAt(words[1] ?? '', at)
    const left = Number(String(answer).slice(1))
    if (left === -2) return !livesAt(version, until)
    if (!livesAt(version, from)) return false
    if (version.deadline === 0) return left === -1
    const [unit, slack] = words[0] === 'ttl' ? [1000, 500] : [1, 0]
    return (
      left * unit <= version.deadline - from + slack && left * unit >= Math.max(0, version.deadline - latest) - slack
    )
  }

  /** All that live by the entries, or by the server's time in between. */
  #areKeysAt({ at, time, until }: View, answer: Answer): boolean {
    if (!Array.isArray(answer)) return false
    const found = new Set(answer.map((key: Answer) => String(key).slice(1)))
    if (found.size !== answer.length) return false
    let count = 0
    for (const key of this.model.keys) {
      const version = this.model.versionAt(key, at)
      if (found.has(key)) {
        if (!livesAt(version, time)) return false
        count += 1
      } else if (livesAt(version, until)) return false
    }
    return count === found.size
  }

  /** A whole walk returns every key that lived through it, and none that never did. */
  #scan(dialogue: Dialogue, { words, seen }: Request, answer: Answer): string | null {
    const [cursor, keys] = Array.isArray(answer) ? answer : []
    if (typeof cursor !== 'string' || !Array.isArray(keys)) return 'it is no answer to SCAN'
    const from = dialogue.isStale ? dialogue.low : Math.max(dialogue.low, seen)
    if (words[1] === '0') dialogue.walk = { from, found: new Set() }
    const { walk } = dialogue
    if (walk === null) return 'no walk has begun'
    for (const key of keys) walk.found.add(String(key).slice(1))
    if (cursor !== '$0') return null
    dialogue.walk = null
    for (const key of this.model.keys) {
      if (!walk.found.has(key) && this.#livesThrough(key, walk.from)) return `${key} was there all the time`
      if (walk.found.has(key) && this.#neverLives(key, walk.from)) return `${key} was never there`
    }
    return null
  }

  /** What a transaction deletes and makes again was not there all the time, though no reader sees it gone. */
  #livesThrough(key: string, from: number): boolean {
    if (this.model.wasDeletedAfter(key, from)) return false
    for (let at = from; at <= this.model.last; at += 1) {
      if (this.model.liveAt(key, at) === null) return false
      if (this.model.versionAt(key, at).deadline !== 0) return false
    }
    return true
  }

  #neverLives(key: string, from: number): boolean {
    for (let at = from; at <= this.model.last; at += 1) if (this.model.liveAt(key, at) !== null) return false
    return true
  }

  #count({ words }: Request, answer: Answer): void {
    const kind = isError(answer) ? answer.split(' ', 2).join(' ') : isNothing(answer) ? 'nothing' : 'ok'
    const what = `${words[0]}: ${kind.startsWith('-MOVED') ? '-MOVED' : kind}`
    this.reached.set(what, (this.reached.get(what) ?? 0) + 1)
  }

  #hold(fact: boolean, message: () => string): void {
    if (!fact) this.#fail(message())
  }

  #tell(line: string): void {
    this.#lines.push(`${this.#now().toFixed(3)} ${line}`)
    if (this.#lines.length >= 2 * LINES_MAX) this.#lines.splice(0, LINES_MAX)
  }

  #fail(message: string, cause?: unknown): void {
    if (this.failure !== null) return
    this.failure = new Complaint(`kv: ${message}\n${this.#lines.slice(-LINES_MAX).join('\n')}`, { cause })
  }
}

/** A state, and the times by which a reader may have seen it. */
interface View {
  readonly at: number
  /** What lives is alive by this. */
  readonly from: number
  /** Of the entries. */
  readonly time: number
  /** What is dead is dead by this. */
  readonly until: number
}

/**
 * Redis's glob patterns for KEYS, SCAN and CONFIG GET: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character that
 * stands for itself.
 *
 * A pattern is prepared once, into an automaton: place i is reached when the first i steps of the pattern have been
 * matched, and one bit says so. A character of the text moves all places at once, 32 to a word, so matching takes time
 * in proportion to the text, whatever the pattern.
 */

import { failure, type ErrorReply } from '../resp/reply.js'

export type Glob = (text: string) => boolean

export const isRefusal = (glob: Glob | ErrorReply): glob is ErrorReply => typeof glob !== 'function'

/** The longest pattern, so that one character of a key costs at most eight words of places. */
export const PATTERN_BYTES_MAX = 255

const WORD_BITS = 32
const CODES = 256

/** Returns the refusal of a pattern that is too long. */
export function prepareGlob(pattern: string): Glob | ErrorReply {
  if (pattern.length > PATTERN_BYTES_MAX) {
    return failure(`ERR the pattern has ${pattern.length} bytes, at most ${PATTERN_BYTES_MAX} are allowed`)
  }
  const steps = readSteps(pattern)
  if (steps.length === 1 && steps[0] === 'star') return () => true
  return literalGlob(steps) ?? automaton(steps)
}

/** One character: a code, any, or a set of 256 flags; or a run of anything. */
type Step = number | 'any' | 'star' | Uint8Array

function readSteps(pattern: string): readonly Step[] {
  const steps: Step[] = []
  let at = 0
  while (at < pattern.length) {
    const character = pattern.charAt(at)
    if (character === '*') {
      if (steps.at(-1) !== 'star') steps.push('star')
    } else if (character === '?') {
      steps.push('any')
    } else if (character === '[') {
      const set = new Uint8Array(CODES)
      at = readSet(pattern, at + 1, set)
      steps.push(set)
    } else {
      if (character === '\\' && at + 1 < pattern.length) at += 1
      steps.push(pattern.charCodeAt(at))
    }
    at += 1
  }
  return steps
}

/** Fills `set`; returns the place of the closing bracket, or of the last character when there is none. */
function readSet(pattern: string, start: number, set: Uint8Array): number {
  let at = start
  const negated = pattern.charAt(at) === '^'
  if (negated) at += 1
  for (; at < pattern.length && pattern.charAt(at) !== ']'; at += 1) {
    if (pattern.charAt(at) === '\\' && at + 1 < pattern.length) {
      at += 1
      set[pattern.charCodeAt(at)] = 1
    } else if (pattern.charAt(at + 1) === '-' && at + 2 < pattern.length) {
      const [low, high] = [pattern.charCodeAt(at), pattern.charCodeAt(at + 2)].toSorted((a, b) => a - b)
      set.fill(1, low, (high ?? 0) + 1)
      at += 2
    } else {
      set[pattern.charCodeAt(at)] = 1
    }
  }
  if (negated) set.forEach((flag, code) => (set[code] = 1 - flag))
  return Math.min(at, pattern.length - 1)
}

/** A name, or a prefix with one star behind it: what most patterns are. Null for any other. */
function literalGlob(steps: readonly Step[]): Glob | null {
  const hasStar = steps.at(-1) === 'star'
  const codes = hasStar ? steps.slice(0, -1) : steps
  if (!codes.every((step) => typeof step === 'number')) return null
  const literal = String.fromCharCode(...codes)
  return hasStar ? (text) => text.startsWith(literal) : (text) => text === literal
}

function automaton(steps: readonly Step[]): Glob {
  const characters = steps.filter((step) => step !== 'star')
  const places = characters.length + 1
  const words = Math.ceil(places / WORD_BITS)
  /** By code, then word: bit i when the step behind place i - 1 accepts it. Bit 0 is never reached by a step. */
  const accepted = new Int32Array(CODES * words)
  /** Bit i when a star stands at place i: whoever is there may stay. */
  const stays = new Int32Array(words)
  let place = 0
  for (const step of steps) {
    if (step === 'star') {
      stays[place >> 5] = (stays[place >> 5] ?? 0) | (1 << (place % WORD_BITS))
      continue
    }
    place += 1
    for (let code = 0; code < CODES; code += 1) {
      const at = code * words + (place >> 5)
      if (accepts(step, code)) accepted[at] = (accepted[at] ?? 0) | (1 << (place % WORD_BITS))
    }
  }
  if (words === 1) return (text) => runWord(text, accepted, stays[0] ?? 0, place)
  const states = new Int32Array(words)
  return (text) => runWords(text, accepted, stays, states, place)
}

function accepts(step: number | 'any' | Uint8Array, code: number): boolean {
  if (step === 'any') return true
  return typeof step === 'number' ? step === code : step[code] === 1
}

/** Ends early when no place is left to be at. `last` is the place behind the whole pattern. */
function runWord(text: string, accepted: Int32Array, stays: number, last: number): boolean {
  let state = 1
  for (let at = 0; at < text.length && state !== 0; at += 1) {
    state = ((state << 1) & (accepted[text.charCodeAt(at)] ?? 0)) | (state & stays)
  }
  return (state & (1 << last)) !== 0
}

/** The same for places in several words. */
function runWords(text: string, accepted: Int32Array, stays: Int32Array, states: Int32Array, last: number): boolean {
  const words = states.length
  states.fill(0)
  states[0] = 1
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at) * words
    let carry = 0
    let any = 0
    for (let word = 0; word < words; word += 1) {
      const state = states[word] ?? 0
      const moved = ((state << 1) | carry) & (accepted[code + word] ?? 0)
      carry = state >>> 31
      const next = moved | (state & (stays[word] ?? 0))
      states[word] = next
      any |= next
    }
    if (any === 0) return false
  }
  return ((states[last >> 5] ?? 0) & (1 << (last % WORD_BITS))) !== 0
}

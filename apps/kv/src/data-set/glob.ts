/**
 * Redis's glob patterns for KEYS, SCAN and CONFIG GET: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character that stands for itself.
 * A pattern is prepared once; matching takes time in proportion to pattern and text, also for patterns full of stars.
 */

export type Glob = (text: string) => boolean

export function prepareGlob(pattern: string): Glob {
  if (pattern === '*') return () => true
  const steps = readSteps(pattern)
  return (text) => matches(steps, text)
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
      const set = new Uint8Array(256)
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

/** Only the last star can be worth another try, so one place to fall back to is enough. */
function matches(steps: readonly Step[], text: string): boolean {
  let step = 0
  let at = 0
  let starStep = -1
  let starAt = 0
  while (at < text.length) {
    const wanted = steps[step]
    if (wanted === 'star') {
      starStep = step
      starAt = at
      step += 1
    } else if (wanted !== undefined && accepts(wanted, text.charCodeAt(at))) {
      step += 1
      at += 1
    } else if (starStep !== -1) {
      step = starStep + 1
      starAt += 1
      at = starAt
    } else {
      return false
    }
  }
  return step === steps.length || (step === steps.length - 1 && steps[step] === 'star')
}

function accepts(step: number | 'any' | Uint8Array, code: number): boolean {
  if (step === 'any') return true
  return typeof step === 'number' ? step === code : step[code] === 1
}

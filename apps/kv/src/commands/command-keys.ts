/** Which words of a command are keys. */

import type { CommandFacts } from './local-command.js'

export function keysOf(facts: CommandFacts, words: readonly string[]): string[] {
  if (facts.firstKey === 0) return []
  const last = facts.lastKey < 0 ? words.length + facts.lastKey : facts.lastKey
  const keys: string[] = []
  for (let at = facts.firstKey; at <= last; at += facts.keyStep) keys.push(words[at] ?? '')
  return keys
}

/** The one that says where the command belongs. */
export function firstKeyOf(facts: CommandFacts, words: readonly string[]): string | null {
  return facts.firstKey === 0 ? null : (words[facts.firstKey] ?? null)
}

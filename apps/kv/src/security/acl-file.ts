/** An ACL file: one user a line, `#` before a comment. All of it is good, or nothing of it is used. */

import { makeUser, type User } from './acl-rules.js'
import type { CommandCatalog } from './catalog.js'
import { readSmallFile, SecurityError } from './small-file.js'

export const USERS_MAX = 1024

/** So many flaws are told at once. */
const FLAWS_TOLD_MAX = 5

/** Throws SecurityError, with the lines that are wrong. */
export function readAclFile(path: string, catalog: CommandCatalog): ReadonlyMap<string, User> {
  const users = new Map<string, User>()
  const flaws: string[] = []
  for (const [at, line] of readSmallFile('--aclfile', path).split('\n').entries()) {
    const words = line.split(/[ \t\r]+/).filter((word) => word !== '')
    if (words.length === 0 || words[0]?.startsWith('#') === true) continue
    const flaw = addUser(words, users, catalog)
    if (flaw !== null) flaws.push(`${path}:${at + 1}: ${flaw}`)
  }
  if (flaws.length === 0) return users
  const more = flaws.length > FLAWS_TOLD_MAX ? [`and ${flaws.length - FLAWS_TOLD_MAX} lines more`] : []
  throw new SecurityError([...flaws.slice(0, FLAWS_TOLD_MAX), ...more].join('; '))
}

/** Null: it is among `users`; else what is wrong with the line. */
function addUser(words: readonly string[], users: Map<string, User>, catalog: CommandCatalog): string | null {
  const [keyword, name, ...rules] = words
  if (keyword !== 'user' || name === undefined) return 'a line is: user <name> <rules>'
  if (!/^[!-~]{1,64}$/.test(name)) return 'a name has 1 .. 64 characters of printable ASCII'
  if (users.has(name)) return `user ${name} stands on two lines`
  if (users.size >= USERS_MAX) return `there are more than ${USERS_MAX} users`
  try {
    users.set(name, makeUser(name, rules, catalog))
    return null
  } catch (error) {
    if (error instanceof SecurityError) return error.message
    throw error
  }
}

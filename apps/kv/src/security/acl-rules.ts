/**
 * One user, as a line of an ACL file describes it, in the grammar of Redis:
 *
 *     user alice on >password ~cached:* +@read -@dangerous
 *
 * Rules take effect from left to right, over a user that is off, has no password and may do nothing. There are: `on`,
 * `off`, `nopass`, `resetpass`, `>password`, `#sha256`, `<password`, `!sha256`, `~pattern`, `allkeys`, `resetkeys`,
 * `+command`, `-command`, `+command|subcommand`, `-command|subcommand`, `+@category`, `-@category`, `allcommands`,
 * `nocommands` and `reset`. Whatever else Redis has is refused with what to write instead.
 */

import { createHash } from 'node:crypto'
import { isRefusal, prepareGlob, type Glob } from '../data-set/glob.js'
import type { CommandCatalog } from './catalog.js'
import { Permissions } from './permissions.js'
import { SecurityError } from './small-file.js'

export interface User {
  readonly name: string
  readonly isOn: boolean
  /** Any password will do. */
  readonly isOpen: boolean
  /** SHA-256 of each password, in hexadecimal digits. */
  readonly hashes: ReadonlySet<string>
  readonly permissions: Permissions
  /** As rules: what ACL LIST and GETUSER tell. */
  readonly keyRules: readonly string[]
  readonly commandRules: readonly string[]
}

/** Each costs every command of the user that names a key. */
export const KEY_PATTERNS_MAX = 128

/** Each costs every AUTH of the user. */
export const PASSWORDS_MAX = 64

/** Throws SecurityError, which says which of `rules` is wrong, the first is number 1. */
export function makeUser(name: string, rules: readonly string[], catalog: CommandCatalog): User {
  const user = new UserBuilder(name, catalog)
  for (const [at, rule] of rules.entries()) {
    const flaw = user.apply(rule)
    if (flaw !== null) throw new SecurityError(`rule ${at + 1} of user ${name}, ${shown(rule)}: ${flaw}`)
  }
  return user.build()
}

/** Whoever may do everything, and needs no password. */
export const openUser = (name: string, catalog: CommandCatalog): User =>
  makeUser(name, ['on', 'nopass', 'allkeys', 'allcommands'], catalog)

export const sha256 = (password: string): string => createHash('sha256').update(password, 'latin1').digest('hex')

/** Of a rule that holds a secret, or may be one without its `>`: its length alone. */
function shown(rule: string): string {
  const text = rule.length > 64 ? `${rule.slice(0, 64)}...` : rule
  return /^[-+~&%(]/.test(rule) ? `"${text}"` : `which has ${rule.length} bytes`
}

const HASH = /^[0-9a-f]{64}$/

class UserBuilder {
  readonly #name: string
  readonly #catalog: CommandCatalog
  #isOn = false
  #isOpen = false
  #hashes = new Set<string>()
  #keys: { readonly rule: string; readonly glob: Glob }[] = []
  #allKeys = false
  readonly #commands: Uint8Array
  #commandRules = ['-@all']

  constructor(name: string, catalog: CommandCatalog) {
    this.#name = name
    this.#catalog = catalog
    this.#commands = new Uint8Array(catalog.names.length)
  }

  build(): User {
    const keys = this.#allKeys ? 'all' : this.#keys.map(({ glob }) => glob)
    return {
      name: this.#name,
      isOn: this.#isOn,
      isOpen: this.#isOpen,
      hashes: this.#hashes,
      permissions: new Permissions(this.#commands.slice(), keys),
      keyRules: this.#allKeys ? ['~*'] : this.#keys.map(({ rule }) => rule),
      commandRules: this.#commandRules,
    }
  }

  /** Null: done; else what is wrong with it. */
  apply(rule: string): string | null {
    const first = rule.charAt(0)
    const rest = rule.slice(1)
    if (first === '>' || first === '<') return this.#password(first === '>', sha256(rest), rest === '')
    if (first === '#' || first === '!') {
      if (!HASH.test(rest)) return 'a hash is 64 hexadecimal digits in small letters, of SHA-256'
      return this.#password(first === '#', rest, false)
    }
    if (first === '~') return this.#keyPattern(rest)
    if (first === '+' || first === '-') return this.#commandRule(first === '+', rest.toLowerCase())
    return this.#word(rule.toLowerCase())
  }

  #word(word: string): string | null {
    switch (word) {
      case 'on':
      case 'off':
        this.#isOn = word === 'on'
        return null
      case 'nopass':
      case 'resetpass':
        this.#isOpen = word === 'nopass'
        this.#hashes = new Set()
        return null
      case 'allkeys':
        return this.#keyPattern('*')
      case 'resetkeys':
        this.#allKeys = false
        this.#keys = []
        return null
      case 'allcommands':
        return this.#commandRule(true, '@all')
      case 'nocommands':
        return this.#commandRule(false, '@all')
      case 'reset':
        for (const part of ['off', 'resetpass', 'resetkeys', 'nocommands']) this.#word(part)
        return null
      default:
        return whyNot(word)
    }
  }

  #password(isAdded: boolean, hash: string, isEmpty: boolean): string | null {
    if (isEmpty) return 'a password must not be empty; nopass lets anybody in'
    if (isAdded) {
      this.#hashes.add(hash)
      if (this.#hashes.size > PASSWORDS_MAX) return `a user has at most ${PASSWORDS_MAX} passwords`
      this.#isOpen = false
      return null
    }
    return this.#hashes.delete(hash) ? null : 'the user has no such password to take away'
  }

  #keyPattern(pattern: string): string | null {
    if (pattern === '*') {
      this.#allKeys = true
      this.#keys = []
      return null
    }
    if (this.#allKeys) return 'all keys are allowed already: resetkeys before it, or leave it out'
    const glob = prepareGlob(pattern)
    if (isRefusal(glob)) return glob.text.replace(/^ERR /, '')
    const rule = `~${pattern}`
    if (this.#keys.some((known) => known.rule === rule)) return null
    if (this.#keys.length >= KEY_PATTERNS_MAX) return `a user has at most ${KEY_PATTERNS_MAX} patterns`
    this.#keys.push({ rule, glob })
    return null
  }

  #commandRule(isAllowed: boolean, target: string): string | null {
    const sign = isAllowed ? '+' : '-'
    if (target === '@all') {
      this.#commands.fill(Number(isAllowed))
      this.#commandRules = [`${sign}@all`]
      return null
    }
    const isCategory = target.startsWith('@')
    const numbers = isCategory ? this.#catalog.numbersIn(target.slice(1)) : this.#catalog.numbersOf(target)
    if (numbers === undefined) {
      if (!isCategory) return 'this server has no such command, or no such subcommand: leave it out'
      return `there is no such category; there are ${this.#catalog.categories.map((name) => `@${name}`).join(', ')}`
    }
    for (const number of numbers) this.#commands[number] = Number(isAllowed)
    this.#commandRules = [...this.#commandRules.filter((rule) => rule.slice(1) !== target), `${sign}${target}`]
    return null
  }
}

/** Why a word is no rule here. */
function whyNot(word: string): string {
  if (word.startsWith('&') || /^(?:all|reset)channels$/.test(word)) {
    return 'there are no channels here (no pub/sub): leave it out'
  }
  if (word.startsWith('%')) return 'keys are not told apart by reading and writing here: ~pattern, with +@read alone'
  if (word.startsWith('(')) return 'there are no selectors here: one user for each set of permissions'
  if (/^(?:skip-)?sanitize-payload$/.test(word)) return 'there is no RESTORE here: leave it out'
  return `no such rule; there are on, off, nopass, resetpass, >password, #sha256, <password, !sha256, ~pattern, allkeys, resetkeys, +command, -command, +@category, -@category, allcommands, nocommands, reset`
}

/**
 * Who may come in, and as whom: the users of an ACL file, or the default user with a password, or, where nothing is
 * said, anybody. Read at the start and again when asked for; a file with a flaw changes nothing.
 */

import { timingSafeEqual } from 'node:crypto'
import type { KvClock } from '../server/clock.js'
import { readAclFile } from './acl-file.js'
import { makeUser, openUser, sha256, type User } from './acl-rules.js'
import type { CommandCatalog } from './catalog.js'
import { Denials } from './denials.js'
import { LoginGuard } from './login-guard.js'
import { readSecretFile, SecurityError, type Secret } from './small-file.js'

export const DEFAULT_USER = 'default'

/** Where users come from. */
export interface UserSources {
  /** A file of lines as Redis has them; null: there is none. */
  readonly aclFile: string | null
  /** Of the default user: the file that holds it, or itself; null: it has none, or the ACL file names that user. */
  readonly password: { readonly file: string } | Secret | null
}

/** Whom a password has proved, and by which of the user's hashes; null: the user needs none. */
export interface Login {
  readonly user: User
  readonly hash: string | null
}

export class Security {
  readonly guard: LoginGuard
  readonly denials = new Denials()
  readonly sources: UserSources
  readonly catalog: CommandCatalog
  #users: ReadonlyMap<string, User>

  /** Throws SecurityError. */
  constructor(sources: UserSources, catalog: CommandCatalog, clock: Pick<KvClock, 'now' | 'setTimer'>) {
    this.sources = sources
    this.catalog = catalog
    this.guard = new LoginGuard(clock)
    this.#users = readUsers(sources, catalog)
  }

  /** Reads the users again. Throws SecurityError, and then those that were there are still in force. */
  load(): void {
    this.#users = readUsers(this.sources, this.catalog)
  }

  get users(): ReadonlyMap<string, User> {
    return this.#users
  }

  /** Whether a client that has said nothing may do nothing. */
  get asksForPassword(): boolean {
    return this.arrival === null
  }

  /** As whom a client begins that has said nothing; null: as nobody. */
  get arrival(): Login | null {
    const user = this.#users.get(DEFAULT_USER)
    return user !== undefined && user.isOn && user.isOpen ? { user, hash: null } : null
  }

  /** Null: no such user, or not with this password. It takes as long for a name that there is not. */
  login(name: string, password: string): Login | null {
    const user = this.#users.get(name)
    const given = Buffer.from(sha256(password), 'latin1')
    let proved: string | null = null
    for (const hash of user?.hashes ?? NOBODY) if (timingSafeEqual(Buffer.from(hash, 'latin1'), given)) proved = hash
    if (user === undefined || !user.isOn) return null
    if (user.isOpen) return { user, hash: null }
    return proved === null ? null : { user, hash: proved }
  }

  /** The same login by what is in force now; null: the user, or the password that was used, is not there any more. */
  stillHolds({ user: { name }, hash }: Login): Login | null {
    const user = this.#users.get(name)
    if (user === undefined || !user.isOn) return null
    if (user.isOpen) return { user, hash: null }
    return hash !== null && user.hashes.has(hash) ? { user, hash } : null
  }
}

/** Compared with instead of the hashes of a user that there is not; no password has this one. */
const NOBODY: ReadonlySet<string> = new Set(['-'.repeat(64)])

function readUsers({ aclFile, password }: UserSources, catalog: CommandCatalog): ReadonlyMap<string, User> {
  const users = new Map(aclFile === null ? [] : readAclFile(aclFile, catalog))
  const hasDefault = users.has(DEFAULT_USER)
  if (password !== null) {
    if (hasDefault) {
      const where = 'user default stands in the ACL file, and a password for it is given beside'
      throw new SecurityError(`${aclFile}: ${where}: leave one of them out`)
    }
    const secret = 'file' in password ? readSecretFile('--password-file', password.file) : password.reveal()
    users.set(DEFAULT_USER, makeUser(DEFAULT_USER, ['on', `#${sha256(secret)}`, 'allkeys', 'allcommands'], catalog))
  } else if (!hasDefault) {
    if (aclFile !== null) {
      // Redis would make it a user that needs no password and may do everything.
      const remedy = 'write "user default off", or give it a password'
      throw new SecurityError(`${aclFile}: names no user default, as whom clients begin: ${remedy}`)
    }
    users.set(DEFAULT_USER, openUser(DEFAULT_USER, catalog))
  }
  return users
}

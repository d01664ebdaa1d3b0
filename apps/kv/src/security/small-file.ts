/** The files that say who may come in: users, passwords, certificates. Read whole, and only if that is soon done. */

import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'

/** What stands in such a file cannot be used. The message names it, and never what is secret in it. */
export class SecurityError extends Error {
  override readonly name = 'SecurityError'
}

/** A password or a token that must not be seen where options are shown, or anything else. */
export class Secret {
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  reveal(): string {
    return this.#text
  }
}

/** Thousands of users, or any chain of certificates. */
export const SMALL_FILE_BYTES_MAX = 1024 * 1024

/** As bytes, one character each. `what` it is for, as `--aclfile`. Throws SecurityError. */
export function readSmallFile(what: string, path: string): string {
  let file: number
  try {
    // A pipe that nobody writes to would be waited for.
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    throw new SecurityError(`${what} ${path} cannot be read: ${(error as Error).message}`)
  }
  try {
    const stat = fstatSync(file)
    if (!stat.isFile()) throw new SecurityError(`${what} ${path} is no file`)
    const bytes = Buffer.alloc(SMALL_FILE_BYTES_MAX + 1)
    let length = 0
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(file, bytes, length, bytes.length - length, null)
    }
    if (length <= SMALL_FILE_BYTES_MAX) return bytes.toString('latin1', 0, length)
    throw new SecurityError(`${what} ${path} is longer than ${SMALL_FILE_BYTES_MAX} bytes`)
  } finally {
    closeSync(file)
  }
}

const SECRET_BYTES_MAX = 1024

/** A password or a token: the one line of its file. Throws SecurityError. */
export function readSecretFile(what: string, path: string): string {
  const secret = readSmallFile(what, path).replace(/\r?\n$/, '')
  const flaw = secretFlaw(secret)
  if (flaw === null) return secret
  throw new SecurityError(`${what} ${path} ${flaw}`)
}

/** Null: it can be one. */
export function secretFlaw(secret: string): string | null {
  if (secret === '') return 'is empty: anybody knows that'
  if (/[\r\n\0]/.test(secret)) return 'must hold one line'
  return secret.length > SECRET_BYTES_MAX ? `must hold at most ${SECRET_BYTES_MAX} bytes` : null
}

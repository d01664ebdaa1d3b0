/**
 * What a user may do: a bit for each command and subcommand, and patterns that keys must fit. Worked out once for each
 * user, so that a command costs one look at `mayAll` of whoever may do everything, and one at a bit of all others.
 */

import type { Glob } from '../data-set/glob.js'

/** What stands in the way of a command: itself, or a key of it. */
export type Denial = { readonly what: 'command' } | { readonly what: 'key'; readonly key: string }

const commandDenied: Denial = { what: 'command' }

export class Permissions {
  readonly mayAll: boolean
  readonly #commands: Uint8Array
  readonly #keys: readonly Glob[] | 'all'

  /** `commands`: by the number of each, 1: allowed. `keys`: it must fit one of them. */
  constructor(commands: Uint8Array, keys: readonly Glob[] | 'all') {
    this.#commands = commands
    this.#keys = keys
    this.mayAll = keys === 'all' && commands.every((bit) => bit === 1)
  }

  /** Null: it may. */
  denial(command: number, keys: readonly string[]): Denial | null {
    if (this.#commands[command] !== 1) return commandDenied
    const patterns = this.#keys
    if (patterns === 'all') return null
    const key = keys.find((name) => !patterns.some((fits) => fits(name)))
    return key === undefined ? null : { what: 'key', key }
  }
}

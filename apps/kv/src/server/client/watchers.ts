/** Which connections watch which keys (WATCH), so that a change is noticed before their EXEC goes into the log. */

import type { ChangeListener } from '../../data-set/data-set.js'

export interface Watching {
  keyChanged(): void
}

/**
 * This only saves the log a transaction that must fail, and notices a key that was made and deleted again: whether EXEC
 * may go ahead is decided by the versions in its entry, where every server sees the same.
 */
export class Watchers implements ChangeListener {
  readonly #byKey = new Map<string, Set<Watching>>()

  /** Keys that somebody watches. */
  get count(): number {
    return this.#byKey.size
  }

  add(key: string, watching: Watching): void {
    const set = this.#byKey.get(key)
    if (set === undefined) this.#byKey.set(key, new Set([watching]))
    else set.add(watching)
  }

  remove(key: string, watching: Watching): void {
    const set = this.#byKey.get(key)
    set?.delete(watching)
    if (set?.size === 0) this.#byKey.delete(key)
  }

  changed(key: string): void {
    if (this.#byKey.size === 0) return
    for (const watching of this.#byKey.get(key) ?? []) watching.keyChanged()
  }

  cleared(wasThere: (key: string) => boolean): void {
    for (const key of this.#byKey.keys()) if (wasThere(key)) this.changed(key)
  }
}

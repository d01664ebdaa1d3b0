/** Which connections watch which keys (WATCH), so that a change is noticed before their EXEC goes into the log. */

import type { ChangeListener } from '../../data-set/data-set.js'
import { KeyMap } from '../../data-set/key-map.js'

export interface Watching {
  /** Told once of a key, until it is added again. */
  keyChanged(): void
}

interface WatchedKey {
  readonly key: string
  readonly by: Set<Watching>
}

/**
 * This only saves the log a transaction that must fail, and notices a key that was made and deleted again: whether EXEC
 * may go ahead is decided by the versions in its entry, where every server sees the same.
 *
 * A key that has changed is watched no more: whoever watched it knows all that it needs, and an entry may change a key
 * thousands of times that thousands of clients watch.
 */
export class Watchers implements ChangeListener {
  readonly #byKey = new KeyMap<WatchedKey>()

  /** Keys that somebody watches. */
  get count(): number {
    return this.#byKey.size
  }

  add(key: string, watching: Watching): void {
    const watched = this.#byKey.get(key)
    if (watched === undefined) this.#byKey.add(key, { key, by: new Set([watching]) })
    else watched.by.add(watching)
  }

  remove(key: string, watching: Watching): void {
    const watched = this.#byKey.get(key)
    if (watched?.by.delete(watching) === true && watched.by.size === 0) this.#byKey.delete(key)
  }

  changed(key: string): void {
    if (this.#byKey.size === 0) return
    const watched = this.#byKey.get(key)
    if (watched === undefined) return
    this.#byKey.delete(key)
    for (const watching of watched.by) watching.keyChanged()
  }

  cleared(wasThere: (key: string) => boolean): void {
    for (const { key } of this.#byKey.values()) if (wasThere(key)) this.changed(key)
  }

  replaced(): void {
    for (const { key } of this.#byKey.values()) this.changed(key)
  }
}

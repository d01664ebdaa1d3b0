/**
 * The keys and their values, in memory: what all servers of a cluster agree on. Pure and deterministic: the same
 * entries in the same order make the same data set, down to the order in which SCAN walks it. Its only clock is the
 * time of the last applied entry.
 *
 * Keys and values are strings of bytes (see resp/reply.ts).
 *
 * A key is dead when its deadline <= `time`. Dead keys are never seen; they are removed a bounded number at a time, at
 * places that depend on the entries alone.
 */

import { Deadlines, type Deadline } from './deadlines.js'
import type { Item, PlacedItem } from './item.js'
import { KeyMap } from './key-map.js'
import { Walk } from './walk.js'

/** Told of changes, on every server, whoever caused them. Must not change the data set. */
export interface ChangeListener {
  changed(key: string): void
  /** Every key is gone; `wasThere` says of a key whether it lived before. */
  cleared(wasThere: (key: string) => boolean): void
}

interface StoredItem extends PlacedItem {
  value: string
  deadline: number
  version: number
  /** Its place among the deadlines that counts; all others of this key are stale. */
  due: Deadline | null
}

export class DataSet {
  #items = new KeyMap<StoredItem>()
  /**
   * All items, in the order in which SCAN walks them: from the end down. A removed item's place is taken by the last
   * one, which a walk that has come down to some place has either returned already or will still meet; so a walk misses
   * no key that lives through it.
   */
  #order: StoredItem[] = []
  readonly #deadlines = new Deadlines()
  /** Those that must be told before anything changes. */
  readonly #walks = new Set<Walk>()
  #expiring = 0
  #bytes = 0
  #time = 0
  /** By which keys live or are dead: `#time`, but within `readAt`. */
  #seenAt = 0
  #index = 0
  #listener: ChangeListener | null = null

  /** The time of the last applied entry. Never goes back. */
  get time(): number {
    return this.#time
  }

  /** The index of the entry that is being applied, or was last. */
  get index(): number {
    return this.#index
  }

  /** Keys, with those that are dead but not yet removed; as in Redis. */
  get size(): number {
    return this.#items.size
  }

  /** Keys with a deadline. */
  get expiring(): number {
    return this.#expiring
  }

  /**
   * What keys, values and deadlines take in memory, as far as that follows from them: the same on every server.
   * Invariant: the sum of `itemBytes` over all items; 0 when there is none.
   */
  get bytes(): number {
    return this.#bytes
  }

  /** Places kept for deadlines, stale ones included. Invariant: <= 2 * expiring + 1025. */
  get deadlinePlaces(): number {
    return this.#deadlines.size
  }

  /** The earliest deadline there may be; Infinity when there is none. */
  get nextDeadline(): number {
    return this.#deadlines.first?.at ?? Number.POSITIVE_INFINITY
  }

  set listener(listener: ChangeListener | null) {
    this.#listener = listener
  }

  /** Moves to an entry, and removes up to `removals` keys that are dead by then. */
  advance(index: number, time: number, removals: number): void {
    this.#index = index
    if (time > this.#time) this.#time = time
    this.#seenAt = this.#time
    for (let left = removals; left > 0; left -= 1) {
      const due = this.#deadlines.first
      if (due === undefined || due.at > this.#time) return
      this.#deadlines.removeFirst()
      const item = this.#items.get(due.key)
      if (item !== undefined && item.due === due) this.#remove(item)
    }
  }

  get(key: string): Item | undefined {
    return this.#live(key)
  }

  /** 0 for a key that is not there. */
  version(key: string): number {
    return this.#live(key)?.version ?? 0
  }

  /** `deadline` 0: lives for ever. A deadline that has passed already leaves no key. */
  set(key: string, value: string, deadline: number): void {
    if (deadline !== 0 && deadline <= this.#time) {
      this.delete(key)
      return
    }
    let item = this.#items.get(key)
    if (item === undefined) {
      item = { key, value, deadline: 0, version: 0, due: null, place: this.#order.length }
      this.#items.add(key, item)
      this.#order.push(item)
      this.#bytes += itemBytes(item)
    } else {
      this.#changing(item)
      this.#bytes += value.length - item.value.length
      item.value = value
    }
    this.#setDeadline(item, deadline)
    this.#touch(item)
  }

  /** False: there is no such key. */
  setDeadline(key: string, deadline: number): boolean {
    const item = this.#live(key)
    if (item === undefined) return false
    if (deadline !== 0 && deadline <= this.#time) return this.delete(key)
    this.#changing(item)
    this.#setDeadline(item, deadline)
    this.#touch(item)
    return true
  }

  delete(key: string): boolean {
    const item = this.#items.get(key)
    if (item === undefined) return false
    const lived = this.#lives(item)
    this.#remove(item)
    if (lived) this.#listener?.changed(key)
    return lived
  }

  /** Takes no longer for a million keys than for one. */
  clear(): void {
    const items = this.#items
    this.#items = new KeyMap()
    this.#listener?.cleared((key) => {
      const item = items.get(key)
      return item !== undefined && this.#lives(item)
    })
    this.#order = []
    // Those that are under way have the old order to themselves.
    this.#walks.clear()
    this.#deadlines.clear()
    this.#expiring = 0
    this.#bytes = 0
  }

  /** Whether this key has a deadline that has passed by `now`, while by the entries applied so far it still lives. */
  isDue(key: string, now: number): boolean {
    const item = this.#live(key)
    return item !== undefined && item.deadline !== 0 && item.deadline <= now
  }

  /**
   * Reads by a time that may be ahead of the entries, where nobody puts the time into the log for this reader: what is
   * due by then is not seen. `read` is given the time, changes nothing, and is over when it returns.
   */
  readAt<Answer>(time: number, read: (time: number) => Answer): Answer {
    this.#seenAt = Math.max(time, this.#time)
    try {
      return read(this.#seenAt)
    } finally {
      this.#seenAt = this.#time
    }
  }

  /**
   * One step of a walk: visits up to `count` items, and returns where to go on; 0 = all were visited. Start with 0.
   * Every key that is there during the whole walk is visited at least once, whatever changes meanwhile.
   */
  scan(cursor: number, count: number, visit: (item: Item) => void): number {
    const from = cursor === 0 ? this.#order.length : Math.min(cursor, this.#order.length)
    const to = Math.max(0, from - count)
    for (let place = from - 1; place >= to; place -= 1) {
      const item = this.#order[place]
      if (item !== undefined && this.#lives(item)) visit(item)
    }
    return to
  }

  /**
   * Begins a walk over what is there now, in steps, whatever changes between them. `visit` changes nothing, keeps no
   * item, and may be called at any change.
   */
  walk(visit: (item: Item) => void): Walk {
    const walk = new Walk(this.#order, this.#seenAt, visit, (ended) => this.#walks.delete(ended))
    this.#walks.add(walk)
    return walk
  }

  /** Walks under way that are told of changes. */
  get walks(): number {
    return this.#walks.size
  }

  #live(key: string): StoredItem | undefined {
    const item = this.#items.get(key)
    return item !== undefined && this.#lives(item) ? item : undefined
  }

  #lives(item: Item): boolean {
    return item.deadline === 0 || item.deadline > this.#seenAt
  }

  #changing(item: StoredItem): void {
    if (this.#walks.size === 0) return
    for (const walk of this.#walks) walk.changing(item)
  }

  #touch(item: StoredItem): void {
    item.version = this.#index
    this.#listener?.changed(item.key)
  }

  #setDeadline(item: StoredItem, deadline: number): void {
    if (item.deadline === deadline) return
    if (item.deadline !== 0) this.#expiring -= 1
    this.#bytes -= itemBytes(item)
    item.deadline = deadline
    this.#bytes += itemBytes(item)
    item.due = deadline === 0 ? null : this.#deadlines.add(deadline, item.key)
    if (deadline === 0) return
    this.#expiring += 1
    if (this.#deadlines.size > 2 * this.#expiring + STALE_PLACES_MAX) {
      this.#deadlines.sweep((place) => this.#items.get(place.key)?.due === place)
    }
  }

  #remove(item: StoredItem): void {
    if (this.#walks.size > 0) for (const walk of this.#walks) walk.removing(item)
    this.#items.delete(item.key)
    this.#bytes -= itemBytes(item)
    if (item.deadline !== 0) this.#expiring -= 1
    const last = this.#order.pop()
    const moved = last !== undefined && last !== item ? last : null
    if (moved !== null) {
      this.#order[item.place] = moved
      moved.place = item.place
    }
    if (this.#walks.size > 0) for (const walk of this.#walks) walk.removed(moved, this.#order.length)
  }
}

/** So that small data sets are not swept over and over. */
const STALE_PLACES_MAX = 1024

/** As measured with a million keys, and some for a map that has just grown; the strings' bytes come on top. */
const ITEM_BYTES = 176
const DEADLINE_BYTES = 88

/** What a command may make of each of its words, beside their bytes: MSET says an item in two, SET with EX in five. */
export const WORD_GROWTH_BYTES = ITEM_BYTES / 2

const itemBytes = ({ key, value, deadline }: Item): number =>
  key.length + value.length + ITEM_BYTES + (deadline === 0 ? 0 : DEADLINE_BYTES)

/**
 * The keys and their values, in memory: what all servers of a cluster agree on. Pure and deterministic: the same
 * entries in the same order make the same data set, down to the order in which SCAN walks it. Its only clock is the
 * time of the last applied entry.
 *
 * Keys and values are strings of bytes (see resp/reply.ts).
 *
 * A key is dead when its deadline <= `time`. Dead keys are never seen; they are removed a bounded number at a time, at
 * places that depend on the entries alone.
 *
 * An entry may leave work that no reader sees, and that takes longer than its size says. It is done in steps before the
 * next entry, and between them the event loop may go on.
 */

import { SCAN_KEYS_MAX } from '../limits.js'
import { Capture } from './capture.js'
import { Deadlines } from './deadlines.js'
import { itemBytes, keyWeight, type Item, type PlacedItem, type StoredItem } from './item.js'
import { KeyMap } from './key-map.js'
import type { Restoration } from './restoration.js'
import { Walk } from './walk.js'

/** Told of changes, on every server, whoever caused them. Must not change the data set. */
export interface ChangeListener {
  changed(key: string): void
  /** Every key is gone; `wasThere` says of a key whether it lived before. */
  cleared(wasThere: (key: string) => boolean): void
  /** Everything is about to be replaced, or was: nothing that was known of a key holds any longer. */
  replaced(): void
}

export class DataSet {
  #items = new KeyMap<StoredItem>()
  /**
   * All items, in the order in which SCAN walks them: from the end down. A removed item's place is taken by the last
   * one, which a walk that has come down to some place has either returned already or will still meet; so a walk misses
   * no key that lives through it.
   */
  #order: StoredItem[] = []
  /** Invariant: every item with a deadline, and no other. */
  #deadlines = new Deadlines<StoredItem>()
  /** Those that must be told before anything changes, with those of captures. */
  readonly #walks = new Set<Walk>()
  readonly #captures = new Set<Capture>()
  #isRestoring = false
  /** Left by the last entry: so many dead keys may still be removed, and values that V8 holds in pieces. */
  #removalsLeft = 0
  #inPieces: StoredItem[] = []
  #bytes = 0
  #valueBytesMax = 0
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
    return this.#deadlines.size
  }

  /**
   * What keys, values and deadlines take in memory, as far as that follows from them: the same on every server.
   * Invariant: the sum of `itemBytes` over all items; 0 when there is none.
   */
  get bytes(): number {
    return this.#bytes
  }

  /** No value is longer; as long as the longest that was set since all keys were removed at once, or the start. */
  get valueBytesMax(): number {
    return this.#valueBytesMax
  }

  /** The earliest deadline; Infinity when there is none. */
  get nextDeadline(): number {
    return this.#deadlines.first?.deadline ?? Number.POSITIVE_INFINITY
  }

  set listener(listener: ChangeListener | null) {
    this.#listener = listener
  }

  /** Moves to an entry, and removes up to `removals` keys that are dead by then. */
  advance(index: number, time: number, removals: number): void {
    this.#index = index
    if (time > this.#time) this.#time = time
    this.#seenAt = this.#time
    this.#removeDead(removals)
  }

  /** Whether the last entry left work that must be done before the next one. */
  get hasWorkLeft(): boolean {
    return this.#removalsLeft > 0 || this.#inPieces.length > 0
  }

  /** Does a step of that work. */
  workOff(): void {
    const item = this.#inPieces.pop()
    if (item !== undefined) {
      // V8 makes one string of the pieces as soon as somebody looks inside.
      item.value.charCodeAt(0)
      return
    }
    const removals = Math.min(this.#removalsLeft, STEP_REMOVALS)
    this.#removalsLeft = this.#removeDead(removals) < removals ? 0 : this.#removalsLeft - removals
  }

  /** Leaves it as work to remove up to `count` dead keys. */
  removeLater(count: number): void {
    this.#removalsLeft = count
  }

  /** Leaves it as work to make one piece of a value. Changes nothing but memory. */
  joinLater(key: string): void {
    const item = this.#items.get(key)
    if (item !== undefined) this.#inPieces.push(item)
  }

  get(key: string): Item | undefined {
    return this.#live(key)
  }

  /** 0 for a key that is not there. */
  version(key: string): number {
    return this.#live(key)?.version ?? 0
  }

  /**
   * `deadline` 0: lives for ever. A deadline that has passed already leaves no key; that it was written counts as a
   * change also of one that was not there, as in Redis.
   */
  set(key: string, value: string, deadline: number): void {
    if (deadline !== 0 && deadline <= this.#time) {
      if (!this.delete(key)) this.#listener?.changed(key)
      return
    }
    if (value.length > this.#valueBytesMax) this.#valueBytesMax = value.length
    let item = this.#items.get(key)
    if (item === undefined) {
      item = { key, value, deadline: 0, version: 0, deadlinePlace: 0, place: this.#order.length }
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
    this.#empty()
    this.#listener?.cleared((key) => {
      const item = items.get(key)
      return item !== undefined && this.#lives(item)
    })
  }

  /** Nothing is here, since all of it is being replaced; who reads is to be told so. */
  get isRestoring(): boolean {
    return this.#isRestoring
  }

  /**
   * Lets go of everything, until `restored`. Walks that are under way go on over what was here; captures give up, as
   * they would keep it beside what comes.
   */
  beginRestore(): void {
    this.#isRestoring = true
    this.#removalsLeft = 0
    for (const capture of this.#captures) capture.giveUp('the data set is being replaced by a newer snapshot')
    this.#empty()
    this.#listener?.replaced()
  }

  /** Becomes what a snapshot says. Invariant: every item of it is settled. */
  restored({ facts, items, order, deadlines }: Restoration): void {
    this.#items = items
    this.#order = order
    this.#deadlines = deadlines
    this.#bytes = facts.bytes
    this.#valueBytesMax = facts.valueBytesMax
    this.#index = facts.index
    this.#time = facts.time
    this.#seenAt = facts.time
    this.#isRestoring = false
    this.#listener?.replaced()
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
   * One step of a walk: visits up to `count` items, fewer when their keys are long, and returns where to go on; 0 = all
   * were visited. Start with 0. Every key that is there during the whole walk is visited at least once, whatever
   * changes meanwhile; one that is deleted and made again, be it by one entry, is a new one.
   */
  scan(cursor: number, count: number, visit: (item: Item) => void): number {
    const from = cursor === 0 ? this.#order.length : Math.min(cursor, this.#order.length)
    const to = Math.max(0, from - count)
    let left = SCAN_KEYS_MAX
    let place = from
    while (place > to && left > 0) {
      place -= 1
      const item = this.#order[place]
      if (item === undefined) continue
      if (this.#lives(item)) visit(item)
      left -= keyWeight(item.key)
    }
    return place
  }

  /**
   * Begins a walk over what is there now, in steps, whatever changes between them. `visit` changes nothing, keeps no
   * item, and may be called at any change.
   */
  walk(visit: (item: Item) => void): Walk {
    return this.#walk(this.#seenAt, visit)
  }

  /** Walks under way that are told of changes, those of captures among them. */
  get walks(): number {
    return this.#walks.size
  }

  /**
   * Begins to hand out all that is here now, whatever changes meanwhile. Takes no longer for a million keys than for
   * one. `tooMuch`: why what is kept by then is more than may be, or null. Invariant: no work is left.
   */
  capture(tooMuch: () => string | null): Capture {
    const facts = {
      index: this.#index,
      time: this.#time,
      size: this.#order.length,
      bytes: this.#bytes,
      valueBytesMax: this.#valueBytesMax,
    }
    const walk = (visit: (item: PlacedItem) => void): Walk => this.#walk(Number.NEGATIVE_INFINITY, visit)
    const capture = new Capture(facts, walk, tooMuch, (ended) => this.#captures.delete(ended))
    this.#captures.add(capture)
    return capture
  }

  get captures(): ReadonlySet<Capture> {
    return this.#captures
  }

  /** What is kept for captures, beside `bytes`. */
  get keptBytes(): number {
    if (this.#captures.size === 0) return 0
    let bytes = 0
    for (const capture of this.#captures) bytes += capture.keptBytes
    return bytes
  }

  #empty(): void {
    const bytes = this.#bytes
    this.#items = new KeyMap()
    this.#valueBytesMax = 0
    this.#order = []
    // Those that are under way have the old order to themselves.
    this.#walks.clear()
    this.#deadlines = new Deadlines()
    this.#inPieces = []
    this.#bytes = 0
    for (const capture of this.#captures) capture.abandoned(bytes)
  }

  #walk(time: number, visit: (item: PlacedItem) => void): Walk {
    const walk = new Walk(this.#order, time, visit, (ended) => this.#walks.delete(ended))
    this.#walks.add(walk)
    return walk
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
    if (item.deadline !== 0) this.#deadlines.remove(item)
    this.#bytes -= itemBytes(item)
    item.deadline = deadline
    this.#bytes += itemBytes(item)
    if (deadline !== 0) this.#deadlines.add(item)
  }

  /** Removes up to `count` keys that are dead; returns how many. */
  #removeDead(count: number): number {
    for (let removed = 0; removed < count; removed += 1) {
      const item = this.#deadlines.first
      if (item === undefined || item.deadline > this.#time) return removed
      this.#remove(item)
    }
    return count
  }

  #remove(item: StoredItem): void {
    const last = this.#order.at(-1) ?? item
    if (this.#walks.size > 0) for (const walk of this.#walks) walk.removing(item, last)
    this.#items.delete(item.key)
    this.#bytes -= itemBytes(item)
    if (item.deadline !== 0) this.#deadlines.remove(item)
    this.#order.pop()
    if (last === item) return
    this.#order[item.place] = last
    last.place = item.place
  }
}

/** Dead keys that are removed in one step of the work left. */
const STEP_REMOVALS = 64

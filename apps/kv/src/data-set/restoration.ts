/**
 * What the data set will be: gathered from the items of a snapshot, which come in any order. Total: whatever comes,
 * either it makes a whole data set, or a method throws and says what is wrong.
 */

import type { DataSetFacts } from './capture.js'
import { Deadlines } from './deadlines.js'
import { itemBytes, type PlacedItem, type StoredItem } from './item.js'
import { KeyMap } from './key-map.js'

export class Restoration {
  readonly facts: DataSetFacts
  readonly items = new KeyMap<StoredItem>()
  readonly deadlines = new Deadlines<StoredItem>()
  /** In the order of coming; below `#settled` in that of their places. */
  readonly order: StoredItem[] = []
  #settled = 0
  #bytes = 0

  constructor(facts: DataSetFacts) {
    this.facts = facts
  }

  add({ key, value, deadline, version, place }: PlacedItem): void {
    const { facts } = this
    check(this.order.length < facts.size, `more than the ${facts.size} keys that it announces`)
    check(place < facts.size, `a key at place ${place}, of ${facts.size}`)
    check(version <= facts.index, `a key that entry ${version} changed, after the last one, ${facts.index}`)
    check(value.length <= facts.valueBytesMax, `a value of ${value.length} bytes, at most ${facts.valueBytesMax}`)
    check(this.items.get(key) === undefined, 'a key that is there twice')
    const item: StoredItem = { key, value, deadline, version, place, deadlinePlace: 0 }
    this.items.add(key, item)
    this.order.push(item)
    this.#bytes += itemBytes(item)
    if (deadline !== 0) this.deadlines.add(item)
  }

  /** Puts items in their places: up to `count` of them. False: all are, and it is whole. */
  settle(count: number): boolean {
    const { facts, order } = this
    check(order.length === facts.size, `${order.length} keys of the ${facts.size} that it announces`)
    check(this.#bytes === facts.bytes, `${this.#bytes} bytes of keys and values, where it announces ${facts.bytes}`)
    for (let moves = 0; moves < count && this.#settled < order.length; moves += 1) {
      const item = order[this.#settled]
      if (item === undefined) break
      if (item.place === this.#settled) {
        this.#settled += 1
        continue
      }
      const other = order[item.place]
      check(other !== undefined && other.place !== item.place, `two keys at place ${item.place}`)
      order[this.#settled] = other
      order[item.place] = item
    }
    return this.#settled < order.length
  }
}

function check(holds: boolean, flaw: string): asserts holds {
  if (!holds) throw new Error(`it holds ${flaw}`)
}

/** A key with what belongs to it. */

export interface Item {
  readonly key: string
  readonly value: string
  /** Milliseconds since 1970; 0 = lives for ever. */
  readonly deadline: number
  /** The index of the entry that last changed this key; what WATCH compares. */
  readonly version: number
}

/**
 * What a key costs whoever looks at it, against short ones: 256 bytes of it are matched with the longest pattern in
 * about the time that a short key takes to be found in memory and matched.
 */
export const keyWeight = (key: string): number => 1 + (key.length >> 8)

/** An item with its place in the order of the data set. */
export interface PlacedItem extends Item {
  readonly place: number
}

/** An item as the data set holds it. */
export interface StoredItem extends PlacedItem {
  value: string
  deadline: number
  version: number
  place: number
  /** Among the deadlines. Meaningless without one. */
  deadlinePlace: number
}

/** As measured with a million keys, and some for a map that has just grown; the strings' bytes come on top. */
const ITEM_BYTES = 176
const DEADLINE_BYTES = 40

/** What an item counts for in `maxmemory`. */
export const itemBytes = ({ key, value, deadline }: Item): number =>
  key.length + value.length + ITEM_BYTES + (deadline === 0 ? 0 : DEADLINE_BYTES)

/** What a command may make of each of its words, beside their bytes: MSET says an item in two, SET with EX in five. */
export const WORD_GROWTH_BYTES = ITEM_BYTES / 2

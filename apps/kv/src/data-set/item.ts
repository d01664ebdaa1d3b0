/** A key with what belongs to it. */

export interface Item {
  readonly key: string
  readonly value: string
  /** Milliseconds since 1970; 0 = lives for ever. */
  readonly deadline: number
  /** The index of the entry that last changed this key; what WATCH compares. */
  readonly version: number
}

/** An item with its place in the order of the data set. */
export interface PlacedItem extends Item {
  place: number
}

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
  place: number
}

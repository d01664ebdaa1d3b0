/**
 * Delta debugging: leaves out whatever can be left out of a list while something stays true of the rest. Large pieces
 * go first, so that a list of which little matters is short after few trials; in the end no single item can go.
 */

/**
 * What is left. `fails` is asked of the whole list too, by nobody: it must hold. It may lie (`false`) to make an end
 * soon.
 */
export function ddmin<Item>(items: readonly Item[], fails: (items: readonly Item[]) => boolean): readonly Item[] {
  let left = items
  let size = Math.max(1, left.length >> 1)
  for (;;) {
    const before = left.length
    left = withoutPieces(left, size, fails)
    if (size > 1) size >>= 1
    else if (left.length === before) return left
  }
}

/** One walk over the list, from its end: what caused something comes before it, and is needed longer. */
function withoutPieces<Item>(
  items: readonly Item[],
  size: number,
  fails: (items: readonly Item[]) => boolean,
): readonly Item[] {
  let left = items
  for (let end = left.length; end > 0; end -= size) {
    const rest = [...left.slice(0, Math.max(0, end - size)), ...left.slice(end)]
    if (fails(rest)) left = rest
  }
  return left
}

/**
 * Takes the first `count` items away. Of clients that do not pipeline it is one each time: that is cheaper than a
 * splice, which makes an array of what it takes.
 */
export function removeFirst(list: unknown[], count: number): void {
  if (count === 1) list.shift()
  else if (count > 0) list.splice(0, count)
}

/** How many whole answers there are in what a server has sent, in either version of the protocol. */

export function countReplies(text: string): number {
  let count = 0
  for (let at = endOfReply(text, 0); at !== -1; at = endOfReply(text, at)) count += 1
  return count
}

/** -1: it is not whole. */
function endOfReply(text: string, at: number): number {
  const line = text.indexOf('\r\n', at)
  if (line === -1) return -1
  const length = Number(text.slice(at + 1, line))
  const behind = line + 2
  switch (text[at]) {
    case '$':
    case '=':
      if (length === -1) return behind
      return text.length < behind + length + 2 ? -1 : behind + length + 2
    case '*':
    case '~':
    case '>':
      return endOfReplies(text, behind, length)
    case '%':
      return endOfReplies(text, behind, 2 * length)
    default:
      return behind
  }
}

function endOfReplies(text: string, start: number, count: number): number {
  let at = start
  for (let left = count; left > 0 && at !== -1; left -= 1) at = endOfReply(text, at)
  return at
}

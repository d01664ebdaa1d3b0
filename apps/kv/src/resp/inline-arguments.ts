/**
 * Splits an inline request, the form of a person with a terminal: words apart by white space, "double quotes" with
 * escapes, 'single quotes'. The rules, quirks included, are those that Redis answers with.
 */

/** Null: the quotes do not balance. */
export function splitInline(line: string): string[] | null {
  const words: string[] = []
  let at = 0
  for (;;) {
    while (isSpace(line.charCodeAt(at))) at += 1
    // A NUL ends the line in Redis, whose strings it would end.
    if (at >= line.length || line.charCodeAt(at) === 0) return words
    const word = readWord(line, at)
    if (word === null) return null
    words.push(word.text)
    at = word.next
  }
}

interface Piece {
  readonly text: string
  readonly next: number
}

function readWord(line: string, start: number): Piece | null {
  let text = ''
  let at = start
  while (at < line.length) {
    const character = line.charAt(at)
    if (character === '"' || character === "'") {
      const quoted = character === '"' ? readDouble(line, at + 1) : readSingle(line, at + 1)
      if (quoted === null) return null
      // A closing quote ends the word, and must be followed by white space.
      if (quoted.next < line.length && !isSpace(line.charCodeAt(quoted.next))) return null
      return { text: text + quoted.text, next: quoted.next }
    }
    if (character === '\0' || character === ' ' || character === '\n' || character === '\r' || character === '\t') break
    text += character
    at += 1
  }
  return { text, next: at }
}

function readDouble(line: string, start: number): Piece | null {
  let text = ''
  for (let at = start; at < line.length; at += 1) {
    const character = line.charAt(at)
    if (character === '"') return { text, next: at + 1 }
    if (character !== '\\' || at + 1 >= line.length) {
      text += character
      continue
    }
    const hex = /^x([0-9a-fA-F]{2})/.exec(line.slice(at + 1, at + 4))?.[1]
    if (hex !== undefined) {
      text += String.fromCharCode(Number.parseInt(hex, 16))
      at += 3
    } else {
      at += 1
      text += escapes.get(line.charAt(at)) ?? line.charAt(at)
    }
  }
  return null
}

const escapes: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['b', '\b'],
  ['a', '\x07'],
])

function readSingle(line: string, start: number): Piece | null {
  let text = ''
  for (let at = start; at < line.length; at += 1) {
    const character = line.charAt(at)
    if (character === "'") return { text, next: at + 1 }
    if (character === '\\' && line.charAt(at + 1) === "'") at += 1
    text += line.charAt(at)
  }
  return null
}

/** As C's isspace: space, and tab to carriage return. */
function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13)
}

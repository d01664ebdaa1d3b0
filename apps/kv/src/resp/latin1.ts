/**
 * Bytes as strings of one character each, and back, for the places where every word of every command passes.
 *
 * `latin1Slice` is what `toString('latin1')` ends up calling, and `latin1Write` what `write` does; calling them at once
 * takes about half the time for a key of 11 bytes (230 against 420 ns on a busy machine), and no Buffer need be made of
 * other bytes. Node.js has had both in every version, but documents them nowhere, hence the declaration here and
 * nowhere else.
 */

interface Latin1 {
  readonly latin1Slice: (this: Uint8Array, start: number, end: number) => string
  readonly latin1Write: (this: Uint8Array, text: string, at: number, length: number) => number
}

const { latin1Slice, latin1Write } = Buffer.prototype as unknown as Latin1

export function latin1(bytes: Uint8Array, start: number, end: number): string {
  return latin1Slice.call(bytes, start, end)
}

/** Returns where the text ends. Invariant: it fits, and has no other characters. */
export function writeLatin1(bytes: Uint8Array, at: number, text: string): number {
  const { length } = text
  // A call out of JavaScript costs more than so many characters.
  if (length > BY_HAND_MAX) return at + latin1Write.call(bytes, text, at, length)
  for (let place = 0; place < length; place += 1) bytes[at + place] = text.charCodeAt(place)
  return at + length
}

const BY_HAND_MAX = 24

/**
 * The same as `latin1`, for what is mostly one of few words, such as the name of a command: mostly the same string as
 * the last time, of which V8 knows the hash, and which need not be made.
 */
export function latin1Name(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start
  if (length === 0 || length > NAME_BYTES_MAX) return latin1(bytes, start, end)
  const place = ((bytes[start] ?? 0) * 31 + (bytes[end - 1] ?? 0) * 7 + length) & (NAMES - 1)
  const name = names[place] ?? ''
  if (isSame(name, bytes, start, length)) return name
  const made = latin1(bytes, start, end)
  names[place] = made
  return made
}

function isSame(name: string, bytes: Uint8Array, start: number, length: number): boolean {
  if (name.length !== length) return false
  for (let at = 0; at < length; at += 1) if (name.charCodeAt(at) !== bytes[start + at]) return false
  return true
}

const NAME_BYTES_MAX = 16
/** How many are kept; a power of 2. Whoever sends others has them made each time. */
const NAMES = 256
const names: string[] = Array.from({ length: NAMES }, () => '')

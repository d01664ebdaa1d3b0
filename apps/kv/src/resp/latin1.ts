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
  return at + latin1Write.call(bytes, text, at, text.length)
}

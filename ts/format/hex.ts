/** Ids of 16 bytes as the 32 hex digits that people read. */

const ID = /^[0-9a-f]{32}$/

/** Whether a text is such an id: what came from outside is looked at first. */
export const isHexId = (value: unknown): value is string => typeof value === 'string' && ID.test(value)

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Invariant: two hex digits for each byte. */
export function bytesOfHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2)
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16)
  return bytes
}

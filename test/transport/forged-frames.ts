/** Frames by hand: with a right outline and a right checksum, around whatever a test wants to say. */

import { crc32c } from '#balsa/format/crc32c.js'

const OUTLINE_BYTES = 16
const CHECKSUM_BYTES = 4

export function frameOf(type: number, fields: Uint8Array, blocks: Uint8Array = new Uint8Array(0)): Buffer {
  const head = Buffer.alloc(OUTLINE_BYTES + fields.length + CHECKSUM_BYTES)
  head.writeUInt32LE(head.length + blocks.length, 0)
  head.writeUInt8(type, 4)
  head.writeUIntLE(head.length, 5, 3)
  head.set(fields, OUTLINE_BYTES)
  return resealed(Buffer.concat([head, blocks]))
}

/** The checksum of its head made right, in place; a frame whose head cannot be is left as it is. */
export function resealed(frame: Buffer): Buffer {
  const crcAt = frame.length < OUTLINE_BYTES ? -1 : frame.readUIntLE(5, 3) - CHECKSUM_BYTES
  if (crcAt >= OUTLINE_BYTES && crcAt + CHECKSUM_BYTES <= frame.length) {
    frame.writeUInt32LE(crc32c(frame, 0, crcAt), crcAt)
  }
  return frame
}

/** One optional field. Bit 15 of the tag says that it is required. */
export function field(tag: number, value: Uint8Array = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(4 + value.length)
  bytes.writeUInt16LE(tag, 0)
  bytes.writeUInt16LE(value.length, 2)
  bytes.set(value, 4)
  return bytes
}

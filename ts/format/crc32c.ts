/**
 * CRC-32C (Castagnoli), as in iSCSI and ext4: the checksum of records and blocks. Pure TypeScript, sixteen bytes per
 * step through tables; the native store computes the same with the processor's instruction.
 */

import { viewOf } from './little-endian.js'

/** The Castagnoli polynomial, bits reversed. */
const POLYNOMIAL = 0x82f63b78

/** Bytes per step, and tables: table s holds the effect of a byte that is followed by s more. */
const STRIDE = 16
const WORD = 4

const TABLES = makeTables()

/**
 * The checksum of bytes start .. end-1, as an unsigned number. `before` is the checksum of the bytes that came earlier,
 * so that crc32c(b, 0, n) === crc32c(b, k, n, crc32c(b, 0, k)).
 */
// Hot path: once per record and once per block.
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, before = 0): number {
  if (start < 0 || end > bytes.length) throw new RangeError(`crc32c of ${start} .. ${end} in ${bytes.length} bytes`)
  return advance(bytes, viewOf(bytes), start, end, before)
}

/** The same for a caller that already has a view of exactly `bytes`: it saves one allocation per record. */
// Hot path: once per record.
export function crc32cOfView(bytes: Uint8Array, view: DataView, start: number, end: number): number {
  return advance(bytes, view, start, end, 0)
}

function advance(bytes: Uint8Array, view: DataView, start: number, end: number, before: number): number {
  let crc = ~before
  let at = start
  for (const last = end - STRIDE; at <= last; at += STRIDE) {
    const a = crc ^ view.getInt32(at, true)
    const b = view.getInt32(at + 4, true)
    const c = view.getInt32(at + 8, true)
    const d = view.getInt32(at + 12, true)
    crc = table(15, a) ^ table(14, a >>> 8) ^ table(13, a >>> 16) ^ table(12, a >>> 24)
    crc ^= table(11, b) ^ table(10, b >>> 8) ^ table(9, b >>> 16) ^ table(8, b >>> 24)
    crc ^= table(7, c) ^ table(6, c >>> 8) ^ table(5, c >>> 16) ^ table(4, c >>> 24)
    crc ^= table(3, d) ^ table(2, d >>> 8) ^ table(1, d >>> 16) ^ table(0, d >>> 24)
  }
  // What is left of a record is a good part of a short one.
  for (const last = end - WORD; at <= last; at += WORD) {
    const a = crc ^ view.getInt32(at, true)
    crc = table(3, a) ^ table(2, a >>> 8) ^ table(1, a >>> 16) ^ table(0, a >>> 24)
  }
  for (; at < end; at += 1) crc = (crc >>> 8) ^ table(0, crc ^ (bytes[at] ?? 0))
  return ~crc >>> 0
}

function table(step: number, value: number): number {
  return TABLES[step * 256 + (value & 255)] ?? 0
}

function makeTables(): Int32Array {
  const tables = new Int32Array(256 * STRIDE)
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    tables[byte] = crc
  }
  for (let at = 256; at < tables.length; at += 1) {
    const shorter = tables[at - 256] ?? 0
    tables[at] = (shorter >>> 8) ^ (tables[shorter & 255] ?? 0)
  }
  return tables
}

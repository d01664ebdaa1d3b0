/** The few rules of layout that every format here shares: u64 as two halves (no BigInt), padding to multiples of 8. */

/** Blocks, records and operations begin on multiples of this. */
export const ALIGN = 8

const TWO_32 = 0x1_0000_0000

/** A view of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Writes a position: a whole number below 2^53. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true)
  view.setUint32(at + 4, value / TWO_32, true)
}

/** Rounded, and at least 2^53, when the bytes say 2^53 or more: `isPosition` tells. */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true)
}

/** The next multiple of 8; right for everything below 2^53. */
export function padded(bytes: number): number {
  return bytes + (-bytes & (ALIGN - 1))
}

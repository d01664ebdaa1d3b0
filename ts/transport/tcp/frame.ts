/**
 * The outline that every frame shares: length, type, group. Numbers are little-endian; docs/wire-format.md draws it.
 * Eight bytes for a Raft group are in every frame from the first version on, so that many groups can share a
 * connection later without a format break; for now the group is 0.
 */

/** Each direction of a connection begins with these bytes; the line end in them shows a connection that rewrites text. */
export const MAGIC = Buffer.from('BALSA\r\n\0', 'latin1')

/** u32 length of the whole frame, u8 type, 3 zero bytes, u64 group. */
export const FRAME_HEADER_BYTES = 16

/** The longest header, with the frame's own: what a frame may have beyond its blocks. */
export const MESSAGE_HEADER_BYTES_MAX = 64

/** While hands are shaken a frame is at most this long: whoever has not said who it is gets no more memory. */
export const HANDSHAKE_FRAME_BYTES_MAX = 4096

export const FrameType = {
  hello: 1,
  welcome: 2,
  refusal: 3,
  appendEntries: 16,
  appendEntriesResult: 17,
  requestVote: 18,
  requestVoteResult: 19,
  preVote: 20,
  preVoteResult: 21,
} as const

const TWO_TO_32 = 0x1_0000_0000

/** Writes the outline and returns where the body begins. */
export function writeFrameHeader(target: Buffer, at: number, frame: { type: number; length: number }): number {
  target.writeUInt32LE(frame.length, at)
  target.writeUInt32LE(frame.type, at + 4)
  target.writeUInt32LE(0, at + 8)
  target.writeUInt32LE(0, at + 12)
  return at + FRAME_HEADER_BYTES
}

/** What is wrong with a frame's outline after its length, or null. */
export function frameHeaderFlaw(bytes: Buffer, at: number): string | null {
  if (bytes[at + 5] !== 0 || bytes[at + 6] !== 0 || bytes[at + 7] !== 0) return 'reserved bytes 5 .. 7 are not zero'
  const group = readU64(bytes, at + 8)
  return group === 0 ? null : `group ${group} is not known here`
}

/** Invariant: `value` is a position. Returns where the next field begins. */
export function writeU64(target: Buffer, at: number, value: number): number {
  target.writeUInt32LE(value % TWO_TO_32, at)
  target.writeUInt32LE(Math.floor(value / TWO_TO_32), at + 4)
  return at + 8
}

/** Above 2^53 the number is not exact and not a position: the caller checks with `isPosition`. */
export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * TWO_TO_32
}

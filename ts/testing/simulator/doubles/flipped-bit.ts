/**
 * Invariant 26: a bit that flips on the way makes no other message. Where messages pass by reference the real codec
 * takes part here: the frame either cannot be read, or says the same around a block that whoever verifies it will find
 * damaged.
 */

import type { Request, Response } from '../../../core/messages.js'
import { verifyBlock } from '../../../format/block.js'
import { decodeFrame } from '../../../transport/wire/codec.js'
import { FEATURES } from '../../../transport/wire/features.js'
import { frameMemory } from '../../../transport/wire/frame.js'
import { encodeMessage } from '../../../transport/wire/message-codec.js'
import { hold } from '../../invariants/violation.js'
import type { SeededRandom } from '../random.js'

const ALL_FEATURES = new Set(FEATURES)

/** What a peer reads of that message when one bit of its frame flips; null: nothing, and it cuts the connection. */
export function throughFlippedBit(message: Request | Response, random: SeededRandom): Request | Response | null {
  const bytes = encodeMessage(message, ALL_FEATURES)
  const bit = random.int(0, bytes.length * 8)
  const at = bit >>> 3
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7))
  const frame = decodeFrame(frameMemory(bytes))
  if (frame.type === 'Malformed') return null
  const isDamaged = frame.type === 'AppendEntries' && !frame.blocks.every(({ data }) => verifyBlock(data))
  hold(isDamaged, 26, () => `bit ${bit} of a ${message.type} flips, and it is read as a sound ${frame.type}`)
  return frame
}

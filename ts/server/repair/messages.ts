/**
 * What two servers say to each other over the channel on which one gives the other entries whose block is damaged there
 * (docs/wire-format.md, Repairs). Pure. What comes from outside is total: malformed bytes are null, never an error. The
 * first word of a frame tells these from the messages of a snapshot, which have their own.
 */

import {
  DAMAGED,
  FRAME_HEAD_BYTES,
  isSealed,
  newFrame,
  reasonBytes,
  sealFrame,
  wordOf,
} from '../../format/channel-frame.js'
import type { Damaged } from '../../format/channel-frame.js'
import { bytesOfHex, hexOf } from '../../format/hex.js'
import { readU64, viewOf, writeU64 } from '../../format/little-endian.js'
import { isPosition, logIndex, POSITION_MAX, termOf } from '../../types.js'
import type { LogIndex, TermRun } from '../../types.js'

/** What may be given at once: a block is shorter, and so is one entry of the largest length. */
export const REPAIR_BYTES_MAX = 4 * 1024 * 1024
/** Of them in one frame. */
export const PART_BYTES = 128 * 1024

export type RepairMessage =
  /** Asker: it lacks these entries, whose terms are these: runs that cover first .. last, the first from `first` on. */
  | {
      readonly type: 'lack'
      readonly clusterId: string
      readonly first: LogIndex
      readonly last: LogIndex
      readonly runs: readonly TermRun[]
    }
  /** Giver: the next bytes of sealed blocks that cover first .. last, back to back. */
  | { readonly type: 'part'; readonly data: Uint8Array }
  /** Giver: that was all, so many bytes. */
  | { readonly type: 'whole'; readonly bytes: number }
  /** Giver: why it gives none. `again`: it may later. */
  | { readonly type: 'refused'; readonly again: boolean; readonly reason: string }

const LACK = 16
const PART = 17
const WHOLE = 18
const REFUSED = 19

const ID_BYTES = 16
const RUNS_AT = FRAME_HEAD_BYTES + ID_BYTES + 16
const RUN_BYTES = 16

/** Whether a channel on which this comes first is one of repairs. */
export function isRepair(frame: Uint8Array): boolean {
  return frame.length >= FRAME_HEAD_BYTES && wordOf(frame) === LACK
}

export function encodeRepair(message: RepairMessage): Uint8Array {
  switch (message.type) {
    case 'lack': {
      const { clusterId, first, last, runs } = message
      const bytes = newFrame(LACK, RUNS_AT - FRAME_HEAD_BYTES + runs.length * RUN_BYTES)
      const view = viewOf(bytes)
      bytes.set(bytesOfHex(clusterId), FRAME_HEAD_BYTES)
      writeU64(view, FRAME_HEAD_BYTES + ID_BYTES, first)
      writeU64(view, FRAME_HEAD_BYTES + ID_BYTES + 8, last)
      for (const [at, run] of runs.entries()) {
        writeU64(view, RUNS_AT + at * RUN_BYTES, run.first)
        writeU64(view, RUNS_AT + at * RUN_BYTES + 8, run.term)
      }
      return sealFrame(bytes)
    }
    case 'part': {
      const bytes = newFrame(PART, message.data.length)
      bytes.set(message.data, FRAME_HEAD_BYTES)
      return sealFrame(bytes)
    }
    case 'whole': {
      const bytes = newFrame(WHOLE, 8)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, message.bytes)
      return sealFrame(bytes)
    }
    case 'refused': {
      const reason = reasonBytes(message.reason)
      const bytes = newFrame(REFUSED, 8 + reason.length)
      writeU64(viewOf(bytes), FRAME_HEAD_BYTES, Number(message.again))
      bytes.set(reason, FRAME_HEAD_BYTES + 8)
      return sealFrame(bytes)
    }
  }
}

/** Null for what no server sends. `data` of a part is a view of `bytes`. */
export function decodeRepair(bytes: Uint8Array): RepairMessage | Damaged | null {
  if (bytes.length < FRAME_HEAD_BYTES) return null
  const view = viewOf(bytes)
  const body = bytes.length - FRAME_HEAD_BYTES
  if (!isSealed(bytes)) return DAMAGED
  switch (wordOf(bytes)) {
    case LACK:
      return decodeLack(bytes, view)
    case PART:
      return body === 0 ? null : { type: 'part', data: bytes.subarray(FRAME_HEAD_BYTES) }
    case WHOLE: {
      const total = body === 8 ? readU64(view, FRAME_HEAD_BYTES) : Number.NaN
      return isPosition(total) ? { type: 'whole', bytes: total } : null
    }
    case REFUSED: {
      const again = body < 8 ? Number.NaN : readU64(view, FRAME_HEAD_BYTES)
      const reason = new TextDecoder().decode(bytes.subarray(FRAME_HEAD_BYTES + 8))
      return again <= 1 ? { type: 'refused', again: again === 1, reason } : null
    }
    default:
      return null
  }
}

function decodeLack(bytes: Uint8Array, view: DataView): RepairMessage | null {
  const count = (bytes.length - RUNS_AT) / RUN_BYTES
  if (!Number.isSafeInteger(count) || count < 1) return null
  const clusterId = hexOf(bytes.subarray(FRAME_HEAD_BYTES, FRAME_HEAD_BYTES + ID_BYTES))
  const first = readU64(view, FRAME_HEAD_BYTES + ID_BYTES)
  const last = readU64(view, FRAME_HEAD_BYTES + ID_BYTES + 8)
  if (first < 1 || first > last || !isPosition(last, POSITION_MAX)) return null
  const runs: TermRun[] = []
  for (let at = 0; at < count; at += 1) {
    const from = readU64(view, RUNS_AT + at * RUN_BYTES)
    const term = readU64(view, RUNS_AT + at * RUN_BYTES + 8)
    const before = runs.at(-1)
    const isNext = before === undefined ? from === first : from > before.first && term > before.term
    if (!isNext || from > last || term < 1 || !isPosition(term, POSITION_MAX)) return null
    runs.push({ first: logIndex(from), term: termOf(term) })
  }
  return { type: 'lack', clusterId, first: logIndex(first), last: logIndex(last), runs }
}

/**
 * Messages to bytes and back. Fixed fields are written by hand at fixed places, optional ones behind them; the sealed
 * blocks of an AppendEntries follow its head back to back and are never copied here: on send they are handed on as they
 * are, on receipt they are views of the memory that was read. Decoding is a total function: any bytes give a message or
 * a named flaw, never an exception.
 */

import type { AppendEntries, AppendEntriesResult, Request, RequestVote, Response } from '../../core/messages.js'
import { assert } from '../../errors.js'
import { blockLengthAt, decodeBlock } from '../../format/block.js'
import { readU64, writeU64 } from '../../format/little-endian.js'
import { MalformedBytes } from '../../format/malformed.js'
import { type Block, logIndex, termOf } from '../../types.js'
import { messageFlaw } from '../../core/message-check.js'
import type { FeatureSet } from './features.js'
import {
  CHECKSUM_BYTES,
  finishHead,
  FRAME_HEADER_BYTES,
  type FrameMemory,
  frameMemory,
  frameTypeAt,
  FrameType,
  headLengthAt,
  type Malformed,
  malformed,
} from './frame.js'
import {
  findField,
  type KnownFields,
  NO_FIELDS,
  optionalFieldsFlaw,
  writeMark,
  writeU64Field,
} from './optional-fields.js'

/** The longest head that `encodeHead` writes. */
export const MESSAGE_HEAD_BYTES_MAX = 96

type MessageType = (Request | Response)['type']

/** Of each message: the length of its fixed fields, and what it may have behind them. */
const LAYOUTS: Readonly<Record<MessageType, { readonly fixedBytes: number; readonly known: KnownFields }>> = {
  AppendEntries: { fixedBytes: 48, known: NO_FIELDS },
  AppendEntriesResult: { fixedBytes: 48, known: [undefined, 8, 8] },
  RequestVote: { fixedBytes: 24, known: [undefined, 0] },
  RequestVoteResult: { fixedBytes: 16, known: NO_FIELDS },
  PreVote: { fixedBytes: 32, known: NO_FIELDS },
  PreVoteResult: { fixedBytes: 24, known: NO_FIELDS },
  TimeoutNow: { fixedBytes: 24, known: NO_FIELDS },
}

/** Of an AppendEntriesResult; feature `log-end`. */
const LAST_INDEX_TAG = 1
/** The same; feature `accepted`. */
const ACCEPTED_INDEX_TAG = 2
/** Of a RequestVote; feature `transfer`. */
const TRANSFER_TAG = 1

const STATUSES = ['matched', 'conflict', 'busy'] as const

/** Whether a peer with these features understands it; what it does not is not sent to it, as if it were lost. */
export function isUnderstood(message: Request | Response, features: FeatureSet): boolean {
  return message.type !== 'TimeoutNow' || features.has('transfer')
}

/** A whole message in memory of its own: for those who send one piece at a time. */
export function encodeMessage(message: Request | Response, features: FeatureSet): Uint8Array {
  const blocksBytes = message.type === 'AppendEntries' ? blocksLength(message.blocks) : 0
  const memory = frameMemory(new Uint8Array(MESSAGE_HEAD_BYTES_MAX + blocksBytes))
  let end = encodeHead(message, features, memory, 0)
  if (message.type === 'AppendEntries') {
    for (const { data } of message.blocks) {
      memory.bytes.set(data, end)
      end += data.byteLength
    }
  }
  return memory.bytes.subarray(0, end)
}

/**
 * Writes a message's frame but for its blocks, which the caller sends after it. Returns where the head ends. `features`
 * are those of the connection: fields that the other side did not offer are left out. Invariants: the message has no
 * flaw and is understood there, and MESSAGE_HEAD_BYTES_MAX bytes are left at `at`. Hot path: once per batch.
 */
export function encodeHead(message: Request | Response, features: FeatureSet, memory: FrameMemory, at: number): number {
  const flaw = messageFlaw(message)
  if (flaw !== null) assert(false, `a ${message.type} to be sent is malformed: ${flaw}`)
  const { view } = memory
  const fields = at + FRAME_HEADER_BYTES
  const end = fields + LAYOUTS[message.type].fixedBytes
  switch (message.type) {
    case 'AppendEntries':
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.prevIndex)
      writeU64(view, fields + 16, message.prevTerm)
      writeU64(view, fields + 24, message.commitIndex)
      writeU64(view, fields + 32, message.round)
      writeU64(view, fields + 40, message.blocks.length)
      return finishHead(memory, at, end, FrameType.appendEntries, blocksLength(message.blocks))
    case 'AppendEntriesResult': {
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.matchIndex)
      writeU64(view, fields + 16, message.hintIndex)
      writeU64(view, fields + 24, message.hintTerm)
      writeU64(view, fields + 32, message.round)
      writeU64(view, fields + 40, STATUSES.indexOf(message.status))
      const optionalEnd = encodeIndexes(message, features, view, end)
      return finishHead(memory, at, optionalEnd, FrameType.appendEntriesResult, 0)
    }
    case 'RequestVote':
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.lastIndex)
      writeU64(view, fields + 16, message.lastTerm)
      return finishHead(memory, at, encodeMark(message, features, view, end), FrameType.requestVote, 0)
    case 'TimeoutNow':
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.lastIndex)
      writeU64(view, fields + 16, message.lastTerm)
      return finishHead(memory, at, end, FrameType.timeoutNow, 0)
    case 'RequestVoteResult':
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.granted ? 1 : 0)
      return finishHead(memory, at, end, FrameType.requestVoteResult, 0)
    case 'PreVote':
      writeU64(view, fields, message.proposedTerm)
      writeU64(view, fields + 8, message.lastIndex)
      writeU64(view, fields + 16, message.lastTerm)
      writeU64(view, fields + 24, message.round)
      return finishHead(memory, at, end, FrameType.preVote, 0)
    case 'PreVoteResult':
      writeU64(view, fields, message.term)
      writeU64(view, fields + 8, message.round)
      writeU64(view, fields + 16, message.granted ? 1 : 0)
      return finishHead(memory, at, end, FrameType.preVoteResult, 0)
  }
}

function encodeIndexes(message: AppendEntriesResult, features: FeatureSet, view: DataView, start: number): number {
  let at = start
  const { lastIndex, acceptedIndex } = message
  if (lastIndex !== undefined && features.has('log-end')) at = writeU64Field(view, at, LAST_INDEX_TAG, lastIndex)
  if (acceptedIndex === undefined || !features.has('accepted')) return at
  return writeU64Field(view, at, ACCEPTED_INDEX_TAG, acceptedIndex)
}

function encodeMark({ isTransfer }: RequestVote, features: FeatureSet, view: DataView, start: number): number {
  return isTransfer === true && features.has('transfer') ? writeMark(view, start, TRANSFER_TAG) : start
}

function blocksLength(blocks: readonly Block[]): number {
  let bytes = 0
  for (const block of blocks) bytes += block.data.byteLength
  return bytes
}

/**
 * Reads the message at [start, end). Invariant: the frame's outline has no flaw. Blocks are views of the memory. Hot
 * path: once per batch.
 */
export function decodeMessage(memory: FrameMemory, start: number, end: number): Request | Response | Malformed {
  const message = decodeByType(memory, start, end)
  if (message.type === 'Malformed') return message
  const flaw = messageFlaw(message)
  return flaw === null ? message : malformed(`${message.type}: ${flaw}`)
}

function decodeByType(memory: FrameMemory, start: number, end: number): Request | Response | Malformed {
  const { view } = memory
  const type = messageTypeOf(frameTypeAt(memory, start))
  if (type === null) return malformed(`frame type ${frameTypeAt(memory, start)} is not known`)
  const at = start + FRAME_HEADER_BYTES
  const headEnd = start + headLengthAt(memory, start)
  const fieldsEnd = headEnd - CHECKSUM_BYTES
  const flaw = fieldsFlaw(view, type, at, fieldsEnd)
  if (flaw !== null) return malformed(flaw)
  if (type === 'AppendEntries') return decodeAppendEntries(memory, at, headEnd, end)
  if (headEnd !== end) return malformed(`a ${type} with ${end - headEnd} bytes behind its head`)
  switch (type) {
    case 'AppendEntriesResult':
      return decodeAppendEntriesResult(view, at, fieldsEnd)
    case 'RequestVote':
      return { type, ...decodeLogEnd(view, at), ...decodeMark(view, at, fieldsEnd) }
    case 'TimeoutNow':
      return { type, ...decodeLogEnd(view, at) }
    case 'RequestVoteResult': {
      const granted = readU64(view, at + 8)
      if (granted > 1) return malformed(`RequestVoteResult: granted ${granted} is neither 0 nor 1`)
      return { type, term: termOf(readU64(view, at)), granted: granted === 1 }
    }
    case 'PreVote':
      return {
        type,
        proposedTerm: termOf(readU64(view, at)),
        lastIndex: logIndex(readU64(view, at + 8)),
        lastTerm: termOf(readU64(view, at + 16)),
        round: readU64(view, at + 24),
      }
    case 'PreVoteResult': {
      const granted = readU64(view, at + 16)
      if (granted > 1) return malformed(`PreVoteResult: granted ${granted} is neither 0 nor 1`)
      return { type, term: termOf(readU64(view, at)), granted: granted === 1, round: readU64(view, at + 8) }
    }
  }
}

function messageTypeOf(code: number): MessageType | null {
  switch (code) {
    case FrameType.appendEntries:
      return 'AppendEntries'
    case FrameType.appendEntriesResult:
      return 'AppendEntriesResult'
    case FrameType.requestVote:
      return 'RequestVote'
    case FrameType.requestVoteResult:
      return 'RequestVoteResult'
    case FrameType.preVote:
      return 'PreVote'
    case FrameType.preVoteResult:
      return 'PreVoteResult'
    case FrameType.timeoutNow:
      return 'TimeoutNow'
    default:
      return null
  }
}

/** What is wrong with the fields in [at, end), fixed and optional, or null. */
function fieldsFlaw(view: DataView, type: MessageType, at: number, end: number): string | null {
  const { fixedBytes, known } = LAYOUTS[type]
  const optional = at + fixedBytes
  if (optional === end) return null
  if (optional > end) return `a ${type} cannot have ${end - at} bytes of fields`
  const flaw = optionalFieldsFlaw(view, optional, end, known)
  return flaw === null ? null : `${type}: ${flaw}`
}

function decodeLogEnd(view: DataView, at: number): Omit<RequestVote, 'type'> {
  return {
    term: termOf(readU64(view, at)),
    lastIndex: logIndex(readU64(view, at + 8)),
    lastTerm: termOf(readU64(view, at + 16)),
  }
}

function decodeMark(view: DataView, at: number, fieldsEnd: number): Pick<RequestVote, 'isTransfer'> {
  const optional = at + LAYOUTS.RequestVote.fixedBytes
  return findField(view, optional, fieldsEnd, TRANSFER_TAG) < 0 ? {} : { isTransfer: true }
}

function decodeAppendEntriesResult(view: DataView, at: number, fieldsEnd: number): AppendEntriesResult | Malformed {
  const code = readU64(view, at + 40)
  const status = STATUSES[code]
  if (status === undefined) return malformed(`AppendEntriesResult: status ${code} is not known`)
  const result: { -readonly [Field in keyof AppendEntriesResult]: AppendEntriesResult[Field] } = {
    type: 'AppendEntriesResult',
    term: termOf(readU64(view, at)),
    status,
    matchIndex: logIndex(readU64(view, at + 8)),
    hintIndex: logIndex(readU64(view, at + 16)),
    hintTerm: termOf(readU64(view, at + 24)),
    round: readU64(view, at + 32),
  }
  const optional = at + LAYOUTS.AppendEntriesResult.fixedBytes
  const lastIndexAt = findField(view, optional, fieldsEnd, LAST_INDEX_TAG)
  const acceptedAt = findField(view, optional, fieldsEnd, ACCEPTED_INDEX_TAG)
  // Set, not spread, which was measured at ten times all the rest.
  if (lastIndexAt >= 0) result.lastIndex = logIndex(readU64(view, lastIndexAt))
  if (acceptedAt >= 0) result.acceptedIndex = logIndex(readU64(view, acceptedAt))
  return result
}

function decodeAppendEntries(memory: FrameMemory, at: number, headEnd: number, end: number): AppendEntries | Malformed {
  const { view } = memory
  const count = readU64(view, at + 40)
  const blocks = decodeBlocks(memory, headEnd, end)
  if (!Array.isArray(blocks)) return blocks
  if (blocks.length !== count) {
    return malformed(`AppendEntries: ${blocks.length} blocks where its header says ${count}`)
  }
  return {
    type: 'AppendEntries',
    term: termOf(readU64(view, at)),
    prevIndex: logIndex(readU64(view, at + 8)),
    prevTerm: termOf(readU64(view, at + 16)),
    blocks,
    commitIndex: logIndex(readU64(view, at + 24)),
    round: readU64(view, at + 32),
  }
}

/** Walks the blocks; their lengths must add up to `end` exactly. */
function decodeBlocks({ bytes, view }: FrameMemory, first: number, end: number): Block[] | Malformed {
  const blocks: Block[] = []
  let at = first
  try {
    while (at < end) {
      const length = blockLengthAt(view, at)
      if (length > end - at) return malformed(`AppendEntries: block ${blocks.length} runs past the end of its frame`)
      // Not a Buffer, whose slice() is a view where a Uint8Array's is a copy.
      blocks.push(decodeBlock(new Uint8Array(bytes.buffer, bytes.byteOffset + at, length)))
      at += length
    }
  } catch (error) {
    // Only what the block's own checks say about foreign bytes; a broken invariant of ours goes on up.
    if (!(error instanceof MalformedBytes)) throw error
    return malformed(`AppendEntries: block ${blocks.length}, at byte ${at - first} of the blocks: ${error.message}`)
  }
  return blocks
}

/**
 * Messages to bytes and back. Headers are written by hand at fixed places; the sealed blocks of an AppendEntries follow
 * its header back to back and are never copied: on send they are handed to the socket as they are, on receipt they are
 * views of the receive slab. Decoding is a total function: any bytes give a message or a named flaw, never an exception.
 */

import type { AppendEntries, AppendEntriesResult, Request, Response } from '../../core/messages.js'
import { assert } from '../../errors.js'
import { blockLengthAt, decodeBlock } from '../../format/block.js'
import { MalformedBytes } from '../../format/malformed.js'
import { type Block, logIndex, termOf } from '../../types.js'
import { messageFlaw } from '../../core/message-check.js'
import { FRAME_HEADER_BYTES, frameHeaderFlaw, FrameType, readU64, writeFrameHeader, writeU64 } from './frame.js'

export interface Malformed {
  readonly type: 'Malformed'
  /** What is wrong, and where it is in the frame when that says more. */
  readonly what: string
}

const HEADER_BYTES = {
  AppendEntries: 64,
  AppendEntriesResult: 64,
  RequestVote: 40,
  RequestVoteResult: 32,
  PreVote: 48,
  PreVoteResult: 40,
} as const

const STATUSES = ['matched', 'conflict', 'busy'] as const

/**
 * Writes a message's frame but for its blocks, which the caller sends after it. Returns where the header ends.
 * Invariant: the message has no flaw, and `target` has MESSAGE_HEADER_BYTES_MAX bytes left. Hot path: once per batch.
 */
export function encodeHeader(message: Request | Response, target: Buffer, at: number): number {
  const flaw = messageFlaw(message)
  assert(flaw === null, `a ${message.type} to be sent is malformed: ${flaw}`)
  const headerBytes = HEADER_BYTES[message.type]
  switch (message.type) {
    case 'AppendEntries':
      return encodeAppendEntries(message, target, at)
    case 'AppendEntriesResult': {
      let next = writeFrameHeader(target, at, { type: FrameType.appendEntriesResult, length: headerBytes })
      next = writeU64(target, next, message.term)
      next = writeU64(target, next, message.matchIndex)
      next = writeU64(target, next, message.hintIndex)
      next = writeU64(target, next, message.hintTerm)
      next = writeU64(target, next, message.round)
      return writeU64(target, next, STATUSES.indexOf(message.status))
    }
    case 'RequestVote': {
      let next = writeFrameHeader(target, at, { type: FrameType.requestVote, length: headerBytes })
      next = writeU64(target, next, message.term)
      next = writeU64(target, next, message.lastIndex)
      return writeU64(target, next, message.lastTerm)
    }
    case 'RequestVoteResult': {
      let next = writeFrameHeader(target, at, { type: FrameType.requestVoteResult, length: headerBytes })
      next = writeU64(target, next, message.term)
      return writeU64(target, next, message.granted ? 1 : 0)
    }
    case 'PreVote': {
      let next = writeFrameHeader(target, at, { type: FrameType.preVote, length: headerBytes })
      next = writeU64(target, next, message.proposedTerm)
      next = writeU64(target, next, message.lastIndex)
      next = writeU64(target, next, message.lastTerm)
      return writeU64(target, next, message.round)
    }
    case 'PreVoteResult': {
      let next = writeFrameHeader(target, at, { type: FrameType.preVoteResult, length: headerBytes })
      next = writeU64(target, next, message.term)
      next = writeU64(target, next, message.round)
      return writeU64(target, next, message.granted ? 1 : 0)
    }
  }
}

function encodeAppendEntries(message: AppendEntries, target: Buffer, at: number): number {
  let length: number = HEADER_BYTES.AppendEntries
  for (const block of message.blocks) length += block.data.byteLength
  let next = writeFrameHeader(target, at, { type: FrameType.appendEntries, length })
  next = writeU64(target, next, message.term)
  next = writeU64(target, next, message.prevIndex)
  next = writeU64(target, next, message.prevTerm)
  next = writeU64(target, next, message.commitIndex)
  next = writeU64(target, next, message.round)
  return writeU64(target, next, message.blocks.length)
}

/**
 * Reads the frame at [start, end) of `bytes`. Invariant: the caller has found `end - start` to be the frame's length,
 * at least FRAME_HEADER_BYTES. Blocks are views of `bytes`. Hot path: once per batch.
 */
export function decodeMessage(bytes: Buffer, start: number, end: number): Request | Response | Malformed {
  const headerFlaw = frameHeaderFlaw(bytes, start)
  if (headerFlaw !== null) return malformed(headerFlaw)
  const message = decodeByType(bytes, start, end)
  if (message.type === 'Malformed') return message
  const flaw = messageFlaw(message)
  return flaw === null ? message : malformed(`${message.type}: ${flaw}`)
}

function decodeByType(bytes: Buffer, start: number, end: number): Request | Response | Malformed {
  const type = bytes[start + 4]
  const length = end - start
  const at = start + FRAME_HEADER_BYTES
  switch (type) {
    case FrameType.appendEntries:
      return length < HEADER_BYTES.AppendEntries
        ? wrongLength('AppendEntries', length)
        : decodeAppendEntries(bytes, at, end)
    case FrameType.appendEntriesResult:
      return length === HEADER_BYTES.AppendEntriesResult
        ? decodeAppendEntriesResult(bytes, at)
        : wrongLength('AppendEntriesResult', length)
    case FrameType.requestVote:
      if (length !== HEADER_BYTES.RequestVote) return wrongLength('RequestVote', length)
      return {
        type: 'RequestVote',
        term: termOf(readU64(bytes, at)),
        lastIndex: logIndex(readU64(bytes, at + 8)),
        lastTerm: termOf(readU64(bytes, at + 16)),
      }
    case FrameType.requestVoteResult: {
      if (length !== HEADER_BYTES.RequestVoteResult) return wrongLength('RequestVoteResult', length)
      const granted = readU64(bytes, at + 8)
      if (granted > 1) return malformed(`RequestVoteResult: granted ${granted} is neither 0 nor 1`)
      return { type: 'RequestVoteResult', term: termOf(readU64(bytes, at)), granted: granted === 1 }
    }
    case FrameType.preVote:
      if (length !== HEADER_BYTES.PreVote) return wrongLength('PreVote', length)
      return {
        type: 'PreVote',
        proposedTerm: termOf(readU64(bytes, at)),
        lastIndex: logIndex(readU64(bytes, at + 8)),
        lastTerm: termOf(readU64(bytes, at + 16)),
        round: readU64(bytes, at + 24),
      }
    case FrameType.preVoteResult: {
      if (length !== HEADER_BYTES.PreVoteResult) return wrongLength('PreVoteResult', length)
      const granted = readU64(bytes, at + 16)
      if (granted > 1) return malformed(`PreVoteResult: granted ${granted} is neither 0 nor 1`)
      return {
        type: 'PreVoteResult',
        term: termOf(readU64(bytes, at)),
        granted: granted === 1,
        round: readU64(bytes, at + 8),
      }
    }
    default:
      return malformed(`frame type ${type} is not known`)
  }
}

function decodeAppendEntriesResult(bytes: Buffer, at: number): AppendEntriesResult | Malformed {
  const code = readU64(bytes, at + 40)
  const status = STATUSES[code]
  if (status === undefined) return malformed(`AppendEntriesResult: status ${code} is not known`)
  return {
    type: 'AppendEntriesResult',
    term: termOf(readU64(bytes, at)),
    status,
    matchIndex: logIndex(readU64(bytes, at + 8)),
    hintIndex: logIndex(readU64(bytes, at + 16)),
    hintTerm: termOf(readU64(bytes, at + 24)),
    round: readU64(bytes, at + 32),
  }
}

function decodeAppendEntries(bytes: Buffer, at: number, end: number): AppendEntries | Malformed {
  const count = readU64(bytes, at + 40)
  const blocks = decodeBlocks(bytes, at + 48, end)
  if (!Array.isArray(blocks)) return blocks
  if (blocks.length !== count) {
    return malformed(`AppendEntries: ${blocks.length} blocks where its header says ${count}`)
  }
  return {
    type: 'AppendEntries',
    term: termOf(readU64(bytes, at)),
    prevIndex: logIndex(readU64(bytes, at + 8)),
    prevTerm: termOf(readU64(bytes, at + 16)),
    blocks,
    commitIndex: logIndex(readU64(bytes, at + 24)),
    round: readU64(bytes, at + 32),
  }
}

/** Walks the blocks; their lengths must add up to `end` exactly. */
function decodeBlocks(bytes: Buffer, first: number, end: number): Block[] | Malformed {
  const blocks: Block[] = []
  let at = first
  try {
    while (at < end) {
      const length = blockLengthAt(bytes, at)
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

const malformed = (what: string): Malformed => ({ type: 'Malformed', what })

const wrongLength = (type: string, length: number): Malformed =>
  malformed(`a ${type} frame cannot have ${length} bytes`)

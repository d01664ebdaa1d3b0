/**
 * The bytes of docs/wire-format.md as fixed vectors, with and without what later versions may add. They were written
 * down from the document, not by this code: whoever disagrees with them has changed the wire.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { decodeBlock, verifyBlock } from '#balsa/format/block.js'
import {
  commonFeatures,
  decodeFrame,
  encodeChannelFrame,
  encodeAnswer,
  encodeClientHello,
  encodeClientWelcome,
  encodeGoodbye,
  encodeHello,
  encodeMessage,
  encodePing,
  encodeProof,
  encodeQuestion,
  encodeRefusal,
  encodeWelcome,
  FEATURES,
  frameMemory,
} from 'balsa-raft/transport'
import type { FeatureSet, Frame, Malformed } from 'balsa-raft/transport'

type Fields = Readonly<Record<string, unknown>> & { readonly type: string }

interface Vectors {
  readonly frames: readonly {
    readonly name: string
    readonly hex: string
    /** The frame as an object; blocks as hex. */
    readonly reads: Fields
    /** Whether this version writes it too, to a peer that has these features. */
    readonly written?: boolean
    readonly features?: readonly string[]
  }[]
  readonly refused: readonly { readonly name: string; readonly hex: string; readonly words: string }[]
}

// From build/test/transport back to the source tree.
const path = fileURLToPath(new URL('../../../test/transport/vectors.json', import.meta.url))
const vectors = JSON.parse(readFileSync(path, 'utf8')) as Vectors

const test = suite('wire vectors')

for (const { name, hex, reads, written, features } of vectors.frames) {
  test(`frame is read: ${name}`, () => {
    const frame = decode(hex)
    assert.equal(plain(frame), reads)
    if (frame.type === 'AppendEntries') assert.ok(frame.blocks.every(({ data }) => verifyBlock(data)))
  })

  if (written !== true) continue
  test(`frame is written byte for byte: ${name}`, () => {
    assert.is(hexOf(encode(decode(hex), commonFeatures(features ?? []))), hex)
  })
}

for (const { name, hex, words } of vectors.refused) {
  test(`frame is refused: ${name}`, () => {
    const frame = decode(hex)
    assert.match(frame.type === 'Malformed' ? frame.what : `a ${frame.type}`, words)
  })
}

test('every frame that this version has is among those that it writes, with each of its features', () => {
  const written = vectors.frames.filter((frame) => frame.written === true)
  const types = new Set(written.map(({ reads }) => reads.type))
  assert.equal([...types].sort(), [
    ...['AppendEntries', 'AppendEntriesResult', 'PreVote', 'PreVoteResult', 'RequestVote', 'RequestVoteResult'],
    ...[
      'TimeoutNow',
      'answer',
      'channelFrame',
      'clientHello',
      'clientWelcome',
      'goodbye',
      'hello',
      'ping',
      'proof',
      'question',
      'refusal',
      'welcome',
    ],
  ])
  assert.ok(written.some(({ reads }) => String(reads['features']) === String(FEATURES)))
  for (const field of ['lastIndex', 'acceptedIndex']) {
    assert.ok(written.some(({ reads }) => field in reads && reads.type === 'AppendEntriesResult'))
  }
  assert.ok(written.some(({ reads }) => reads['isTransfer'] === true && reads.type === 'RequestVote'))
})

function decode(hex: string): Frame | Malformed {
  return decodeFrame(frameMemory(new Uint8Array(Buffer.from(hex, 'hex'))))
}

function encode(frame: Frame | Malformed, features: FeatureSet): Uint8Array {
  switch (frame.type) {
    case 'hello':
      return encodeHello(frame)
    case 'welcome':
      return encodeWelcome()
    case 'refusal':
      return encodeRefusal(frame)
    case 'goodbye':
      return encodeGoodbye(frame.reason)
    case 'channelFrame':
      return Buffer.concat(encodeChannelFrame(frame.data))
    case 'ping':
      return encodePing()
    case 'question':
      return encodeQuestion(frame.data)
    case 'answer':
      return encodeAnswer(frame.data)
    case 'proof':
      return encodeProof(frame.data)
    case 'clientHello':
      return encodeClientHello(frame)
    case 'clientWelcome':
      return encodeClientWelcome(frame)
    case 'foreignHello':
    case 'Malformed':
      throw new Error(`no server writes a ${frame.type}`)
    default:
      return encodeMessage(frame, features)
  }
}

/**
 * With the blocks as hex, after each was found to be what its own bytes say, and so with what is not the transport's to
 * read.
 */
function plain(frame: Frame | Malformed): object {
  if ('data' in frame) return { ...frame, data: hexOf(frame.data) }
  if (frame.type !== 'AppendEntries') return frame
  for (const block of frame.blocks) assert.equal(decodeBlock(block.data), block)
  return { ...frame, blocks: frame.blocks.map(({ data }) => hexOf(data)) }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

test.run()

/**
 * The bytes of docs/snapshots.md as fixed files. They were written down from the document, not by this code: every
 * later version must read them, and this one makes exactly them.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { crc32c } from '#balsa/format/crc32c.js'
import { MalformedBytes, UnknownFormat } from '#balsa/format/malformed.js'
import {
  CHUNK_DATA_BYTES_MAX,
  decodeSnapshotEnds,
  decodeSnapshotHeader,
  encodeSnapshotHeader,
  SNAPSHOT_END_BYTES,
  snapshotHeaderBytes,
  SnapshotReader,
} from '#balsa/format/snapshot.js'
import type { SnapshotHeader } from '#balsa/types.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { cut, headerOf, joined, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'

import { check } from './seed.js'

interface SnapshotVector {
  readonly name: string
  readonly header: SnapshotHeader
  readonly chunks: readonly string[]
  readonly hex: string
}

interface Vectors {
  /** What is written and read. */
  readonly snapshots: readonly SnapshotVector[]
  /** What is only read: a later version may have written it. */
  readonly readable: readonly SnapshotVector[]
  readonly refused: readonly {
    readonly name: string
    /** Whether it is what a later version may write, not damage. */
    readonly unknown: boolean
    readonly words: string
    readonly hex: string
  }[]
}

// From build/test/format back to the source tree.
const path = fileURLToPath(new URL('../../../test/format/fixtures/snapshot-v1.json', import.meta.url))
const vectors = JSON.parse(readFileSync(path, 'utf8'), withBytes) as Vectors

const test = suite('the snapshot format')

for (const { name, header, chunks, hex } of vectors.snapshots) {
  test(`version 1 with ${name} is written byte for byte`, () => {
    assert.is(Buffer.from(snapshotBytes(header, chunks.map(bytesOf))).toString('hex'), hex)
  })
}

for (const { name, header, chunks, hex } of [...vectors.snapshots, ...vectors.readable]) {
  test(`version 1 with ${name} is read, in pieces of any size`, () => {
    for (const length of [1, 2, 7, 28, 1000]) {
      const reader = new SnapshotReader()
      const data = cut(bytesOf(hex), [length]).flatMap((piece) => reader.push(piece).map(hexOf))
      reader.finish()
      assert.equal(data, chunks)
      assert.equal(reader.header, header)
      assert.is(reader.checked, hex.length / 2)
    }
    const file = bytesOf(hex)
    const head = file.subarray(0, snapshotHeaderBytes(file))
    assert.equal(decodeSnapshotEnds(head, file.subarray(-SNAPSHOT_END_BYTES), file.length), header)
  })
}

for (const { name, unknown, words, hex } of vectors.refused) {
  test(`${name} is refused${unknown ? ' as of a later version' : ''}`, () => {
    for (const length of [1, 1000]) {
      const error = refusal(() => readAll(cut(bytesOf(hex), [length])))
      assert.is(error instanceof UnknownFormat, unknown, error.message)
      assert.ok(error.message.includes(words), error.message)
    }
  })
}

test('N12 a header is what it was, cluster and incarnation too, and a flipped bit anywhere in it is found', () => {
  const header = headerOf(3)
  const encoded = encodeSnapshotHeader(header)
  assert.equal(decodeSnapshotHeader(encoded), header)
  for (let bit = 0; bit < 8 * encoded.length; bit += 1) {
    const damaged = flipped(encoded, bit)
    assert.not.instance(
      refusal(() => decodeSnapshotHeader(damaged)),
      UnknownFormat,
      `bit ${bit}`,
    )
  }
})

test('the hash of a state is an extension of its header that nobody must know, and of 1 to 64 bytes', () => {
  const plain = encodeSnapshotHeader(headerOf(3))
  for (const length of [1, 64]) {
    const header = { ...headerOf(3), stateHash: 'a7'.repeat(length) }
    const encoded = encodeSnapshotHeader(header)
    assert.equal(decodeSnapshotHeader(encoded), header)
    const head = `${Buffer.of(length, 0, 0, 0, 0, 10).toString('hex')}${Buffer.from('state-hash').toString('hex')}`
    const at = plain.length - 4
    assert.is(hexOf(encoded.subarray(at, encoded.length - 4)), `${head}${header.stateHash}`)
    assert.is(encoded[100], 1)
  }
  for (const length of [0, 65]) {
    const encoded = encodeSnapshotHeader({ ...headerOf(3), stateHash: 'a7'.repeat(32) })
    const at = plain.length - 4
    const other = new Uint8Array(encoded.length - 32 + length)
    other.set(encoded.subarray(0, at + 16))
    const view = new DataView(other.buffer)
    view.setUint32(12, other.length, true)
    view.setUint32(at, length, true)
    view.setUint32(other.length - 4, crc32c(other, 0, other.length - 4), true)
    assert.match(refusal(() => decodeSnapshotHeader(other)).message, new RegExp(`a state-hash of ${length} bytes`))
  }
})

test('what is damaged anywhere gives out a beginning of the data at most, and then an error', async () => {
  const chunks = [bytes(300, 1), bytes(10, 2), bytes(200, 3)]
  const file = snapshotBytes(headerOf(1), chunks)
  const whole = hexOf(joined(chunks))
  await check(
    fc.property(
      fc.nat(8 * file.length - 1),
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }),
      (bit, lengths) => {
        const reader = new SnapshotReader()
        let given = ''
        refusal(() => {
          for (const piece of cut(flipped(file, bit), lengths)) given += reader.push(piece).map(hexOf).join('')
          reader.finish()
        })
        assert.ok(whole.startsWith(given))
      },
    ),
    500,
  )
})

test('what is no snapshot at all never does more than to be refused', async () => {
  await check(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (noise, hasHeader) => {
      const header = hasHeader ? [encodeSnapshotHeader(headerOf(1))] : []
      refusal(() => readAll([...header, noise]))
    }),
    500,
  )
})

test('forget goes back to the end of the last whole chunk, and what follows is read as if nothing had been', () => {
  const chunks = [bytes(CHUNK_DATA_BYTES_MAX, 1), bytes(9, 2)]
  const file = snapshotBytes(headerOf(1), chunks)
  for (const givesData of [true, false]) {
    const reader = new SnapshotReader(file.length, givesData)
    const data: string[] = []
    const push = (piece: Uint8Array): void => void data.push(...reader.push(piece).map(hexOf))
    for (const at of [3, 40, 170, 65_000, file.length - 30, file.length - 3]) {
      push(file.subarray(reader.taken, at))
      assert.is(reader.taken, at)
      reader.forget()
      assert.ok(reader.taken === reader.checked && reader.checked <= at)
    }
    push(file.subarray(reader.checked))
    reader.finish()
    assert.equal(data, givesData ? chunks.map(hexOf) : [])
  }
})

test('a length that passes the end that was announced is found as soon as it has come', () => {
  const file = snapshotBytes(headerOf(1), [bytes(50)])
  const headerLength = snapshotHeaderBytes(file)
  const longer = file.slice()
  longer[headerLength + 4] = 51
  assert.is(refusedAt(file, file.length - 1), headerLength + 8)
  assert.is(refusedAt(longer, file.length), headerLength + 8)
  assert.is(refusedAt(file, headerLength + SNAPSHOT_END_BYTES - 1), 16)
})

/** How many bytes have come when the reader refuses. */
function refusedAt(file: Uint8Array, announced: number): number {
  const reader = new SnapshotReader(announced)
  let come = 0
  refusal(() => {
    for (const piece of cut(file, [1])) {
      come += 1
      reader.push(piece)
    }
  })
  return come
}

function readAll(pieces: readonly Uint8Array[]): void {
  const reader = new SnapshotReader()
  for (const piece of pieces) reader.push(piece)
  reader.finish()
}

function refusal(run: () => void): MalformedBytes {
  try {
    run()
  } catch (error) {
    assert.instance(error, MalformedBytes)
    return error as MalformedBytes
  }
  throw new Error('it was not refused')
}

function flipped(file: Uint8Array, bit: number): Uint8Array {
  const copy = file.slice()
  const byte = bit >>> 3
  copy[byte] = (copy[byte] ?? 0) ^ (1 << (bit & 7))
  return copy
}

/** Values of extensions stand as `{ "hex": … }`. */
function withBytes(_key: string, value: unknown): unknown {
  const isHex = typeof value === 'object' && value !== null && Object.keys(value).join() === 'hex'
  return isHex ? bytesOf((value as { hex: string }).hex) : value
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

function hexOf(data: Uint8Array): string {
  return Buffer.from(data).toString('hex')
}

test.run()

/** Snapshots for stores to keep: headers, data, and the bytes of whole files in chunks of any size. */

import { CHUNK_HEAD_BYTES, SnapshotWriter } from '../../format/snapshot.js'
import { logIndex, termOf } from '../../types.js'
import type { SnapshotHeader } from '../../types.js'
import { T0 } from './blocks.js'

/** A header of the n-th snapshot of a test: ids fall as `n` grows, so that no order of names is that of time. */
export function headerOf(n: number, index = 10 * n, term = n): SnapshotHeader {
  const server = (id: string) => ({ id, address: `${id}.example:7000` })
  return {
    id: (0xff_ff_ff - n).toString(16).padStart(32, '0'),
    index: logIndex(index),
    term: termOf(term),
    time: T0 + index,
    configuration: {
      voters: [server('a'), server('b')],
      outgoing: null,
      nonvoters: [{ ...server('c'), promote: true }],
    },
    configurationIndex: logIndex(1),
    clusterName: 'conformance',
    clusterId: 'c1'.repeat(16),
    incarnation: '1a'.repeat(16),
    ...(n % 2 === 0 ? { stateHash: '5a'.repeat(32) } : {}),
  }
}

/** All bytes of a snapshot with those chunks. */
export function snapshotBytes(header: SnapshotHeader, chunks: readonly Uint8Array[]): Uint8Array {
  const writer = new SnapshotWriter(header)
  const sealed = chunks.map((data) => {
    const chunk = new Uint8Array(CHUNK_HEAD_BYTES + data.length)
    chunk.set(data, CHUNK_HEAD_BYTES)
    writer.seal(chunk)
    return chunk
  })
  return joined([writer.header, ...sealed, writer.end()])
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Those bytes, cut into pieces of these lengths, again and again. */
export function cut(bytes: Uint8Array, lengths: readonly number[]): readonly Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const length = lengths[n % lengths.length] ?? 1
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

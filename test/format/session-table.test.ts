/** The sessions of a snapshot, byte by byte as docs/snapshots.md says; the bytes were made from that page. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { MalformedBytes } from '#balsa/format/malformed.js'
import { decodeSessionTable, encodeSessionTable, sessionTableBytes } from '#balsa/format/session-table.js'
import type { SessionRecord } from '#balsa/format/session-table.js'

const sessions: readonly SessionRecord[] = [
  {
    ...{ id: 40, expiresAfterMs: 3_600_000, lastIndex: 57, lastTime: 0x199c82cc07b, unanswered: 3 },
    answers: [
      [3, new TextEncoder().encode('hello')],
      [5, null],
      [4, new Uint8Array(0)],
    ],
  },
  { id: 41, expiresAfterMs: 1000, lastIndex: 41, lastTime: 0x199c82cc07c, unanswered: 1, answers: [] },
]
const hex =
  '280000000000000080ee36000000000039000000000000007bc02cc899010000030000000000000003000000030000000000' +
  '00000500000068656c6c6f0500000000000000ffffffff0400000000000000000000002900000000000000e8030000000000' +
  '0029000000000000007cc02cc899010000010000000000000000000000'

const test = suite('sessions of a snapshot')

test('are written byte for byte, and read back', () => {
  const bytes = Buffer.concat([...encodeSessionTable(sessions)])
  assert.is(bytes.toString('hex'), hex)
  assert.is(sessionTableBytes(sessions), bytes.length)
  assert.equal(decodeSessionTable(new Uint8Array(bytes)), sessions)
})

test('that are cut off anywhere but between two of them are no sessions', () => {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
  const first = sessionTableBytes(sessions.slice(0, 1))
  for (let length = 1; length < bytes.length; length += 1) {
    const cut = bytes.subarray(0, length)
    if (length === first) assert.is(decodeSessionTable(cut).length, 1)
    else
      assert.throws(
        () => decodeSessionTable(cut),
        (error: unknown) => error instanceof MalformedBytes,
      )
  }
  assert.throws(() => decodeSessionTable(new Uint8Array(44)), /a session of the number 0/)
})

test.run()

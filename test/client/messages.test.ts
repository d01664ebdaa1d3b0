/** What a client and its server say to each other: comes back as it was said, and garbage is no message. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeClientMessage, encodeClientMessage } from '#balsa/server/clients/messages.js'
import type { ClientMessage } from '#balsa/server/clients/messages.js'
import { PartReader } from '#balsa/server/forward/messages.js'
import { newFrame, sealFrame } from '#balsa/format/channel-frame.js'
import { drawSeed, randomFrom } from '../support/seed.js'

const test = suite('messages of clients')

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, at) => at)

function read(frames: readonly Uint8Array[]): ClientMessage | 'more' | null {
  const reader = new PartReader(decodeClientMessage)
  const messages = frames.map((frame) => reader.read(frame))
  assert.ok(messages.slice(0, -1).every((message) => message === 'more'))
  return messages.at(-1) ?? null
}

const QUERIES: ClientMessage = {
  type: 'queries',
  firstId: 7,
  asked: [
    { bytes: bytes(3), consistency: 'linearizable', timeoutMs: null },
    { bytes: bytes(0), consistency: 'stale', timeoutMs: 1 },
    { bytes: bytes(9), consistency: { maxStalenessMs: 0.5 }, timeoutMs: 2 ** 31 - 1 },
    { bytes: bytes(1), consistency: { minIndex: 2 ** 40 }, timeoutMs: 30 },
  ],
}

const NEWS: ClientMessage = {
  type: 'news',
  leader: { id: 's1', address: 'a:1', meta: { http: 'a:80' } },
  addresses: ['a:1', 'b:1'],
}

test('queries and news come back as they were said, and so does what is longer than a frame', () => {
  const long: ClientMessage = {
    type: 'queries',
    firstId: 1,
    asked: [{ bytes: bytes(2 ** 20), consistency: 'stale', timeoutMs: null }],
  }
  const nobody: ClientMessage = { type: 'news', leader: null, addresses: [] }
  for (const message of [QUERIES, NEWS, nobody, long]) assert.equal(read(encodeClientMessage(message)), message)
  assert.is(encodeClientMessage(long).length, 2)
})

test('what servers say among each other alone is nothing for a client, nor what is cut or longer than it says', () => {
  const frame = encodeClientMessage(QUERIES)[0] ?? new Uint8Array(0)
  for (let length = 8; length < frame.length; length += 1) {
    assert.is(read([sealFrame(frame.slice(0, length))]), null, `${length} bytes`)
  }
  assert.is(read([sealFrame(Uint8Array.from([...frame, 0]))]), null)
  for (const word of [34, 35, 36, 99]) assert.is(read([sealFrame(newFrame(word, 16))]), null)
})

test('no bytes make the reader throw, and no kind of consistency is invented', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const whole = [QUERIES, NEWS].map((message) => encodeClientMessage(message)[0] ?? new Uint8Array(0))
  for (let at = 0; at < 20_000; at += 1) {
    const frame = (whole[at % 2] as Uint8Array).slice()
    const place = 8 + Math.floor(random() * (frame.length - 8))
    frame[place] = Math.floor(random() * 256)
    const message = read([sealFrame(frame)])
    if (message === null || message === 'more' || message.type !== 'queries') continue
    for (const { consistency, timeoutMs } of message.asked) {
      const [value] = typeof consistency === 'string' ? [0] : Object.values(consistency)
      assert.ok(Number(value) >= 0 && (timeoutMs ?? 0) >= 0, `seed ${seed}`)
    }
  }
})

test.run()

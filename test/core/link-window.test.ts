/**
 * How much a leader has on its way to a peer: what the link carries within a quarter of an election timeout. The link
 * is one that carries so many bytes a millisecond, in order, after a way of its own; disks answer later, and change
 * nothing.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { INFLIGHT_BYTES_MAX } from '#balsa/core/leader/inflights.js'
import { LinkWindow, WINDOW_BYTES_MIN } from '#balsa/core/leader/link-window.js'

const ELECTION_MS = 1000
const QUEUE_MS = ELECTION_MS / 4
const BEAT_MS = 100

interface Link {
  readonly bytesPerMs: number
  readonly wayMs: number
}

/** A heartbeat every BEAT_MS, behind a queue that is kept full, after some that found the link idle. */
function run(window: LinkWindow, link: Link, beats: number, isIdle = false): void {
  let answered = 0
  for (let beat = 0; beat < beats; beat += 1) {
    const bytes = isIdle ? 0 : window.bytes
    if (!isIdle) window.full()
    window.sent((round += 1), now, bytes, true)
    const delayMs = link.wayMs + bytes / link.bytesPerMs
    answered = now + Math.max(BEAT_MS, delayMs)
    window.answered(round, now + delayMs)
    now = answered
  }
}

let round = 0
let now = 0

for (const [name, mibPerS] of [
  ['0.4', 0.4],
  ['1', 1],
  ['2', 2],
  ['8', 8],
] as const) {
  for (const wayMs of [0.1, 20, 150]) {
    test(`a link of ${name} MiB/s and ${wayMs} ms is kept busy, and a heartbeat waits a quarter of an election at most`, () => {
      const link = { bytesPerMs: (mibPerS * 1024 * 1024) / 1000, wayMs }
      const window = new LinkWindow(ELECTION_MS)
      run(window, link, 3, true)
      run(window, link, 20)
      const queuedMs = window.bytes / link.bytesPerMs
      assert.ok(queuedMs <= QUEUE_MS * 1.01, `${queuedMs} ms`)
      // Twice the way at least, or the link would stand idle while answers are on their way back.
      assert.ok(queuedMs >= QUEUE_MS / 2.01, `${queuedMs} ms`)
    })
  }
}

test('what is no longer waited for is on its way all the same: a heartbeat behind it does not show how long the way is', () => {
  const window = new LinkWindow(ELECTION_MS)
  const before = window.bytes
  const delayMs = 4 * QUEUE_MS
  window.sent((round += 1), now, before, false)
  window.left(before)
  window.sent((round += 1), now, 0, true)
  window.answered(round, (now += delayMs))
  window.full()
  window.sent((round += 1), now, before, true)
  window.answered(round, (now += delayMs))
  assert.ok(window.bytes < before, `${window.bytes} of ${before} bytes`)
  // It has arrived: the next one finds nothing before it.
  window.sent((round += 1), now, 0, true)
  window.answered(round, (now += 1))
  window.full()
  window.sent((round += 1), now, window.bytes, true)
  const small = window.bytes
  window.answered(round, (now += 2))
  assert.ok(window.bytes > small, `${window.bytes} of ${small} bytes`)
})

test('a fast link, near or far, has the whole window after a few heartbeats', () => {
  for (const wayMs of [0.1, 5, 150]) {
    const window = new LinkWindow(ELECTION_MS)
    run(window, { bytesPerMs: 100_000, wayMs }, 1, true)
    run(window, { bytesPerMs: 100_000, wayMs }, 5)
    assert.is(window.bytes, INFLIGHT_BYTES_MAX)
  }
})

test('a link that becomes slow, and fast again, is followed both ways', () => {
  const window = new LinkWindow(ELECTION_MS)
  const [fast, slow] = [
    { bytesPerMs: 100_000, wayMs: 1 },
    { bytesPerMs: 400, wayMs: 1 },
  ]
  run(window, fast, 2, true)
  run(window, fast, 10)
  run(window, slow, 5)
  assert.ok(window.bytes <= slow.bytesPerMs * QUEUE_MS, `${window.bytes}`)
  run(window, fast, 10)
  assert.is(window.bytes, INFLIGHT_BYTES_MAX)
})

test('answers that wait for a disk, however slow, make no window smaller', () => {
  const window = new LinkWindow(ELECTION_MS)
  const before = window.bytes
  for (let count = 0; count < 50; count += 1) {
    window.full()
    window.sent((round += 1), now, window.bytes, false)
    window.answered(round, (now += 5000))
  }
  assert.is(window.bytes, before)
})

test('a heartbeat behind unanswered entries is what counts, and one that was lost with its connection does not', () => {
  const window = new LinkWindow(ELECTION_MS)
  window.sent(++round, now, 100_000, false)
  window.sent(++round, (now += BEAT_MS), 100_000, true)
  window.answered(round - 1, (now += 5000))
  window.answered(round, (now += 1))
  assert.ok(window.bytes < 100_000)
  const small = window.bytes
  window.sent(++round, now, 100_000, true)
  window.forget()
  window.answered(round, (now += 60_000))
  assert.is(window.bytes, small)
})

test('no link, however slow, makes a window smaller than its bound, and one larger block may go alone', () => {
  const window = new LinkWindow(ELECTION_MS)
  window.sent(++round, now, 1024 * 1024, true)
  window.answered(round, (now += 1_000_000))
  assert.equal([window.bytes, window.messageBytes], [WINDOW_BYTES_MIN, WINDOW_BYTES_MIN])
})

test.run()

/** When rounds began, as far as it is remembered: never later than they did. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RoundTimes } from '#balsa/core/leader/round-times.js'

const HEARTBEAT_MS = 100

test('a round counts from when it began, or from one before it where it began soon after that', () => {
  const times = new RoundTimes(HEARTBEAT_MS)
  times.began(1, 1000)
  times.began(2, 1024)
  times.began(3, 1025)
  assert.equal(
    [1, 2, 3, 4].map((round) => times.beganAt(round)),
    [1000, 1000, 1025, 1025],
  )
  assert.is(times.beganAt(0), -Infinity)
})

test('of many rounds those of 32 heartbeats are known, and nothing of those before', () => {
  const times = new RoundTimes(HEARTBEAT_MS)
  for (let round = 1; round <= 10_000; round += 1) times.began(round, round)
  assert.is(times.beganAt(10_000), 9976)
  assert.is(times.beganAt(10_000 - 32 * HEARTBEAT_MS + 50), 6826)
  assert.is(times.beganAt(6000), -Infinity)
})

test('a round of a time that is not known is not taken for one that began', () => {
  const times = new RoundTimes(HEARTBEAT_MS)
  times.began(1, -Infinity)
  times.began(2, -Infinity)
  assert.is(times.beganAt(2), -Infinity)
  times.began(3, 50)
  assert.equal([times.beganAt(2), times.beganAt(3)], [-Infinity, 50])
})

test.run()

/**
 * The watch over clocks and chance sees each of them, says from where, changes nothing else, and leaves nothing behind.
 */

import { watchAmbient } from '#balsa/testing/determinism/ambient.js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('watching clocks and chance')

const sources: readonly (readonly [string, () => unknown])[] = [
  ['Date.now', () => Date.now()],
  ['Date.now', () => new Date()],
  // oxlint-disable-next-line unicorn/new-for-builtins -- this form is what is tried
  ['Date.now', () => Date()],
  ['performance.now', () => performance.now()],
  ['process.hrtime', () => process.hrtime()],
  ['process.hrtime.bigint', () => process.hrtime.bigint()],
  ['Math.random', () => Math.random()],
  ['crypto.randomUUID', () => crypto.randomUUID()],
  ['crypto.getRandomValues', () => crypto.getRandomValues(new Uint8Array(1))],
]

for (const [n, [what, ask]] of sources.entries()) {
  test(`${what} is seen, with its place (${n + 1})`, () => {
    const watch = watchAmbient(0)
    ask()
    watch.stop()
    ask()
    assert.equal(
      watch.uses.map((use) => use.what),
      [what],
    )
    assert.match(watch.uses[0]?.where ?? '', /ambient\.test\./)
  })
}

test('a given date is no question, and what is made is a date like any other', () => {
  const watch = watchAmbient(0)
  const given = new Date(0)
  class Day extends Date {}
  assert.equal(watch.uses, [])
  const day = new Day()
  watch.stop()
  assert.ok(given instanceof Date && day instanceof Day && day instanceof Date)
  assert.is(given.toISOString(), '1970-01-01T00:00:00.000Z')
  assert.is(watch.uses.length, 1)
})

test('to the watched the clocks are ahead, however they ask, and to nobody afterwards', () => {
  const DAY_MS = 86_400_000
  const before = Date.now()
  const performanceBefore = performance.now()
  const watch = watchAmbient(DAY_MS)
  const seen = [Date.now(), new Date().getTime(), performance.now() - performanceBefore + before]
  watch.stop()
  for (const time of seen)
    assert.ok(time >= before + DAY_MS && time < before + 2 * DAY_MS, `${time}, not a day after ${before}`)
  assert.ok(Date.now() < before + DAY_MS)
})

test('watches overlap: each sees what was asked while it lasted, and the last one puts everything back', () => {
  const originals = [Date, Date.now, Math.random, process.hrtime, process.hrtime.bigint]
  const first = watchAmbient(0)
  const second = watchAmbient(0)
  Math.random()
  first.stop()
  Math.random()
  second.stop()
  second.stop()
  assert.is(first.uses.length, 1)
  assert.is(second.uses.length, 2)
  assert.equal(
    [Date, Date.now, Math.random, process.hrtime, process.hrtime.bigint].map((now, n) => now === originals[n]),
    [true, true, true, true, true],
  )
  assert.equal([Object.keys(performance).includes('now'), Object.hasOwn(crypto, 'randomUUID')], [false, false])
})

test('no more than sixteen uses are kept', () => {
  const watch = watchAmbient(0)
  for (let n = 0; n < 100; n += 1) Math.random()
  watch.stop()
  assert.is(watch.uses.length, 16)
})

test.run()

/** When a snapshot is due, and what stays behind it, by numbers alone. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SnapshotSchedule } from '#balsa/snapshot/snapshot-schedule.js'
import type { SnapshotPolicy } from '#balsa/snapshot/snapshot-schedule.js'
import { logIndex } from '#balsa/types.js'

const POLICY: SnapshotPolicy = { entries: 100, bytes: 1e9, intervalMs: 1e9, trailingEntries: 10, trailingBytes: 1e9 }

/** Of a server that begins so, at 0 ms. */
function beginning(
  appliedIndex: number,
  snapshotIndex: number,
  policy: Partial<SnapshotPolicy> = {},
): SnapshotSchedule {
  const indexes = { appliedIndex: logIndex(appliedIndex), snapshotIndex: logIndex(snapshotIndex) }
  return new SnapshotSchedule({ ...POLICY, ...policy }, indexes, 0, 0)
}

test('H2-13 nothing is due while a server has less than the log stands on, however far apart they are, or however late it is', () => {
  for (const snapshotIndex of [1, 101, 2 ** 40]) {
    const schedule = beginning(0, snapshotIndex, { intervalMs: 1000 })
    assert.equal([schedule.isDue(0), schedule.isDue(1e6), schedule.nextAt], [false, false, Infinity], 'nothing at all')
    schedule.applied(logIndex(snapshotIndex - 1), 1e12)
    assert.equal([schedule.isDue(0), schedule.isDue(1e6), schedule.nextAt], [false, false, Infinity])
    schedule.applied(logIndex(snapshotIndex), 1)
    assert.equal([schedule.isDue(1e6), schedule.nextAt], [false, Infinity], 'all that it covers, and no more')
    schedule.applied(logIndex(snapshotIndex + 1), 1)
    assert.is(schedule.nextAt, 1000)
  }
})

test('H2-13 entries are counted from the snapshot, whether they were applied before this start or since', () => {
  const schedule = beginning(1090, 1000)
  assert.is(schedule.isDue(0), false)
  schedule.applied(logIndex(1099), 0)
  assert.is(schedule.isDue(0), false)
  schedule.applied(logIndex(1100), 0)
  assert.is(schedule.isDue(0), true)
  // One of a peer that says more replaces all of that.
  schedule.restored(logIndex(5000), 0, 0)
  assert.equal([schedule.isDue(0), schedule.nextAt], [false, Infinity])
  schedule.applied(logIndex(5099), 0)
  assert.is(schedule.isDue(0), false)
  schedule.applied(logIndex(5100), 0)
  assert.is(schedule.isDue(0), true)
})

test('H1-23 what stays begins with the first entry where the log is shorter than what trails, by number and by bytes', () => {
  for (const policy of [{ trailingEntries: 2 ** 40 }, { trailingEntries: 100 }]) {
    const schedule = beginning(0, 0, policy)
    for (const index of [1, 50, 99, 100]) {
      schedule.applied(logIndex(index), 1000)
      assert.is(schedule.firstKept(logIndex(index)), 1)
    }
  }
  const weighed = beginning(0, 0, { trailingEntries: 2 ** 40, trailingBytes: 16_000 })
  for (let index = 1; index <= 15; index += 1) {
    weighed.applied(logIndex(index), 1000)
    assert.is(weighed.firstKept(logIndex(index)), 1, 'all together are lighter')
  }
  const one = beginning(0, 0, { trailingEntries: 1 })
  one.applied(logIndex(7), 0)
  assert.is(one.firstKept(logIndex(7)), 7)
})

test.run()

/**
 * Damage to the file of a file store: a batch that was cut off is dropped, everything else is refused by name, or found
 * on reading.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import type { RaftError } from '#balsa/errors.js'
import { BATCH_HEADER_BYTES, encodeBatch, SEGMENT_HEADER_BYTES, STORE_HEADER_BYTES } from '#balsa/format/file-batch.js'
import { OperationPacker } from '#balsa/format/operations.js'
import { FileLogStore } from '#balsa/storage/file/file-log-store.js'
import { replayStore } from '#balsa/storage/file/replay.js'
import { logIndex } from '#balsa/types.js'
import type { StoreOperation } from '#balsa/types.js'

import { append, blockOf, entriesOf } from '#balsa/testing/conformance/blocks.js'
import { refusal } from '../support/failure.js'
import { DIR, HEADER, heldBy, LOG, submitAll, withFile } from './file-harness.js'
import type { Tickets } from './file-harness.js'
import { laterConfiguration } from './later-configuration.js'
import { ModelDisk } from './model-disk.js'

const test = suite('file store: damage')

const tickets: Tickets = [
  [append(blockOf(1, 1, [5, 9]))],
  [append(blockOf(3, 1, [30])), { type: 'put', key: 'k', value: new Uint8Array(20).fill(7) }],
  [append(blockOf(4, 2, [1, 2, 3])), { type: 'truncateSuffix', from: logIndex(6) }],
]

test('D3 a last batch that was cut at any byte is dropped, and the next write takes its place', async () => {
  const { disk, starts } = await written(tickets)
  const bytes = disk.bytesOf(LOG)
  const before = await heldAfter(tickets.slice(0, -1))
  const whole = await heldAfter(tickets)
  for (let length = starts.last; length <= bytes.length; length += 1) {
    const cut = disk.copy()
    cut.place(LOG, bytes.subarray(0, length))
    const expected = length === bytes.length ? whole : before
    assert.is(await withFile(cut, heldBy), expected, `cut at ${length} of ${bytes.length}`)
    // The marks of the open and of the close stand where the rest of the batch was.
    const end = length === bytes.length ? length : starts.last
    assert.is(cut.bytesOf(LOG).length, end + (BATCH_HEADER_BYTES + 8) + BATCH_HEADER_BYTES)
    if (length === bytes.length) continue
    await withFile(cut, (store, _, waker) => submitAll(store, tickets.slice(-1), waker))
    assert.is(await withFile(cut, heldBy), whole, `written again behind the cut at ${length}`)
  }
})

test('a flipped bit in the last batch of a process that died drops that batch, and no other', async () => {
  const { disk, starts } = await written(tickets)
  const before = await heldAfter(tickets.slice(0, -1))
  for (const damaged of flips(disk, starts.last, disk.bytesOf(LOG).length)) {
    assert.is(await withFile(damaged.disk, heldBy), before, `byte ${damaged.at}`)
  }
})

test('D4 a flipped bit in any earlier batch, or in the header of the segment, refuses the store and leaves the file as it is', async () => {
  const { disk, starts } = await written(tickets)
  for (const damaged of flips(disk, 0, starts.last)) {
    const bytes = damaged.disk.bytesOf(LOG)
    const error = await refusal(
      withFile(damaged.disk, async () => {}),
      'ERR_RAFT_STORE_CORRUPT',
    )
    assert.ok(placeIn(error, LOG) <= damaged.at, `byte ${damaged.at}: ${error.message}`)
    assert.equal(damaged.disk.bytesOf(LOG), bytes)
  }
})

test('after an orderly close a flipped bit in the last tickets is not mistaken for a batch that was cut off', async () => {
  const { disk, starts } = await written(tickets)
  const end = disk.bytesOf(LOG).length
  const closed = await written(tickets, true)
  for (const damaged of flips(closed.disk, starts.last, end)) {
    await refusal(
      withFile(damaged.disk, async () => {}),
      'ERR_RAFT_STORE_CORRUPT',
    )
  }
  const whole = await heldAfter(tickets)
  for (const damaged of flips(closed.disk, end, end + BATCH_HEADER_BYTES)) {
    assert.is(await withFile(damaged.disk, heldBy), whole, `byte ${damaged.at}`)
  }
})

test('a batch that is gone, in another place, of another store, or there twice is refused', async () => {
  const { disk, starts } = await written(tickets)
  const bytes = disk.bytesOf(LOG)
  const other = (await written(tickets)).disk.bytesOf(LOG)
  const [first, second, third] = [starts.tickets[0] ?? 0, starts.tickets[1] ?? 0, starts.last]
  const forged: readonly (readonly [string, Uint8Array])[] = [
    ['gone', Buffer.concat([bytes.subarray(0, first), bytes.subarray(second)])],
    ['zeros', Buffer.concat([bytes.subarray(0, first), new Uint8Array(second - first), bytes.subarray(second)])],
    [
      'of another store',
      Buffer.concat([bytes.subarray(0, first), other.subarray(first, second), bytes.subarray(second)]),
    ],
  ]
  for (const [how, text] of forged) {
    const damaged = disk.copy()
    damaged.place(LOG, text)
    // What was moved by the length of a batch says another place: it is no batch, and the log ends before it.
    if (how === 'gone') assert.is(await withFile(damaged, heldBy), await heldAfter([]))
    else await refusal(withFile(damaged, heldBy), 'ERR_RAFT_STORE_CORRUPT')
  }
  const twice = disk.copy()
  twice.place(LOG, Buffer.concat([bytes, bytes.subarray(third)]))
  assert.is(await withFile(twice, heldBy), await heldAfter(tickets))
})

test('what another store left behind the end of the log is not taken for a batch of this one', async () => {
  const { disk, starts } = await written(tickets)
  const other = (await written([...tickets, [{ type: 'delete', key: 'k' }]])).disk.bytesOf(LOG)
  const bytes = disk.bytesOf(LOG)
  const gap = new Uint8Array(bytes.length - starts.last)
  disk.place(LOG, Buffer.concat([bytes.subarray(0, starts.last), gap, other.subarray(bytes.length)]))
  assert.is(await withFile(disk, heldBy), await heldAfter(tickets.slice(0, -1)))
})

test('an intact batch that breaks the chain or the rules of the log is refused, with its byte and index', async () => {
  const { disk } = await written(tickets)
  const bytes = disk.bytesOf(LOG)
  const { identity, end } = await replayStore(disk, DIR)
  const pack = (...operations: readonly StoreOperation[]): Uint8Array => new OperationPacker().pack(operations).slice()
  const fine = pack({ type: 'delete', key: 'k' })
  const forged = [
    encodeBatch(identity, { ...end, sequence: end.sequence + 1 }, 'tickets', [fine]),
    encodeBatch(identity, { ...end, previous: end.previous ^ 1 }, 'tickets', [fine]),
    encodeBatch(identity, end, 'tickets', [pack(append(blockOf(9, 2, [1])))]),
    encodeBatch(identity, end, 'tickets', [pack(append(blockOf(6, 1, [1])))]),
    encodeBatch(identity, end, 'tickets', [pack({ type: 'truncateSuffix', from: logIndex(6) })]),
    encodeBatch(identity, end, 'tickets', [new Uint8Array(24).fill(9)]),
    encodeBatch(identity, end, 'open', [new Uint8Array(8)]),
    encodeBatch(identity, end, 'close', [new Uint8Array(8)]),
  ]
  for (const [n, { bytes: batch }] of forged.entries()) {
    const damaged = disk.copy()
    damaged.place(LOG, Buffer.concat([bytes, batch]))
    const error = await refusal(
      withFile(damaged, async () => {}),
      'ERR_RAFT_STORE_CORRUPT',
    )
    assert.is(placeIn(error, LOG), end.position, `forged ${n}`)
    assert.match(error.message, 'index 6')
  }
})

test('a configuration of a later version is no damage: the refusal names the version and says to upgrade', async () => {
  const { disk } = await written(tickets)
  const { identity, end } = await replayStore(disk, DIR)
  const ticket = new OperationPacker().pack([append(laterConfiguration(6, 2))]).slice()
  const { bytes: batch } = encodeBatch(identity, end, 'tickets', [ticket])
  const bytes = Buffer.concat([disk.bytesOf(LOG), batch])
  disk.place(LOG, bytes)
  const error = await refusal(withFile(disk, heldBy), 'ERR_RAFT_STORE_FORMAT')
  assert.match(
    error.message,
    /index 6: configuration of a later version: its format version is 9, .* reads version 1; upgrade/,
  )
  assert.not.match(error.message, 'Remove')
  assert.ok(bytes.equals(disk.bytesOf(LOG)))
})

test('damage that comes while the store is open is named by the read that meets it, and does not poison', async () => {
  const { disk } = await written(tickets)
  await withFile(disk, async (store, state) => {
    const [block] = await store.read(logIndex(3), logIndex(4), 1000)
    const at = Buffer.from(disk.bytesOf(LOG)).indexOf(block?.data ?? new Uint8Array(1))
    const file = await disk.openFile(LOG)
    await file?.write(Uint8Array.of(0xee), at + 60)
    const error = await refusal(store.read(logIndex(1), logIndex(state.lastIndex + 1), 1000), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `byte ${at}, index 3`)
    assert.is(entriesOf(await store.read(logIndex(4), logIndex(6), 1000)).length, 2)
    assert.is(store.poll().fault, null)
  })
})

test('FORMAT with a header or a first segment that is missing, damaged or cut is damage, never a new store', async () => {
  const { disk } = await written(tickets)
  for (const [path, shortest] of [
    [HEADER, STORE_HEADER_BYTES],
    [LOG, SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES],
  ] as const) {
    const bytes = disk.bytesOf(path)
    for (let length = 0; length < shortest; length += 1) {
      disk.place(path, bytes.subarray(0, length))
      await refusal(withFile(disk, heldBy), 'ERR_RAFT_STORE_CORRUPT')
      const flipped = bytes.slice()
      flipped[length] = (flipped[length] ?? 0) ^ 4
      disk.place(path, flipped)
      await refusal(withFile(disk, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    }
    await disk.remove(path)
    const error = await refusal(withFile(disk, heldBy), 'ERR_RAFT_STORE_CORRUPT')
    assert.match(error.message, `${path} is missing`)
    disk.place(path, bytes)
  }
  assert.is(await withFile(disk, heldBy), await heldAfter(tickets))
})

/** A store of one batch per ticket whose process died, or that was closed; and where its batches begin. */
async function written(
  each: Tickets,
  isClosed = false,
): Promise<{ disk: ModelDisk; starts: { last: number; tickets: readonly number[] } }> {
  const disk = new ModelDisk()
  const starts: number[] = []
  const store = new FileLogStore(DIR, disk)
  let onWake: () => void = () => {}
  await store.open(() => onWake())
  for (const ticket of each) {
    starts.push(disk.bytesOf(LOG).length)
    const woken = new Promise<void>((resolve) => (onWake = resolve))
    store.submit(ticket)
    await woken
  }
  if (isClosed) await store.close()
  else disk.killProcess()
  return { disk, starts: { last: starts.at(-1) ?? 0, tickets: starts } }
}

async function heldAfter(each: Tickets): Promise<string> {
  const { disk } = await written(each, true)
  return withFile(disk, heldBy)
}

/** The disk with one bit flipped, for each byte in from .. to - 1. */
function* flips(disk: ModelDisk, from: number, to: number): Iterable<{ disk: ModelDisk; at: number }> {
  const bytes = disk.bytesOf(LOG)
  for (let at = from; at < to; at += 1) {
    const damaged = disk.copy()
    const flipped = bytes.slice()
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
    damaged.place(LOG, flipped)
    yield { disk: damaged, at }
  }
}

/** The byte that the error names. */
function placeIn(error: RaftError, path: string): number {
  const found = new RegExp(`^${path} is damaged at byte (\\d+), index \\d+: `).exec(error.message)
  assert.ok(found !== null, error.message)
  return Number(found[1])
}

test.run()

/** A snapshot on its way from one store to another, over a channel that the test plays. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SnapshotStore, StoredSnapshot } from '#balsa/snapshot/snapshot-store.js'
import { memorySnapshotStore } from '#balsa/snapshot/memory-snapshot-store.js'
import {
  decodeTransfer,
  encodeTransfer,
  PIECE_BYTES,
  PIECE_HEAD_BYTES,
  WINDOW_BYTES,
} from '#balsa/snapshot/transfer/messages.js'
import type { TransferMessage } from '#balsa/snapshot/transfer/messages.js'
import { SnapshotReceiving } from '#balsa/snapshot/transfer/receiving.js'
import { SnapshotSending } from '#balsa/snapshot/transfer/sending.js'
import type { SnapshotHeader } from '#balsa/types.js'
import { ManualClock } from '../transport/manual-clock.js'
import { snapshotAt } from '../support/messages.js'

const MIB = 1024 * 1024

const headerAt = (index: number): SnapshotHeader => ({
  ...snapshotAt(index, 2),
  clusterId: 'c'.repeat(32),
  incarnation: 'd'.repeat(32),
})

/** Data that repeats nowhere. */
function data(bytes: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4))
  for (let at = 0; at < words.length; at += 1) words[at] = Math.imul(at + 1, 0x9e3779b1)
  return new Uint8Array(words.buffer, 0, bytes)
}

async function holds(store: SnapshotStore, bytes: number): Promise<void> {
  const parts: Uint8Array[] = []
  for await (const piece of store.read(headerAt(7).id)) parts.push(piece)
  assert.ok(Buffer.concat(parts).equals(data(bytes)), 'the data is what was sent')
}

type Meddle = (frame: Uint8Array) => Uint8Array | null

/** The two ends, and what lies between them. */
class Way {
  readonly clock = new ManualClock()
  readonly from = memorySnapshotStore().create('/from')
  readonly to = memorySnapshotStore().create('/to')
  sending: SnapshotSending | null = null
  receiving: SnapshotReceiving | null = null
  outcome: string | null | undefined = undefined
  received: StoredSnapshot | null = null
  failure: string | null = null
  /** Bytes that were sent and not yet taken from the way, and the most that there were. */
  underWay = 0
  most = 0
  /** That were taken. */
  pieces = 0
  /** Changes what the sender sends; null loses it, which no channel does. */
  meddle: Meddle = (frame) => frame
  #toReceiver: Uint8Array[] = []
  #toSender: Uint8Array[] = []

  static async with(bytes: number): Promise<Way> {
    const way = new Way()
    await Promise.all([way.from.open(), way.to.open()])
    const sink = await way.from.create(headerAt(7))
    await sink.write(data(bytes))
    way.begin(await sink.finish())
    return way
  }

  begin(snapshot: StoredSnapshot, bytesPerSecond: number | null = null): void {
    this.outcome = undefined
    this.sending = new SnapshotSending({
      ...{ store: this.from, snapshot, term: 3, bytesPerSecond, clock: this.clock },
      ended: (failure) => (this.outcome = failure),
    })
    this.sending.begin({
      send: (frame) => {
        const changed = this.meddle(frame)
        if (changed === null) return
        this.#toReceiver.push(changed)
        this.underWay += changed.length
        this.most = Math.max(this.most, this.underWay)
      },
      close: (reason) => this.receiving?.closed(reason),
    })
  }

  say(message: TransferMessage): void {
    this.#toReceiver.push(encodeTransfer(message))
  }

  cut(): void {
    this.#toReceiver = []
    this.#toSender = []
    this.underWay = 0
    this.sending?.onClosed('the channel broke')
    this.receiving?.closed('the channel broke')
    this.receiving = null
  }

  /** Lets everything go on until it is so; time passes only when told. */
  async until(isSo: () => boolean, stepMs = 0): Promise<void> {
    for (let step = 0; step < 20_000; step += 1) {
      if (isSo()) return
      const frame = this.#toReceiver.shift()
      if (frame !== undefined) this.#take(frame)
      const word = this.#toSender.shift()
      if (word !== undefined) this.sending?.onFrame(word)
      if (stepMs > 0) this.clock.advance(stepMs)
      await new Promise((next) => setImmediate(next))
    }
    throw new Error(`never so: ${String(this.outcome)}, ${String(this.failure)}, written ${this.sending?.written}`)
  }

  #take(frame: Uint8Array): void {
    this.underWay -= frame.length
    const message = decodeTransfer(frame)
    assert.ok(message !== null && typeof message !== 'string')
    if (message.type === 'offer') {
      const { header, bytes } = message
      const wire = { send: (word: Uint8Array) => void this.#toSender.push(word), close: () => {} }
      this.receiving = new SnapshotReceiving({
        ...{ store: this.to, header, bytes, wire, clock: this.clock },
        received: (stored) => (this.received = stored),
        failed: (reason) => (this.failure = reason),
      })
      void this.receiving.begin()
    } else if (message.type === 'damaged') this.receiving?.damaged()
    else if (message.type === 'piece') {
      this.pieces += 1
      this.receiving?.piece(message.offset, message.data)
    }
  }
}

const snapshotOf = ({ sending }: Way): StoredSnapshot => {
  assert.ok(sending !== null)
  return sending.snapshot
}

const flippedAt = (frame: Uint8Array, bit: number): Uint8Array => {
  const changed = frame.slice()
  changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
  return changed
}

const flipped = (frame: Uint8Array): Uint8Array => flippedAt(frame, 8 * 5000)

test('what is sent is what was there, and no more than a window is ever under way', async () => {
  const way = await Way.with(5 * MIB + 77)
  await way.until(() => way.received !== null)
  assert.is(way.outcome, undefined, 'it is over when the state machine has it')
  way.receiving?.done()
  await way.until(() => way.outcome !== undefined)
  assert.is(way.outcome, null)
  await holds(way.to, 5 * MIB + 77)
  assert.ok(way.most <= WINDOW_BYTES + PIECE_BYTES, `${way.most} bytes were under way`)
  assert.ok(way.most > WINDOW_BYTES / 2, 'and it is used')
})

test('a snapshot without data, and one of a single byte', async () => {
  for (const bytes of [0, 1]) {
    const way = await Way.with(bytes)
    await way.until(() => way.received !== null)
    await holds(way.to, bytes)
  }
})

test('N4 what came before a channel broke is not sent again', async () => {
  const way = await Way.with(4 * MIB)
  await way.until(() => (way.sending?.written ?? 0) >= 2 * MIB)
  const snapshot = snapshotOf(way)
  way.cut()
  assert.is(way.outcome, 'the channel broke')
  await way.until(() => way.failure !== null)
  way.pieces = 0
  way.begin(snapshot)
  await way.until(() => way.received !== null)
  assert.ok(way.pieces * PIECE_BYTES <= 2 * MIB + 2 * PIECE_BYTES, `${way.pieces} pieces were sent`)
  await holds(way.to, 4 * MIB)
})

test('a damaged piece is asked for again, and the rest is as it was', async () => {
  const way = await Way.with(3 * MIB)
  let count = 0
  way.meddle = (frame) => {
    if (frame.length < PIECE_BYTES) return frame
    count += 1
    return count === 9 || count === 17 ? flipped(frame) : frame
  }
  await way.until(() => way.received !== null)
  assert.ok(count > 25, 'some was sent twice')
  await holds(way.to, 3 * MIB)
})

test('a piece whose head is damaged is asked for again at once, whichever bit of it flips', async () => {
  for (let bit = 0; bit < 8 * PIECE_HEAD_BYTES; bit += 1) {
    const way = await Way.with(MIB)
    let flips = 0
    way.meddle = (frame) => {
      const message = decodeTransfer(frame)
      const isPiece = message !== null && typeof message !== 'string' && message.type === 'piece'
      // Also when it is sent again: what comes then must not pass for what was on its way before.
      if (!isPiece || message.offset !== 2 * PIECE_BYTES || flips === 2) return frame
      flips += 1
      return flippedAt(frame, bit)
    }
    await way.until(() => way.received !== null)
    assert.equal([flips, way.failure], [2, null])
    await holds(way.to, MIB)
  }
})

test('what comes damaged before anything is wanted, or without end, is refused', async () => {
  const way = await Way.with(MIB)
  await way.until(() => way.receiving !== null)
  for (let count = 0; count < 2000; count += 1) way.receiving?.damaged()
  await way.until(() => way.failure !== null || way.received !== null)
  assert.match(String(way.failure), /^it came damaged/)
  const late = await Way.with(2 * MIB)
  await late.until(() => late.pieces === 3)
  late.meddle = (frame) => (frame.length < PIECE_BYTES ? frame : flippedAt(frame, 70))
  await late.until(() => late.outcome !== undefined)
  assert.match(String(late.outcome), /it came damaged 9 times/)
})

test('N15 what is always damaged is refused on both sides, with the reason', async () => {
  const way = await Way.with(2 * MIB)
  way.meddle = (frame) => (frame.length < PIECE_BYTES ? frame : flipped(frame))
  await way.until(() => way.outcome !== undefined)
  assert.match(String(way.outcome), /it came damaged 9 times/)
  assert.match(String(way.failure), /it came damaged 9 times/)
  assert.is(way.received, null)
})

test('N5 bytes that belong elsewhere, or were not asked for, end it', async () => {
  for (const offset of [9 * MIB, 0]) {
    const way = await Way.with(2 * MIB)
    await way.until(() => way.pieces === 3)
    way.meddle = () => null
    way.say({ type: 'piece', offset, data: new Uint8Array(10) })
    await way.until(() => way.failure !== null)
    assert.match(String(way.failure), /a piece from byte \d+ came where \d+ belongs/, `from ${offset}`)
  }
  const way = await Way.with(2 * MIB)
  await way.until(() => way.receiving !== null && way.pieces === 1)
  way.meddle = () => null
  for (let count = 1; count < 12; count += 1) {
    way.receiving?.piece(count * PIECE_BYTES, new Uint8Array(PIECE_BYTES))
  }
  assert.match(String(way.failure), /more came than was asked for/)

  const crumbs = await Way.with(2 * MIB)
  await crumbs.until(() => crumbs.receiving !== null && crumbs.pieces === 1)
  crumbs.meddle = () => null
  let sent = 0
  while (crumbs.failure === null && sent < 2000) crumbs.receiving?.piece(PIECE_BYTES + sent++, new Uint8Array(1))
  assert.match(String(crumbs.failure), /more came than was asked for/)
  assert.ok(sent > 1000, `${sent} bytes, one by one`)
})

test('either side gives up the other when it falls silent, and a receiver that restores is not silent', async () => {
  const restoring = await Way.with(MIB)
  await restoring.until(() => restoring.received !== null)
  await restoring.until(() => restoring.clock.now() > 60_000, 100)
  assert.is(restoring.outcome, undefined)
  restoring.receiving?.done()
  await restoring.until(() => restoring.outcome === null)

  const mute = await Way.with(MIB)
  await mute.until(() => mute.receiving !== null)
  mute.meddle = () => null
  await mute.until(() => mute.failure !== null, 100)
  assert.match(String(mute.failure), /nothing has come for 15000 ms/)

  const deaf = await Way.with(MIB)
  const snapshot = snapshotOf(deaf)
  deaf.cut()
  deaf.meddle = () => null
  deaf.begin(snapshot)
  await deaf.until(() => deaf.outcome !== undefined, 100)
  assert.match(String(deaf.outcome), /the peer has said nothing for 15000 ms/)
})

test('a rate is kept', async () => {
  const way = await Way.with(2 * MIB)
  const snapshot = snapshotOf(way)
  way.cut()
  way.begin(snapshot, MIB / 2)
  const begunAt = way.clock.now()
  await way.until(() => way.received !== null, 10)
  const seconds = (way.clock.now() - begunAt) / 1000
  assert.ok(seconds > 3.4 && seconds < 5.5, `2 MiB at half a MiB a second took ${seconds} s`)
})

test('what makes no sense is no message, and never an error', () => {
  const messages: readonly TransferMessage[] = [
    { type: 'offer', term: 3, bytes: 99, header: headerAt(7) },
    { type: 'want', offset: 5, again: true },
    { type: 'piece', offset: 5, data: new Uint8Array([1, 2]) },
    { type: 'done' },
    { type: 'refused', reason: 'no' },
  ]
  for (const message of messages) {
    const bytes = encodeTransfer(message)
    assert.equal(decodeTransfer(bytes), message)
    for (let length = 0; length < bytes.length; length += 1) decodeTransfer(bytes.subarray(0, length))
    for (let at = 0; at < bytes.length; at += 1) {
      const changed = bytes.slice()
      changed[at] = (changed[at] ?? 0) ^ 0xff
      const isOfData = message.type === 'piece' && at >= PIECE_HEAD_BYTES
      const read = decodeTransfer(changed)
      const isDamaged = read !== null && typeof read !== 'string' && read.type === 'damaged'
      assert.is(isDamaged, !isOfData, `${message.type}, byte ${at}`)
    }
  }
  assert.is(decodeTransfer(new Uint8Array(0)), null)
})

test.run()

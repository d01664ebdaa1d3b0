/** What a peer says on a channel on which it offers a snapshot: whatever it is, the next one comes whole. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { crc32c } from '#balsa/format/crc32c.js'
import { SnapshotTransfers } from '#balsa/server/snapshot-transfers.js'
import { Mailbox } from '#balsa/server/turn/mailbox.js'
import { memorySnapshotStore } from '#balsa/snapshot/memory-snapshot-store.js'
import type { StoredSnapshot } from '#balsa/snapshot/snapshot-store.js'
import { decodeTransfer, encodeTransfer } from '#balsa/snapshot/transfer/messages.js'
import { bytes } from '#balsa/testing/conformance/blocks.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import { cut, headerOf, joined, snapshotBytes } from '#balsa/testing/conformance/snapshots.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import type { Channel, ChannelHandlers } from '#balsa/transport/channel.js'
import { logIndex } from '#balsa/types.js'
import { ManualClock } from '../transport/manual-clock.js'
import { StageTransport } from '../support/lone-server.js'

const HEADER = headerOf(1, 10, 1)
const DATA = [bytes(60_000, 1), bytes(20_000, 2)]
const FILE = snapshotBytes(HEADER, DATA)
/** Of the frame of an offer, before the header. */
const OFFER_HEAD_BYTES = 24
/** Of the header, before the configuration. */
const CONFIGURATION_AT = 104

const offer = (header = HEADER, term = 1): Uint8Array =>
  encodeTransfer({ type: 'offer', term, bytes: FILE.length, header })

/** One channel, as the peer sees it. */
class Offering {
  readonly answers: ReturnType<typeof decodeTransfer>[] = []
  readonly closed: string[] = []
  readonly #handlers: ChannelHandlers | null

  constructor(transfers: SnapshotTransfers, from: string) {
    const channel: Channel = {
      queuedBytes: 0,
      send: (frame) => void this.answers.push(decodeTransfer(frame)),
      close: (reason) => void this.closed.push(reason),
    }
    this.#handlers = transfers.onChannel(from, channel)
  }

  say(frame: Uint8Array): void {
    this.#handlers?.onFrame(frame)
  }

  leave(): void {
    this.#handlers?.onClosed('the peer has gone')
  }

  get last(): ReturnType<typeof decodeTransfer> {
    return this.answers.at(-1) ?? null
  }
}

/** s2, whose log is one entry of term 1, which is committed, and its store. */
class Receiver {
  readonly clock = new ManualClock()
  readonly store = memorySnapshotStore().create('/s2')
  readonly received: StoredSnapshot[] = []
  readonly warnings: string[] = []
  readonly transfers: SnapshotTransfers

  constructor() {
    const log = (): void => {}
    this.transfers = new SnapshotTransfers({
      identity: introductionOf('s2', { clusterId: HEADER.clusterId }),
      core: new Stage({ madeUp: true, hardStates: { s2: { commitIndex: logIndex(1) } } }).core('s2'),
      store: this.store,
      transport: new StageTransport(),
      mailbox: new Mailbox(this.clock),
      clock: this.clock,
      logger: { debug: log, info: log, error: log, warn: (text) => void this.warnings.push(text) },
      bytesPerSecond: null,
      canRestore: true,
    })
    this.transfers.serve({
      find: () => null,
      received: (stored) => void this.received.push(stored),
      interrupted: () => {},
      released: () => {},
    })
  }

  static async open(): Promise<Receiver> {
    const receiver = new Receiver()
    await receiver.store.open()
    return receiver
  }

  from(peer: string): Offering {
    return new Offering(this.transfers, peer)
  }

  async until(isSo: () => boolean): Promise<void> {
    for (let step = 0; step < 1000; step += 1) {
      if (isSo()) return
      await new Promise((next) => setImmediate(next))
    }
    throw new Error('never so')
  }

  /** One is offered, sent and taken, and holds what was sent. */
  async takesWhole(peer: string): Promise<void> {
    const before = this.received.length
    const offering = this.from(peer)
    offering.say(offer())
    await this.until(() => offering.answers.length > 0)
    const { last } = offering
    assert.ok(last !== null && typeof last !== 'string' && last.type === 'want', JSON.stringify(last))
    let at = last.offset
    for (const data of cut(FILE.subarray(at), [9000])) {
      offering.say(encodeTransfer({ type: 'piece', offset: at, data }))
      at += data.length
    }
    await this.until(() => this.received.length > before)
    const read: Uint8Array[] = []
    for await (const piece of this.store.read(HEADER.id)) read.push(piece)
    assert.ok(Buffer.from(joined(read)).equals(joined(DATA)))
    assert.equal(offering.closed, [])
    offering.leave()
    await this.store.remove([HEADER.id])
  }
}

/** The same frame, its checksums made again: not damage, but what was meant. */
function meant(frame: Uint8Array): Uint8Array {
  const header = frame.subarray(OFFER_HEAD_BYTES)
  const end = header.length - 4
  new DataView(header.buffer, header.byteOffset).setUint32(end, crc32c(header, 0, end), true)
  return sealed(frame)
}

function sealed(frame: Uint8Array): Uint8Array {
  const checksum = crc32c(frame, 8, frame.length, crc32c(frame, 0, 4))
  new DataView(frame.buffer, frame.byteOffset).setUint32(4, checksum, true)
  return frame
}

function changed(change: (header: Uint8Array, view: DataView) => void): Uint8Array {
  const frame = offer()
  const header = frame.subarray(OFFER_HEAD_BYTES)
  change(header, new DataView(header.buffer, header.byteOffset))
  return meant(frame)
}

test('H1-10 an offer whose header or configuration cannot be decoded ends its channel with a reason, and nothing else', async () => {
  const receiver = await Receiver.open()
  const bad: readonly (readonly [string, Uint8Array])[] = [
    ['no MessagePack', changed((header) => (header[CONFIGURATION_AT] = 0xc1))],
    ['not an array', changed((header) => (header[CONFIGURATION_AT] = 0x80))],
    ['no servers', changed((header) => header.fill(0xc0, CONFIGURATION_AT + 1, header.length - 4))],
    ['bytes of nothing', changed((header) => header.fill(0, CONFIGURATION_AT, header.length - 4))],
    ['longer than the header', changed((_header, view) => view.setUint32(96, 1e6, true))],
    ['none at all', changed((_header, view) => view.setUint32(96, 0, true))],
    ['of an entry behind it', changed((_header, view) => view.setBigUint64(88, 11n, true))],
    ['a damaged header', sealed(offer().map((byte, at) => (at === OFFER_HEAD_BYTES + 70 ? byte ^ 1 : byte)))],
    ['cut off', sealed(offer().subarray(0, 100))],
  ]
  for (const [name, frame] of bad) {
    const offering = receiver.from('s1')
    offering.say(frame)
    assert.equal(offering.closed, ['it makes no sense'], name)
    assert.is(receiver.transfers.count, 0, name)
    // What had left before the peer heard of it.
    offering.say(encodeTransfer({ type: 'piece', offset: 0, data: FILE.subarray(0, 1000) }))
    offering.leave()
  }
  const damaged = receiver.from('s1')
  damaged.say(offer().map((byte, at) => (at === OFFER_HEAD_BYTES + 70 ? byte ^ 1 : byte)))
  assert.equal(damaged.closed, ['it came damaged'])
  const later = receiver.from('s1')
  later.say(changed((_header, view) => view.setUint32(8, 2, true)))
  assert.match(JSON.stringify(later.answers), /"refused".*its format version is 2/)
  assert.is(later.closed.length, 1)
  await receiver.takesWhole('s1')
})

test('H1-10 no offer is an error of this server, whichever byte of it is another one', async () => {
  const receiver = await Receiver.open()
  const whole = offer()
  for (let at = 0; at < whole.length; at += 1) {
    for (const bits of [0x01, 0x80, 0xff]) {
      const frame = whole.map((byte, place) => (place === at ? byte ^ bits : byte))
      const offering = receiver.from('s1')
      offering.say(at < whole.length - 4 ? meant(frame) : frame)
      offering.leave()
    }
    await new Promise((next) => setImmediate(next))
    assert.is(receiver.transfers.count, 0, `byte ${at}`)
  }
  await receiver.takesWhole('s1')
})

test('H1-9 what still comes of a snapshot that is not taken, or given up, goes nowhere, and the next one comes whole', async () => {
  const receiver = await Receiver.open()
  const piece = (offset: number): Uint8Array =>
    encodeTransfer({ type: 'piece', offset, data: FILE.subarray(offset, offset + 1000) })
  const refusals: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['another cluster', offer({ ...HEADER, clusterId: 'd'.repeat(32) }), /it is of cluster d+/],
    ['a term that is over', offer(HEADER, 0), /term 0 is over, this is term 1/],
    ['of a later term than its sender', offer({ ...headerOf(1, 10, 2) }), /no place that a log comes to/],
  ]
  for (const [name, frame, reason] of refusals) {
    const offering = receiver.from('s1')
    offering.say(frame)
    for (let offset = 0; offset < 5000; offset += 1000) offering.say(piece(offset))
    const [answer] = offering.answers
    assert.ok(answer !== null && typeof answer === 'object' && answer.type === 'refused', name)
    assert.match(answer.reason, reason)
    assert.ok(offering.closed.length > 0, name)
    await receiver.takesWhole('s1')
    assert.is(offering.answers.length, 1, `${name}: nothing of it is wanted`)
  }
  // It has that already.
  const known = receiver.from('s1')
  known.say(offer({ ...HEADER, index: logIndex(1) }))
  assert.equal(known.answers, [{ type: 'done' }])
  known.say(piece(0))
  await receiver.takesWhole('s1')
  // Another leader offers its own in the middle.
  const given = receiver.from('s1')
  given.say(offer())
  await receiver.until(() => given.answers.length > 0)
  given.say(piece(0))
  await receiver.takesWhole('s3')
  assert.match(JSON.stringify(given.answers.at(-1)), /s3 offers another one/)
  for (let offset = 1000; offset < 5000; offset += 1000) given.say(piece(offset))
  await receiver.takesWhole('s1')
})

test('how far a snapshot has come that is received is told until it has ended, by whom it comes from', async () => {
  const receiver = await Receiver.open()
  assert.equal(receiver.transfers.progress, [])
  const offering = receiver.from('s3')
  offering.say(offer())
  await receiver.until(() => offering.answers.length > 0)
  const bytes = FILE.length
  assert.equal(receiver.transfers.progress, [{ peer: 's3', direction: 'received', written: 0, bytes }])
  offering.say(encodeTransfer({ type: 'piece', offset: 0, data: FILE.subarray(0, 9000) }))
  await receiver.until(() => (receiver.transfers.progress[0]?.written ?? 0) > 0)
  assert.equal(receiver.transfers.progress, [{ peer: 's3', direction: 'received', written: 9000, bytes }])
  offering.leave()
  await receiver.until(() => receiver.transfers.count === 0)
  assert.equal(receiver.transfers.progress, [])
})

test.run()

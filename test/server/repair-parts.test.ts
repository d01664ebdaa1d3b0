/** Who gives entries for a damaged block, and who asks for them: each by itself, over channels that the test plays. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from 'balsa-raft'
import type { RaftEvents } from 'balsa-raft'
import { Events } from '#balsa/observe/events.js'
import { Givings } from '#balsa/server/repair/giving.js'
import { decodeRepair, encodeRepair } from '#balsa/server/repair/messages.js'
import type { RepairMessage } from '#balsa/server/repair/messages.js'
import { Repairs } from '#balsa/server/repair/repairs.js'
import type { RepairsParts } from '#balsa/server/repair/repairs.js'
import type { TermsOfLog } from '#balsa/server/repair/wanted.js'
import { verifyBlock } from '#balsa/format/block.js'
import { blockOf } from '#balsa/testing/conformance/blocks.js'
import type { Channel, ChannelHandlers } from '#balsa/transport/channel.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, LogIndex } from '#balsa/types.js'
import { ManualClock } from '../transport/manual-clock.js'

const CLUSTER = 'c1'.repeat(16)
const quiet = { debug() {}, info() {}, warn() {}, error() {} }

/** One end, whose other end is the test. */
class Wire implements Channel {
  readonly queuedBytes = 0
  readonly said: RepairMessage[] = []
  closed: string | null = null

  send(frame: Uint8Array): void {
    const message = decodeRepair(frame)
    assert.ok(message !== null && message.type !== 'damaged')
    this.said.push(message.type === 'part' ? { ...message, data: message.data.slice() } : message)
  }

  close(reason: string): void {
    this.closed ??= reason
  }

  get told(): string {
    const texts = this.said.map((message) => {
      if (message.type === 'part') return `${message.data.length} bytes`
      if (message.type === 'whole') return `whole ${message.bytes}`
      return message.type === 'refused' ? `${message.again ? 'later' : 'no'}: ${message.reason}` : message.type
    })
    return texts.join(', ')
  }
}

class FakeLog implements TermsOfLog {
  firstIndex = logIndex(5)
  durableIndex = logIndex(40)
  termRuns = [
    { first: logIndex(5), term: termOf(2) },
    { first: logIndex(21), term: termOf(4) },
  ]

  termAt(index: LogIndex) {
    return this.termRuns.findLast(({ first }) => first <= index)?.term ?? null
  }

  firstConflict(first: LogIndex, last: LogIndex, term: number): LogIndex | null {
    for (let index = first; index <= last; index = logIndex(index + 1)) if (this.termAt(index) !== term) return index
    return null
  }
}

const lackOf = (first: number, last: number, term = 2, clusterId = CLUSTER): Uint8Array =>
  encodeRepair({
    ...{ type: 'lack', clusterId, first: logIndex(first), last: logIndex(last) },
    runs: [{ first: logIndex(first), term: termOf(term) }],
  })

/** Blocks of three entries each, of term 2, and at most one in a read. */
function readOf(lo: LogIndex, hi: LogIndex): Block[] {
  return [blockOf(lo, 2, Array<number>(Math.min(3, hi - lo)).fill(20_000))]
}

type Read = (lo: LogIndex, hi: LogIndex) => Promise<readonly Block[]>

function giver(read: Read = async (lo, hi) => readOf(lo, hi)) {
  const log = new FakeLog()
  const givings = new Givings({ clusterId: CLUSTER, log, store: { read } as unknown as RepairsParts['store'] })
  const ask = async (frame: Uint8Array): Promise<Wire> => {
    const wire = new Wire()
    givings.onChannel(wire).onFrame(frame)
    for (let turn = 0; turn < 10; turn += 1) await nextTurn()
    return wire
  }
  return { log, givings, ask }
}

const giving = suite('who gives entries for a damaged block')

giving('gives what it has with these terms, a slice after the other, and says how much it was', async () => {
  const { givings, ask } = giver()
  const wire = await ask(lackOf(10, 17))
  const parts = wire.said.flatMap((message) => (message.type === 'part' ? [Buffer.from(message.data)] : []))
  const expected = [
    blockOf(10, 2, [20_000, 20_000, 20_000]),
    blockOf(13, 2, [20_000, 20_000, 20_000]),
    blockOf(16, 2, [20_000, 20_000]),
  ]
  assert.equal(Buffer.concat(parts), Buffer.concat(expected.map(({ data }) => data)))
  assert.match(wire.told, new RegExp(`whole ${Buffer.concat(parts).length}$`))
  assert.is(givings.count, 0)
})

giving('gives nothing that is not durable, kept, of the same terms and of its cluster', async () => {
  const { log, ask } = giver()
  const told = async (frame: Uint8Array): Promise<string> => (await ask(frame)).told
  assert.is(await told(lackOf(4, 9)), 'no: its log begins at 5')
  assert.is(await told(lackOf(35, 41, 4)), 'later: its log ends at 40')
  assert.is(await told(lackOf(10, 12, 3)), 'later: its entry 10 is of term 2, and not of 3')
  assert.is(await told(lackOf(19, 22)), 'later: its entry 21 is of term 4, and not of 2')
  assert.is(await told(lackOf(10, 12, 2, 'ff'.repeat(16))), `no: it is of cluster ${CLUSTER}`)
  log.durableIndex = logIndex(11)
  assert.is(await told(lackOf(10, 12)), 'later: its log ends at 11')
})

giving('says when its own copy is damaged, gone, too long, or cannot be read now', async () => {
  const corrupt = new RaftError('ERR_RAFT_STORE_CORRUPT', 'at index 10')
  const told = async (read: Read): Promise<string> => (await giver(read).ask(lackOf(10, 12))).told
  assert.is(await told(() => Promise.reject(corrupt)), 'no: its own copy is damaged: at index 10')
  assert.is(await told(() => Promise.reject(new RaftError('ERR_RAFT_CLOSED', 'closed'))), 'later: RaftError: closed')
  assert.is(await told(async () => []), 'no: its log does not keep 10 any more')
  const large = await giver(async (lo) => [blockOf(lo, 2, [1_000_000])]).ask(lackOf(10, 20))
  assert.match(large.told, /no: they have more than 4194304 bytes$/)
})

giving('gives to two at once, and to nobody when it closes; who goes away is forgotten', async () => {
  const waiting: (() => void)[] = []
  const { givings, ask } = giver((lo, hi) => new Promise((resolve) => waiting.push(() => resolve(readOf(lo, hi)))))
  const first = await ask(lackOf(10, 12))
  const wire = new Wire()
  const handlers = givings.onChannel(wire)
  handlers.onFrame(lackOf(10, 12))
  assert.is((await ask(lackOf(10, 12))).told, 'later: it gives to others just now')
  handlers.onClosed('gone')
  assert.is(givings.count, 1)
  for (const go of waiting) go()
  await nextTurn()
  assert.is(wire.told, '')
  assert.match(first.told, /whole/)
  givings.close('it closes')
  assert.is((await ask(lackOf(10, 12))).told, 'later: it is closing')
})

giving('ends a channel on which something else is said', async () => {
  const { ask } = giver()
  assert.is((await ask(encodeRepair({ type: 'whole', bytes: 3 }))).closed, 'it makes no sense')
  assert.is((await ask(Uint8Array.of(1, 2, 3))).closed, 'it makes no sense')
})

/** A server with a damaged block of the entries 10 .. 12, among s2, s3 and s4, of which s3 leads. */
class Asker {
  readonly clock = new ManualClock()
  readonly log = new FakeLog()
  readonly heard: RaftEvents['repair'][] = []
  readonly asked: { readonly peer: string; readonly wire: Wire; readonly handlers: ChannelHandlers }[] = []
  readonly put: string[] = []
  readonly connected = new Set(['s2', 's3', 's4'])
  isReplaced = true
  reads = 0
  isDamaged = true
  readonly repairs: Repairs

  constructor() {
    const events = new Events(quiet)
    events.on('repair', (event) => this.heard.push(event))
    const contacts = ['s2', 's3', 's4'].map((id) => ({ id, address: `${id}:1` }))
    const parts = {
      identity: { clusterId: CLUSTER, serverId: 's1' },
      core: { log: this.log, contacts, leader: { id: 's3', address: 's3:1' } },
      store: {
        verify: verifyBlock,
        read: async () => {
          this.reads += 1
          if (this.isDamaged) throw this.error()
          return []
        },
        repair: async (first: number, last: number, blocks: readonly Block[]) => {
          this.put.push(`${first} .. ${last} in ${blocks.length}`)
          return this.isReplaced
        },
      },
      transport: {
        openChannel: async (peer: string, handlers: ChannelHandlers) => {
          const wire = new Wire()
          this.asked.push({ peer, wire, handlers })
          return wire
        },
      },
      isConnected: (peer: string) => this.connected.has(peer),
      ...{ clock: this.clock, events, logger: quiet },
    }
    this.repairs = new Repairs(parts as unknown as RepairsParts)
  }

  error(first = 10, last = 12): RaftError {
    const damaged = { first: logIndex(first), last: logIndex(last) }
    return new RaftError('ERR_RAFT_STORE_CORRUPT', 'data.mdb is damaged.', { damaged })
  }

  /** Begins, and answers with how it ends. */
  async begin(): Promise<() => string> {
    let outcome = 'waits'
    this.repairs.repaired(this.error()).then(
      () => (outcome = 'read again'),
      (error: unknown) => (outcome = String(error)),
    )
    await this.turns()
    return () => outcome
  }

  async turns(): Promise<void> {
    for (let turn = 0; turn < 6; turn += 1) await nextTurn()
  }

  /** Whoever is asked now says that. */
  async answer(...messages: readonly RepairMessage[]): Promise<string> {
    const now = this.asked.at(-1)
    assert.ok(now !== undefined)
    assert.is(now.wire.told, 'lack')
    for (const message of messages) now.handlers.onFrame(encodeRepair(message))
    await this.turns()
    return now.peer
  }

  async ends(reason: string): Promise<void> {
    this.asked.at(-1)?.handlers.onClosed(reason)
    await this.turns()
  }

  async passes(ms: number): Promise<void> {
    this.clock.advance(ms)
    await this.turns()
  }
}

const given = ({ data }: Block): readonly RepairMessage[] => [
  { type: 'part', data: data.subarray(0, 50) },
  { type: 'part', data: data.subarray(50) },
  { type: 'whole', bytes: data.length },
]
const refused = (reason: string, again = false): RepairMessage => ({ type: 'refused', again, reason })
const right = blockOf(10, 2, [40, 40, 40])

const asking = suite<{ asker: Asker }>('who asks for entries of a damaged block')
asking.before.each((context) => {
  context.asker = new Asker()
})
asking.after.each(({ asker }) => asker.repairs.close('the test is over'))

asking('asks the leader first, and puts what it is given in the place of the block', async ({ asker }) => {
  const outcome = await asker.begin()
  assert.is(await asker.answer(...given(right)), 's3')
  assert.is(outcome(), 'read again')
  assert.equal(asker.put, ['10 .. 12 in 1'])
  assert.equal(asker.repairs.status, { count: 1, underWay: 0, failure: null })
  assert.equal(
    asker.heard.map(({ what, from }) => `${what} ${from}`),
    ['begun null', 'repaired s3'],
  )
  assert.is(asker.asked[0]?.wire.closed, 'thanks')
})

asking('asks one after the other, and ends with what each of them said', async ({ asker }) => {
  const outcome = await asker.begin()
  assert.is(await asker.answer(refused('its log begins at 90')), 's3')
  assert.is(await asker.answer(...given(blockOf(10, 3, [40, 40, 40]))), 's2')
  assert.is(await asker.answer(refused('its own copy is damaged')), 's4')
  assert.match(
    outcome(),
    'data.mdb is damaged. Nobody could give the entries 10 .. 12 that were there: s3: its log begins at 90; s2: what it gave is refused: entries 10 .. 12 are of term 3 there',
  )
  assert.equal([asker.put, asker.asked.length], [[], 3])
  assert.match(asker.repairs.status.failure ?? '', 'entries 10 .. 12: s3')
  assert.is(asker.heard.at(-1)?.what, 'failed')
})

asking('puts nothing where the log became another one while they came', async ({ asker }) => {
  const outcome = await asker.begin()
  asker.log.termRuns = [{ first: logIndex(5), term: termOf(9) }]
  await asker.answer(...given(right))
  assert.equal([asker.put, outcome()], [[], 'read again'])
})

asking('asks for nothing that the log has no more', async ({ asker }) => {
  asker.log.firstIndex = logIndex(13)
  assert.is((await asker.begin())(), 'read again')
  assert.is(asker.asked.length, 0)
})

asking(
  'what comes cut short, damaged or not at all is asked for again, of those who may have it',
  async ({ asker }) => {
    const outcome = await asker.begin()
    await asker.answer({ type: 'part', data: right.data.subarray(0, 50) }, { type: 'whole', bytes: right.data.length })
    await asker.answer(refused('its log ends at 3', true))
    await asker.answer(refused('never'))
    assert.is(outcome(), 'waits')
    await asker.passes(200)
    assert.is(asker.reads, 1)
    asker.asked.at(-1)?.handlers.onFrame(Uint8Array.from({ length: 40 }))
    await asker.turns()
    assert.is(asker.asked.at(-1)?.peer, 's2')
    assert.is(await asker.answer(...given(right)), 's2')
    assert.is(outcome(), 'read again')
    assert.equal(
      asker.asked.map(({ peer }) => peer),
      ['s3', 's2', 's4', 's3', 's2'],
    )
  },
)

asking(
  'who ends three channels without a word has refused, and who is silent is left after ten seconds',
  async ({ asker }) => {
    asker.connected.delete('s2')
    asker.connected.delete('s4')
    const outcome = await asker.begin()
    await asker.ends('it makes no sense')
    await asker.passes(200)
    await asker.ends('it makes no sense')
    await asker.passes(400)
    await asker.passes(10_000)
    assert.is(asker.asked.length, 3)
    assert.is(outcome(), 'waits')
    await asker.passes(800)
    assert.is(asker.asked.length, 3, 's3 is not asked any more')
    asker.connected.add('s4')
    await asker.passes(1600)
    assert.is(await asker.answer(...given(right)), 's4')
    assert.is(outcome(), 'read again')
  },
)

asking('is given up after a minute', async ({ asker }) => {
  asker.connected.clear()
  const outcome = await asker.begin()
  for (let second = 0; second < 59; second += 1) await asker.passes(1000)
  assert.is(outcome(), 'waits')
  for (let second = 0; second < 6; second += 1) await asker.passes(1000)
  assert.match(outcome(), 's2: it is not connected')
})

asking('what can be read by now is asked for no more', async ({ asker }) => {
  asker.connected.clear()
  const outcome = await asker.begin()
  asker.isDamaged = false
  await asker.passes(200)
  assert.is(outcome(), 'read again')
})

asking('what the store would not take is read again in a moment, and not before', async ({ asker }) => {
  asker.isReplaced = false
  const outcome = await asker.begin()
  await asker.answer(...given(right))
  assert.is(outcome(), 'waits')
  await asker.passes(200)
  assert.is(outcome(), 'read again')
  assert.is(asker.repairs.status.count, 0)
})

asking('what is found damaged meanwhile does not keep it from being read again', async ({ asker }) => {
  asker.isReplaced = false
  const outcome = await asker.begin()
  await asker.answer(...given(right))
  asker.repairs.noticed(asker.error(20, 22))
  await asker.passes(200)
  assert.is(outcome(), 'read again')
  assert.is(asker.repairs.counts.repairs, 1, 'the other one is next')
})

asking('damage that only a peer needs is asked for four times, and then rests for a while', async ({ asker }) => {
  asker.connected.clear()
  asker.repairs.noticed(asker.error())
  asker.repairs.noticed(asker.error())
  assert.is(asker.repairs.counts.repairs, 1)
  for (const ms of [200, 400, 800]) await asker.passes(ms)
  assert.is(asker.repairs.counts.repairs, 0)
  asker.repairs.noticed(asker.error())
  assert.is(asker.repairs.counts.repairs, 0, 'it rests')
  await asker.passes(10_000)
  asker.repairs.noticed(asker.error())
  assert.is(asker.repairs.counts.repairs, 1)
  asker.repairs.noticed(new RaftError('ERR_RAFT_STORE_CORRUPT', 'of what is not known'))
  assert.is(asker.repairs.counts.repairs, 1)
})

asking('a close ends the question, and nothing is put any more', async ({ asker }) => {
  const outcome = await asker.begin()
  asker.repairs.close('it closes')
  assert.is(asker.asked[0]?.wire.closed, 'it closes')
  await asker.answer(...given(right))
  assert.equal([asker.put, outcome(), asker.repairs.counts.repairs], [[], 'waits', 0])
})

giving.run()
asking.run()

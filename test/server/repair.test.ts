/**
 * A damaged block of the log, and the others of the cluster: what one of them still has is put in its place while the
 * server runs; what nobody has is named, and nothing is truncated.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Clock, RaftEvents } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { decodeRepair, encodeRepair, isRepair } from '#balsa/server/repair/messages.js'
import type { RepairMessage } from '#balsa/server/repair/messages.js'
import { blocksOf, isSame, wantedOf } from '#balsa/server/repair/wanted.js'
import type { TermsOfLog } from '#balsa/server/repair/wanted.js'
import { verifyBlock } from '#balsa/format/block.js'
import { decodeTransfer } from '#balsa/snapshot/transfer/messages.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { logIndex, termOf } from '#balsa/types.js'
import { blockOf } from '#balsa/testing/conformance/blocks.js'
import { TestCluster } from '../support/raft-cluster.js'
import { until } from '../support/until.js'

const IDS = ['s1', 's2', 's3']
const COMMANDS = 20
/** Behind the entries of the cluster's first leader. */
const DAMAGED = logIndex(8)

/** A minute of it is some seconds. */
function quick(): Clock {
  const clock = systemClock()
  return { ...clock, now: () => clock.now() * 10, setTimer: (ms, callback) => clock.setTimer(ms / 10, callback) }
}

class Site {
  readonly storage = memoryStore()
  readonly cluster: TestCluster
  readonly heard: RaftEvents['repair'][] = []
  readonly #ids: readonly string[]

  constructor(hasChannels = true, ids = IDS) {
    this.#ids = ids
    const clock = quick()
    const network = new MemoryNetwork({ clock })
    this.cluster = new TestCluster({
      sites: ids.map((id) => ({ id, dir: id, address: `${id}:1` })),
      storage: this.storage,
      transportOf: ({ address }) => {
        const transport = network.transport(address)
        if (!hasChannels) Object.assign(transport, { openChannel: undefined })
        return transport
      },
      clock,
      extra: { electionTimeoutMs: 3000, heartbeatMs: 200, snapshots: false },
    })
  }

  /** A log of blocks with one entry each, and all servers closed. */
  async fill(): Promise<void> {
    await this.cluster.openAll()
    for (let add = 1; add <= COMMANDS; add += 1) {
      await this.cluster.askLeader((leader) => leader.apply({ add }, { timeoutMs: 200_000 }))
    }
    const total = (COMMANDS * (COMMANDS + 1)) / 2
    for (const id of this.#ids) await until(`${id} has all`, () => this.cluster.machine(id).query().total === total)
    await this.cluster.closeAll()
  }

  disk(id: string) {
    return this.storage.disk(id)
  }

  rot(id: string): void {
    this.disk(id).flipBit(DAMAGED, 8 * 70)
  }

  /** What every disk holds, damage aside. */
  logs(): readonly string[] {
    return IDS.map((id) => {
      const { firstIndex, lastIndex, hardState } = this.disk(id).durable
      return `${firstIndex} .. ${lastIndex} ${this.disk(id).durable.termRuns().length} ${hardState.term}`
    })
  }

  async open(ids = IDS): Promise<void> {
    const opened = await Promise.all(ids.map((id) => this.cluster.open(id)))
    opened[0]?.on('repair', (event) => this.heard.push(event))
  }
}

const test = suite<{ site: Site }>('the repair of a damaged block')

test.before.each(async (context) => {
  context.site = new Site()
  await context.site.fill()
})
test.after.each(({ site }) => site.cluster.closeAll())

test('D4 what the state machine needs is fetched from the others, and everything is applied', async ({ site }) => {
  const { data } = site.disk('s1').durable.blocks.find(({ first }) => first === DAMAGED) ?? {}
  site.rot('s1')
  await site.open()
  await until('s1 has applied all', () => site.cluster.machine('s1').query().count === COMMANDS)
  const { status } = site.cluster.server('s1')
  assert.equal(status.repairs, { count: 1, underWay: 0, failure: null })
  assert.is(status.fault, null)
  assert.equal(site.disk('s1').durable.blocks.find(({ first }) => first === DAMAGED)?.data, data)
  assert.equal(
    site.heard.map(({ what, first, last }) => `${what} ${first} .. ${last}`),
    ['begun', 'repaired'].map((what) => `${what} ${DAMAGED} .. ${DAMAGED}`),
  )
  assert.ok(['s2', 's3'].includes(site.heard.at(-1)?.from ?? ''))
})

test('what is damaged on all of them halts them by its name, with what they said, and nothing is truncated', async (context) => {
  const { site } = context
  const before = site.logs()
  for (const id of IDS) site.rot(id)
  await site.open()
  for (const id of IDS) await until(`${id} has halted`, () => site.cluster.server(id).status.fault !== null)
  for (const id of IDS) {
    const { fault } = site.cluster.server(id).status
    assert.is(fault?.code, 'ERR_RAFT_STORE_CORRUPT')
    assert.equal(fault?.damaged, { first: DAMAGED, last: DAMAGED })
    assert.match(fault?.message ?? '', `Nobody could give the entries ${DAMAGED} .. ${DAMAGED}`)
    for (const other of IDS) if (other !== id) assert.match(fault?.message ?? '', `${other}: `)
  }
  const faults = IDS.map((id) => site.cluster.server(id).status.fault?.message ?? '')
  assert.ok(faults.some((message) => message.includes('its own copy is damaged')))
  await site.cluster.closeAll()
  const ends = (logs: readonly string[]): readonly string[] => logs.map((log) => log.replace(/\d+ \d+$/, ''))
  for (const [at, log] of ends(site.logs()).entries()) {
    const [, last = 0] = log.split(' .. ').map(Number)
    const [, lastBefore = 0] = (ends(before)[at] ?? '').split(' .. ').map(Number)
    assert.ok(last >= lastBefore, `${log} was ${before[at]}`)
  }
})

test('a server votes and takes entries while it waits for a member that still has what is damaged', async (context) => {
  const { site } = context
  site.rot('s1')
  site.rot('s2')
  await site.open(['s1', 's2'])
  // Neither can apply, and together they elect.
  await until('there is a leader', () => ['s1', 's2'].some((id) => site.cluster.server(id).status.role === 'leader'))
  await until('both look for it', () =>
    ['s1', 's2'].every((id) => site.cluster.server(id).status.repairs.underWay === 1),
  )
  assert.equal(
    ['s1', 's2'].map((id) => site.cluster.server(id).status.fault),
    [null, null],
  )
  await site.cluster.open('s3')
  for (const id of IDS) await until(`${id} has all`, () => site.cluster.machine(id).query().count === COMMANDS)
  assert.is(site.cluster.server('s2').status.repairs.count, 1)
})

test('a server that is alone halts at once', async () => {
  const site = new Site(true, ['s1'])
  await site.fill()
  site.rot('s1')
  await site.cluster.open('s1')
  await until('s1 has halted', () => site.cluster.server('s1').status.fault !== null)
  assert.match(site.cluster.server('s1').status.fault?.message ?? '', 'there is no other member')
  await site.cluster.closeAll()
})

test('without channels, or in a store that repairs nothing, damage halts as it did', async () => {
  const site = new Site(false)
  await site.fill()
  site.rot('s1')
  await site.open()
  await until('s1 has halted', () => site.cluster.server('s1').status.fault !== null)
  assert.not.match(site.cluster.server('s1').status.fault?.message ?? '', 'Nobody could give')
  await site.cluster.closeAll()
})

const log: TermsOfLog = {
  firstIndex: logIndex(5),
  durableIndex: logIndex(40),
  termRuns: [
    { first: logIndex(5), term: termOf(2) },
    { first: logIndex(11), term: termOf(3) },
    { first: logIndex(31), term: termOf(9) },
  ],
  termAt: () => null,
  firstConflict: () => null,
}

test('what is wanted are the entries that are kept and durable, with their terms', () => {
  const runs = (first: number, last: number): string | undefined =>
    wantedOf(log, { first: logIndex(first), last: logIndex(last) })
      ?.runs.map((run) => `${run.first}/${run.term}`)
      .join(' ')
  assert.is(runs(11, 30), '11/3')
  assert.is(runs(10, 31), '10/2 11/3 31/9')
  assert.is(runs(1, 7), '5/2')
  assert.is(runs(1, 4), undefined)
  assert.is(runs(35, 41), undefined)
  const one = wantedOf(log, { first: logIndex(12), last: logIndex(14) })
  const other = wantedOf(
    { ...log, termRuns: [{ first: logIndex(5), term: termOf(4) }] },
    {
      first: logIndex(12),
      last: logIndex(14),
    },
  )
  assert.ok(one !== null && other !== null && isSame(one, one) && !isSame(one, other))
})

test('what a peer gives is refused unless it covers them exactly, is intact, and has their terms', () => {
  const wanted = wantedOf(log, { first: logIndex(10), last: logIndex(14) })
  assert.ok(wanted !== null)
  const given = (...blocks: readonly { readonly data: Uint8Array }[]): string => {
    const found = blocksOf(wanted, Buffer.concat(blocks.map(({ data }) => data)), verifyBlock)
    return typeof found === 'string' ? found : found.map(({ first, last }) => `${first}-${last}`).join(' ')
  }
  const two = blockOf(10, 2, [8])
  assert.is(given(two, blockOf(11, 3, [8, 8, 8, 8])), '10-10 11-14')
  assert.is(given(two, blockOf(11, 3, [8]), blockOf(12, 3, [8, 8, 8])), '10-10 11-11 12-14')
  assert.match(given(two, blockOf(11, 4, [8, 8, 8, 8])), 'are of term 4 there')
  assert.match(given(blockOf(10, 3, [8]), blockOf(11, 3, [8, 8, 8, 8])), 'are of term 3 there')
  assert.match(given(blockOf(10, 2, [8, 8, 8, 8, 8])), 'are of term 2 there, and of 2 .. 3 here')
  assert.match(given(two, blockOf(11, 3, [8, 8, 8])), 'it ends at 13')
  assert.match(given(two, blockOf(11, 3, [8, 8, 8, 8, 8])), '11 .. 15 stands where 11 must follow')
  assert.match(given(two, blockOf(12, 3, [8, 8, 8])), '12 .. 14 stands where 11 must follow')
  assert.match(given(), 'it ends at 9')
  const { data } = blockOf(11, 3, [8, 8, 8, 8])
  for (const at of [3, 30, 70, data.length - 1]) {
    const rotten = data.slice()
    rotten[at] = (rotten[at] ?? 0) ^ 1
    assert.match(given(two, { data: rotten }), /block for 11/)
  }
  assert.match(given(two, { data: data.subarray(0, data.length - 8) }), /block for 11/)
})

const MESSAGES: readonly RepairMessage[] = [
  {
    type: 'lack',
    clusterId: 'ab'.repeat(16),
    first: logIndex(7),
    last: logIndex(90),
    runs: [
      { first: logIndex(7), term: termOf(1) },
      { first: logIndex(80), term: termOf(2 ** 40) },
    ],
  },
  { type: 'part', data: Uint8Array.of(1, 2, 3) },
  { type: 'whole', bytes: 70_000 },
  { type: 'refused', again: true, reason: 'später' },
  { type: 'refused', again: false, reason: '' },
]

test('messages are what they were, whatever bit of them has flipped is found, and no message of a snapshot is one', () => {
  for (const message of MESSAGES) {
    const bytes = encodeRepair(message)
    assert.equal(decodeRepair(bytes), message)
    assert.is(isRepair(bytes), message.type === 'lack')
    assert.is(decodeTransfer(bytes), null)
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const changed = bytes.slice()
      changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
      assert.equal(decodeRepair(changed), { type: 'damaged' }, `bit ${bit} of ${message.type}`)
    }
    for (let end = 0; end < bytes.length; end += 1) {
      const cut = decodeRepair(bytes.subarray(0, end))
      assert.ok(cut === null || cut.type === 'damaged', `${end} bytes of ${message.type}`)
    }
  }
})

test('a question that no server asks is none', () => {
  const lack = (first: number, last: number, ...runs: readonly (readonly [number, number])[]): RepairMessage => ({
    ...{ type: 'lack', clusterId: '00'.repeat(16), first: logIndex(first), last: logIndex(last) },
    runs: runs.map(([from, term]) => ({ first: logIndex(from), term: termOf(term) })),
  })
  const wrong = [
    lack(0, 4, [0, 1]),
    lack(5, 4, [5, 1]),
    lack(5, 9),
    lack(5, 9, [6, 1]),
    lack(5, 9, [5, 0]),
    lack(5, 9, [5, 1], [10, 2]),
    lack(5, 9, [5, 2], [7, 1]),
    lack(5, 9, [5, 1], [5, 2]),
    lack(5, 2 ** 52 + 2, [5, 1]),
  ]
  for (const message of wrong) assert.is(decodeRepair(encodeRepair(message)), null, JSON.stringify(message))
})

test.run()

/** Which store stands behind a peer's id: what is on the disk never says another thing than what was admitted. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RaftError } from '#balsa/errors.js'
import { withIncarnations } from '#balsa/format/incarnations.js'
import { BOOT_JUMP_MAX, PeerPins } from '#balsa/server/peer-pins.js'
import { Mailbox } from '#balsa/server/turn/mailbox.js'
import type { Mail } from '#balsa/server/turn/mailbox.js'
import { MachineClock } from '../transport/machine-clock.js'
import { introductionOf } from '#balsa/testing/conformance/site.js'
import type { RaftCore } from '#balsa/core/index.js'
import { Stage } from '#balsa/testing/stage/stage.js'
import { logIndex, POSITION_MAX, termOf } from '#balsa/types.js'
import type { Configuration, Introduction, StoreOperation } from '#balsa/types.js'

const CLUSTER = 'c'.repeat(32)
const nonceOf = (life: string, bootCounter: number): string =>
  life.repeat(16) + bootCounter.toString(16).padStart(16, '0')

/** A boot of a store that shows all before it. `life`: what its nonces begin with; two lives are two copies of it. */
const idOf = (serverId: string, incarnation: string, bootCounter: number, life = incarnation): Introduction => {
  const earlier = Array.from({ length: Math.min(bootCounter - 1, 600) }, (_, at) => at + 1)
  return introductionOf(serverId, {
    clusterId: CLUSTER,
    incarnation: incarnation.repeat(32),
    bootCounter,
    bootNonce: nonceOf(life, bootCounter),
    boots: earlier.map((counter) => ({ bootCounter: counter, bootNonce: nonceOf(life, counter) })),
  })
}

/** Server s1 over a disk that is a map, written when the test says so. */
class Pinning {
  readonly core: RaftCore
  readonly disk = new Map<string, Uint8Array>()
  readonly outcomes: string[] = []
  pins: PeerPins
  #mailbox = new Mailbox(new MachineClock())

  constructor(core = new Stage().core('s1')) {
    this.core = core
    this.pins = this.#opened()
  }

  #opened(excused: readonly string[] = []): PeerPins {
    const mailbox = new Mailbox(new MachineClock())
    this.#mailbox = mailbox
    return new PeerPins(idOf('s1', 'f', 1), this.disk, this.core, mailbox, excused)
  }

  /** What the core is told. */
  get inputs(): readonly Mail[] {
    return this.#mailbox.drain()
  }

  reopen(excused: readonly string[] = []): void {
    this.pins = this.#opened(excused)
  }

  claim(peer: Introduction): void {
    const name = `${peer.incarnation.slice(0, 1)}${peer.bootCounter}`
    this.pins.admit(peer).then(
      () => this.outcomes.push(`${name} is admitted`),
      (error: unknown) => this.outcomes.push(`${name}: ${(error as { code: string }).code}`),
    )
  }

  /** What is written now and durable at once, or later by `written`. */
  take(): readonly StoreOperation[] {
    const writes = this.pins.takeWrites()
    for (const write of writes) {
      if (write.type === 'put') this.disk.set(write.key, write.value)
      else if (write.type === 'delete') this.disk.delete(write.key)
    }
    return writes
  }

  async written(): Promise<void> {
    this.pins.written()
    await new Promise((resolve) => setImmediate(resolve))
  }

  async pin(peer: Introduction): Promise<void> {
    this.claim(peer)
    assert.is(this.take().length, 1)
    await this.written()
  }

  /** What a claim is told that is not written. */
  async refused(peer: Introduction): Promise<string | undefined> {
    const before = this.outcomes.length
    this.claim(peer)
    assert.equal(this.take(), [], 'it is written')
    await new Promise((resolve) => setImmediate(resolve))
    assert.is(this.outcomes.length, before + 1)
    return this.outcomes.at(-1)
  }

  onDisk(peer: string): string {
    return new TextDecoder().decode(this.disk.get(`peer/${peer}`)).replace(/^(.)\1+( \d+) [0-9a-f]{32} 1$/, '$1$2')
  }
}

test('another store that comes while the first is being pinned is refused, and never written', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 1))
  pinning.take()
  pinning.claim(idOf('s2', 'b', 1))
  await pinning.written()
  assert.equal(pinning.take(), [])
  await pinning.written()
  assert.equal(pinning.outcomes, ['a1 is admitted', 'b1: ERR_RAFT_PEER_REPLACED'])
  assert.is(pinning.onDisk('s2'), 'a 1')
  pinning.reopen()
  pinning.claim(idOf('s2', 'b', 2))
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(pinning.outcomes.at(-1), 'b2: ERR_RAFT_PEER_REPLACED')
})

test('of two stores that claim one id in one turn, the first is pinned, on the disk too', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 1))
  pinning.claim(idOf('s2', 'b', 1))
  pinning.claim(idOf('s3', 'd', 4))
  assert.is(pinning.take().length, 2)
  await pinning.written()
  assert.equal(pinning.take(), [])
  await pinning.written()
  assert.equal(pinning.outcomes, ['a1 is admitted', 'd4 is admitted', 'b1: ERR_RAFT_PEER_REPLACED'])
  assert.is(pinning.onDisk('s2'), 'a 1')
  assert.is(pinning.onDisk('s3'), 'd 4')
})

test('an older boot of the same store that comes beside a newer one does not take its place', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 3))
  pinning.claim(idOf('s2', 'a', 2))
  pinning.claim(idOf('s2', 'a', 3))
  pinning.take()
  await pinning.written()
  assert.equal(pinning.take(), [])
  await pinning.written()
  assert.equal(pinning.outcomes, ['a3 is admitted', 'a2: ERR_RAFT_PEER_REPLACED', 'a3 is admitted'])
  assert.is(pinning.onDisk('s2'), 'a 3')
})

test('the next boot of a store waits for its own pin', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 1))
  pinning.take()
  pinning.claim(idOf('s2', 'a', 2))
  assert.equal(pinning.take(), [])
  await pinning.written()
  assert.equal(pinning.outcomes, ['a1 is admitted'])
  assert.is(pinning.take().length, 1)
  assert.is(pinning.onDisk('s2'), 'a 2')
  await pinning.written()
  assert.equal(pinning.outcomes, ['a1 is admitted', 'a2 is admitted'])
})

test('a peer that asks again while it is being written waits for the same write, and is kept once', async () => {
  const pinning = new Pinning()
  const asks = 100
  for (let count = 0; count < asks; count += 1) pinning.claim(idOf('s2', 'a', 1))
  assert.is(pinning.pins.count, 1)
  assert.is(pinning.take().length, 1)
  for (let count = 0; count < asks; count += 1) pinning.claim(idOf('s2', 'a', 1))
  assert.is(pinning.pins.count, 1)
  await pinning.written()
  assert.equal(pinning.outcomes, new Array(2 * asks).fill('a1 is admitted'))
  assert.is(pinning.pins.count, 0)
  assert.equal(pinning.take(), [])
})

test('claims that wait for a disk that hangs are bounded; the one being written still counts as one', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 1))
  pinning.take()
  for (let boot = 2; boot < 200; boot += 1) pinning.claim(idOf('s2', 'b', boot))
  pinning.claim(idOf('s2', 'a', 1))
  assert.is(pinning.pins.count, 64)
  await pinning.written()
  pinning.take()
  await pinning.written()
  const counts = new Map<string, number>()
  for (const outcome of pinning.outcomes) {
    const kind = outcome.replace(/^b\d+/, 'b')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  assert.equal(Object.fromEntries(counts), {
    'b: ERR_RAFT_OVERLOADED': 135,
    'a1 is admitted': 2,
    'b: ERR_RAFT_PEER_REPLACED': 63,
  })
  assert.is(pinning.onDisk('s2'), 'a 1')
  assert.is(pinning.pins.count, 0)
})

test('a boot counter that jumps further than a server starts unseen is refused, and not written', async () => {
  for (const [known, said] of [
    [0, BOOT_JUMP_MAX + 1],
    [0, POSITION_MAX],
    [7, 7 + BOOT_JUMP_MAX + 1],
    [7, POSITION_MAX],
  ] as const) {
    const pinning = new Pinning()
    if (known > 0) await pinning.pin(idOf('s2', 'a', known))
    const before = pinning.onDisk('s2')
    pinning.claim(idOf('s2', 'a', said))
    assert.equal(pinning.take(), [])
    await new Promise((resolve) => setImmediate(resolve))
    assert.is(pinning.outcomes.at(-1), `a${said}: ERR_RAFT_PEER_REPLACED`)
    assert.is(pinning.onDisk('s2'), before)
    await pinning.pin(idOf('s2', 'a', known + BOOT_JUMP_MAX))
    assert.is(pinning.outcomes.at(-1), `a${known + BOOT_JUMP_MAX} is admitted`)
  }
})

test('the operator lets a peer in again whose forged boot counter was believed: once, and only the same store', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 500))
  pinning.reopen(['s2'])
  pinning.claim(idOf('s2', 'b', 3))
  await pinning.pin(idOf('s2', 'a', 3))
  assert.equal(pinning.outcomes.slice(1), ['b3: ERR_RAFT_PEER_REPLACED', 'a3 is admitted'])
  assert.is(pinning.onDisk('s2'), 'a 3')
  pinning.claim(idOf('s2', 'a', 2))
  await new Promise((resolve) => setImmediate(resolve))
  assert.is(pinning.outcomes.at(-1), 'a2: ERR_RAFT_PEER_REPLACED')
})

test('the operator lets the own folder of a peer in again after a copy of it was believed: once', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 5, 'b'))
  assert.is(await pinning.refused(idOf('s2', 'a', 9)), 'a9: ERR_RAFT_PEER_REPLACED')
  pinning.reopen(['s2'])
  await pinning.pin(idOf('s2', 'a', 9))
  assert.is(await pinning.refused(idOf('s2', 'a', 10, 'b')), 'a10: ERR_RAFT_PEER_REPLACED')
  await pinning.pin(idOf('s2', 'a', 10))
})

test('a boot that does not show the nonce of the one that is known is refused, and may show it with its next claim', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 7))
  const showing = idOf('s2', 'a', 40)
  const outcome = await pinning.refused({ ...showing, boots: showing.boots.slice(-16) })
  assert.is(outcome, 'a40: ERR_RAFT_BOOT_UNPROVEN')
  assert.is(pinning.pins.bootOf('s2'), 7)
  await pinning.pin(showing)
  assert.is(pinning.outcomes.at(-1), 'a40 is admitted')
})

test('what the peer says that is known of it proves nothing', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 7))
  for (const knownBoot of [0, 3, 7, 8, 39]) {
    const showing = idOf('s2', 'a', 40)
    const outcome = await pinning.refused({ ...showing, boots: showing.boots.slice(0, 3), knownBoot })
    assert.is(outcome, 'a40: ERR_RAFT_BOOT_UNPROVEN')
  }
})

test('another life of the same store is refused at every counter, also when it is the same one', async () => {
  for (const other of [7, 8, 40, 500]) {
    const pinning = new Pinning()
    await pinning.pin(idOf('s2', 'a', 7))
    const life = idOf('s2', 'a', other, 'b')
    assert.is(await pinning.refused(life), `a${other}: ERR_RAFT_PEER_REPLACED`)
    pinning.reopen()
    assert.is(await pinning.refused(life), `a${other}: ERR_RAFT_PEER_REPLACED`)
  }
})

test('of two lives that claim one boot in one turn, the first is pinned', async () => {
  const pinning = new Pinning()
  pinning.claim(idOf('s2', 'a', 3))
  pinning.claim(idOf('s2', 'a', 3, 'b'))
  assert.is(pinning.take().length, 1)
  await pinning.written()
  assert.equal(pinning.take(), [])
  await pinning.written()
  assert.equal(pinning.outcomes, ['a3 is admitted', 'a3: ERR_RAFT_PEER_REPLACED'])
})

test('a boot that was expelled is refused; one that follows it is judged anew', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 7))
  pinning.pins.expel('s2', new RaftError('ERR_RAFT_PEER_REPLACED', 'it has lost entries'))
  assert.is(await pinning.refused(idOf('s2', 'a', 7)), 'a7: ERR_RAFT_PEER_REPLACED')
  await pinning.pin(idOf('s2', 'a', 8))
  assert.is(pinning.outcomes.at(-1), 'a8 is admitted')
})

test('a pin of before boots had nonces is followed by its counter, and has a nonce from then on', async () => {
  const pinning = new Pinning()
  pinning.disk.set('peer/s2', new TextEncoder().encode(`${'a'.repeat(32)} 7`))
  pinning.reopen()
  await pinning.pin(idOf('s2', 'a', 7))
  assert.is(await pinning.refused(idOf('s2', 'a', 8, 'b')), 'a8: ERR_RAFT_PEER_REPLACED')
})

test('a stored boot counter that nothing could follow is a damaged store, named as such', () => {
  const pinning = new Pinning()
  pinning.disk.set('peer/s2', new TextEncoder().encode(`${'a'.repeat(32)} ${2 ** 53 - 1}`))
  assert.throws(() => pinning.reopen(), /identity of a peer cannot be read/)
})

test('a server that is no member and knows more is let in unwritten, as it may lead; one that knows no more is not', async () => {
  const pinning = new Pinning()
  const stranger = { ...idOf('s9', 'e', 1), term: termOf(1), lastIndex: logIndex(1) }
  assert.is(await pinning.refused(stranger), 'e1: ERR_RAFT_CLUSTER_MISMATCH')
  assert.is(await pinning.refused({ ...stranger, term: termOf(2) }), 'e1 is admitted')
  assert.is(await pinning.refused({ ...stranger, lastIndex: logIndex(2) }), 'e1 is admitted')
  assert.equal([pinning.pins.isGuest('s9'), pinning.pins.isGuest('s2'), pinning.disk.size], [true, false, 0])
  for (let count = 0; count < 63; count += 1) {
    const other = { ...idOf(`t${count}`, 'e', 1), term: termOf(2) }
    assert.is(await pinning.refused(other), 'e1 is admitted')
  }
  const tooMany = { ...idOf('t99', 'e', 1), term: termOf(2) }
  assert.is(await pinning.refused(tooMany), 'e1: ERR_RAFT_OVERLOADED')
  assert.is(await pinning.refused({ ...stranger, term: termOf(2) }), 'e1 is admitted', 'one of them comes again')
})

/** s1 leads four, and has pinned s2 with the store a. */
async function led(): Promise<{ cluster: Stage; pinning: Pinning }> {
  const cluster = new Stage({ servers: 4 })
  cluster.elect('s1')
  cluster.run(200)
  const pinning = new Pinning(cluster.core('s1'))
  await pinning.pin(idOf('s2', 'a', 1))
  return { cluster, pinning }
}

/** What the shell does when the core tells that a configuration is committed. */
function committed({ pins, core }: Pinning): void {
  const { configurations, settledIndex } = core.log
  for (const { configuration, index } of configurations) if (index <= settledIndex) pins.committed(configuration, index)
}

test('M16 a pin falls with the committed removal of its peer, and the id may then come with another store', async () => {
  const { cluster, pinning } = await led()
  for (const id of ['s2', 's3', 's4']) cluster.cut('s1', id)
  cluster.configure('s1', { type: 'remove', id: 's2' })
  committed(pinning)
  assert.is(await pinning.refused(idOf('s2', 'b', 1)), 'b1: ERR_RAFT_PEER_REPLACED', 'not yet: it may be taken back')
  cluster.heal()
  cluster.run(3000)
  committed(pinning)
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s2' }])
  assert.equal(pinning.take(), [], 'once')
  assert.is(await pinning.refused(idOf('s2', 'b', 1)), 'b1: ERR_RAFT_CLUSTER_MISMATCH')
  cluster.configure('s1', { type: 'add', server: { id: 's2', address: 's2:1' }, promote: false })
  await pinning.pin(idOf('s2', 'b', 1))
  cluster.run(300)
  // Whatever is told of the removal again, as after a restart, says nothing of the store that came after it.
  committed(pinning)
  pinning.reopen()
  assert.equal(pinning.take(), [])
  assert.is(await pinning.refused(idOf('s2', 'a', 1)), 'a1: ERR_RAFT_PEER_REPLACED')
})

test('M16 a pin that was written while the removal of its peer was committed falls all the same, also at the next start', async () => {
  const { cluster, pinning } = await led()
  pinning.claim({ ...idOf('s2', 'a', 2), term: termOf(2), lastIndex: logIndex(2) })
  assert.is(pinning.take().length, 1)
  cluster.configure('s1', { type: 'remove', id: 's2' })
  cluster.run(3000)
  committed(pinning)
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s2' }])
  pinning.disk.set('peer/s2', new TextEncoder().encode(`${'a'.repeat(32)} 2 ${'a'.repeat(32)} 1`))
  await pinning.written()
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s2' }])
  pinning.disk.set('peer/s2', new TextEncoder().encode(`${'a'.repeat(32)} 2 ${'a'.repeat(32)}`))
  pinning.reopen()
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s2' }], 'one of an older version, too')
})

test('M16 that this server was added is durable before anything that the peer says is used, also one that is pinned', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 1))
  assert.is(pinning.pins.hasJoined, false)
  pinning.claim({ ...idOf('s2', 'a', 1), targetWasAdded: true })
  pinning.claim({ ...idOf('s3', 'd', 1), targetWasAdded: true })
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(pinning.outcomes, ['a1 is admitted'])
  const keys = pinning.take().map((write) => 'key' in write && write.key)
  assert.equal(keys, ['joined', 'peer/s3'])
  assert.equal([pinning.pins.hasJoined, pinning.take()], [false, []])
  await pinning.written()
  await pinning.written()
  assert.equal(pinning.outcomes.toSorted(), ['a1 is admitted', 'a1 is admitted', 'd1 is admitted'])
  assert.equal([pinning.pins.hasJoined, pinning.inputs], [true, [{ type: 'hasJoined' }]])
  pinning.reopen()
  assert.is(pinning.pins.hasJoined, true)
  pinning.claim({ ...idOf('s2', 'a', 1), targetWasAdded: true })
  assert.equal(pinning.take(), [], 'it is no news')
})

test('M16 a pin falls with the committed configuration that names another store, as of a server that was away meanwhile', async () => {
  const { pinning } = await led()
  const { configuration } = pinning.core
  const naming = (store: string): Configuration => withIncarnations(configuration, new Map([['s2', store]]))
  pinning.pins.committed(naming('a'.repeat(32)), logIndex(7))
  pinning.pins.committed(naming(''), logIndex(8))
  assert.equal(pinning.take(), [], 'the same store, and none yet')
  pinning.pins.committed(naming('b'.repeat(32)), logIndex(9))
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s2' }])
  await pinning.pin(idOf('s2', 'b', 1))
})

test('M16 a pin of a peer whose addition was taken back falls when it is added for good, and another store may come', async () => {
  const { cluster, pinning } = await led()
  const add = { type: 'add', server: { id: 's5', address: 's5:1' }, promote: false } as const
  for (const id of ['s2', 's3', 's4']) cluster.cut('s1', id)
  cluster.configure('s1', add)
  await pinning.pin(idOf('s5', 'e', 1))
  cluster.run(3000)
  cluster.heal()
  cluster.run(3000)
  committed(pinning)
  assert.not(
    pinning.core.configuration.nonvoters.some(({ id }) => id === 's5'),
    'it was taken back',
  )
  assert.equal(pinning.take(), [])
  const leader = ['s1', 's2', 's3', 's4'].find((id) => cluster.core(id).role === 'leader') ?? ''
  cluster.configure(leader, add)
  cluster.run(3000)
  committed(pinning)
  assert.equal(pinning.take(), [{ type: 'delete', key: 'peer/s5' }])
  await pinning.pin(idOf('s5', 'b', 1))
  committed(pinning)
  assert.equal(pinning.take(), [], 'it is the one that was added')
})

test('a disk that fails refuses whoever says that this server was added', async () => {
  const pinning = new Pinning()
  await pinning.pin(idOf('s2', 'a', 1))
  pinning.claim({ ...idOf('s2', 'a', 1), targetWasAdded: true })
  await new Promise((resolve) => setImmediate(resolve))
  pinning.pins.failAll(new RaftError('ERR_RAFT_CLOSED', 'it ends'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(pinning.outcomes, ['a1 is admitted', 'a1: ERR_RAFT_CLOSED'])
})

test.run()

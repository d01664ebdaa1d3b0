/** The transport in memory: the conformance suite, and what only it can do. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { AssertionFailure, RaftError } from '#balsa/errors.js'
import { transportConformance } from '#balsa/testing/index.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'
import { logIndex } from '#balsa/types.js'
import { BOOT_UNPROVEN } from 'balsa-raft/transport'

import { until } from '../support/until.js'
import { registerCases } from '../support/register-cases.js'
import { MachineClock } from './machine-clock.js'
import { ManualClock } from './manual-clock.js'
import { acknowledgement, heartbeat, roundOf, Site } from '#balsa/testing/conformance/site.js'

const WRITE_QUEUE_BYTES_MAX = 8 * 2 ** 20

const conformance = suite('the transport in memory')

registerCases(
  conformance,
  transportConformance({
    writeQueueBytesMax: WRITE_QUEUE_BYTES_MAX,
    makeWorld: async () => {
      const clock = new MachineClock()
      const network = new MemoryNetwork({ clock, writeQueueBytesMax: WRITE_QUEUE_BYTES_MAX })
      return {
        clock,
        network,
        transport: (id) => network.transport(id),
        bound: () => {},
        address: async (_from, to) => to,
        close: async () => {
          if (clock.pending.size > 0) throw new Error(`${clock.pending.size} timers are left`)
        },
      }
    },
    cut: ({ network }, from, to) => network.cut(from, to),
    stall: ({ network }, from, to) => network.hold(from, to),
  }),
)

conformance.run()

const test = suite('a network in memory, by hand')

interface Stage {
  readonly clock: ManualClock
  readonly network: MemoryNetwork
  readonly a: Site
  readonly b: Site
}

/** Two servers, each with a session to the other, and a clock that stands still. */
async function stage(): Promise<Stage> {
  const clock = new ManualClock()
  const network = new MemoryNetwork({ clock, manual: true })
  const a = new Site('a', network.transport('a'))
  const b = new Site('b', network.transport('b'))
  await Promise.all([a.start(clock), b.start(clock)])
  a.transport.setPeers([{ id: 'b', address: 'b' }])
  b.transport.setPeers([{ id: 'a', address: 'a' }])
  await settle(network)
  assert.equal([a.sessionWith('b'), b.sessionWith('a')], [1, 1])
  return { clock, network, a, b }
}

/** Delivers all that is due, and lets promises go on in between. */
async function settle(network: MemoryNetwork): Promise<void> {
  for (;;) {
    await new Promise((resolve) => setImmediate(resolve))
    if (!network.deliverNext()) return
  }
}

const rounds = (site: Site): readonly number[] => site.requests.map(({ message }) => roundOf(message))

test('nothing happens but by deliverNext, one thing at a time, and no timer of the clock is taken', async () => {
  const { clock, network, a, b } = await stage()
  for (const round of [1, 2, 3]) a.ask('b', 1, heartbeat(round))
  assert.equal(rounds(b), [])
  assert.ok(network.deliverNext())
  assert.equal(rounds(b), [1])
  assert.ok(network.deliverNext())
  assert.ok(network.deliverNext())
  assert.equal(rounds(b), [1, 2, 3])
  assert.not(network.deliverNext())
  assert.is(clock.pending, 0)
})

test('what is held waits and comes in order after release; the other direction goes on', async () => {
  const { network, a, b } = await stage()
  network.hold('a', 'b')
  a.ask('b', 1, heartbeat(1))
  b.ask('a', 1, heartbeat(2))
  await settle(network)
  a.ask('b', 1, heartbeat(3))
  await settle(network)
  assert.equal([rounds(a), rounds(b)], [[2], []])
  network.release('a', 'b')
  await settle(network)
  assert.equal(rounds(b), [1, 3])
})

test('what is delayed comes when the clock says so, and never before what was sent earlier', async () => {
  const { clock, network, a, b } = await stage()
  network.delay('a', 'b', 30)
  a.ask('b', 1, heartbeat(1))
  network.delay('a', 'b', 0)
  a.ask('b', 1, heartbeat(2))
  await settle(network)
  assert.equal(rounds(b), [])
  assert.is(network.nextDue(), clock.now() + 30)
  clock.advance(29)
  await settle(network)
  assert.equal(rounds(b), [])
  clock.advance(1)
  await settle(network)
  assert.equal(rounds(b), [1, 2])
})

test('a session that lost something carries nothing more that way, and heal resets it', async () => {
  const { clock, network, a, b } = await stage()
  network.drop('a', 'b')
  a.ask('b', 1, heartbeat(1))
  await settle(network)
  clock.advance(10_000)
  await settle(network)
  assert.is(a.sessionWith('b'), 1, 'nobody is told')
  network.heal()
  assert.is(a.sessionWith('b'), null)
  clock.advance(50)
  await settle(network)
  a.ask('b', a.sessionWith('b') ?? 0, heartbeat(2))
  await settle(network)
  assert.equal(rounds(b), [2])
})

test('a partition ends the sessions of both sides at once, and none comes up until heal', async () => {
  const { clock, network, a, b } = await stage()
  a.ask('b', 1, heartbeat(1))
  network.partition('a', 'b')
  assert.equal([a.sessionWith('b'), b.sessionWith('a')], [null, null])
  for (let i = 0; i < 10; i++) {
    clock.advance(50)
    await settle(network)
  }
  assert.equal([a.sessionWith('b'), b.sessionWith('a')], [null, null])
  assert.is(a.warnings('unreachable').length, 1)
  network.heal()
  clock.advance(50)
  await settle(network)
  assert.ok((a.sessionWith('b') ?? 0) > 1 && (b.sessionWith('a') ?? 0) > 1)
  assert.equal(rounds(b), [], 'what was on its way is lost')
})

test('a process that dies, a reset, a partition and a close are told apart, on both connections', async () => {
  for (const [end, act] of [
    ['gone', (network: MemoryNetwork) => network.kill('b')],
    ['gone', (network: MemoryNetwork) => network.cut('a', 'b')],
    ['unclear', (network: MemoryNetwork) => network.partition('a', 'b')],
    ['goodbye', (_network: MemoryNetwork, b: Site) => void b.transport.close()],
  ] as const) {
    const clock = new MachineClock()
    const network = new MemoryNetwork({ clock })
    const [a, b] = [new Site('a', network.transport('a')), new Site('b', network.transport('b'))]
    for (const site of [a, b]) await site.start(clock)
    a.transport.setPeers([{ id: 'b', address: 'b' }])
    b.transport.setPeers([{ id: 'a', address: 'a' }])
    await a.up('b')
    await b.up('a')
    const { calls } = b
    act(network, b)
    await a.down('b', a.sessionWith('b') ?? 1)
    await until('the link is down', () => a.linkEnds.length > 0)
    assert.equal([...a.endsWith('b'), a.linkEnds[0]?.end], [end, end])
    if (end === 'gone' && network.listener('b') === null) assert.is(b.calls, calls, 'who is dead hears nothing')
    for (const site of [a, b]) await site.transport.close()
  }
})

test('a dial that is dropped fails in the end, and is tried again', async () => {
  const { clock, network, a } = await stage()
  network.drop('a', 'b')
  network.cut('a', 'b')
  clock.advance(50)
  await settle(network)
  clock.advance(2000)
  await settle(network)
  assert.is(a.warnings('not connected within 2000 ms').length, 1)
  network.heal()
  clock.advance(50)
  await settle(network)
  assert.ok((a.sessionWith('b') ?? 0) > 1)
})

test('a channel that lost something carries nothing more that way, and heal resets it; so does a cut', async () => {
  const { network, a, b } = await stage()
  const opening = a.open('b')
  await settle(network)
  const near = await opening
  network.drop('a', 'b')
  near.send(new Uint8Array(1))
  b.channels[0]?.send(new Uint8Array(2))
  await settle(network)
  assert.equal([near.frames.length, near.ends, b.channels[0]?.frames], [1, [], []], 'nobody is told')
  network.heal()
  assert.equal([near.ends.length, b.channels[0]?.ends.length], [1, 1])
  const next = a.open('b')
  await settle(network)
  network.cut('a', 'b')
  assert.equal([(await next).ends, b.channels[1]?.ends], [['connection reset'], ['connection reset']])
})

test('the channels of a process that dies end at the other side, whoever has dialled them, and nothing is told here', async () => {
  const { clock, network, a, b } = await stage()
  const opening = a.open('b')
  await settle(network)
  const near = await opening
  void a.open('b').catch(() => {})
  network.kill('a')
  await settle(network)
  assert.equal([near.ends, b.channels[0]?.ends], [[], ['closed by the other side']])
  clock.advance(10_000)
  await settle(network)
  assert.equal(near.ends, [], 'who is dead hears nothing')
})

test('a dial for a channel that nobody answers is given up, and one that is asked for a boot is made again, once', async () => {
  const { clock, network, a, b } = await stage()
  network.hold('a', 'b')
  const late = a.refusedChannel('b')
  await settle(network)
  clock.advance(2000)
  await settle(network)
  assert.match(await late, 'not connected within 2000 ms')
  network.release('a', 'b')
  await settle(network)
  b.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown'))
  const { length } = b.admitted
  const refused = a.refusedChannel('b')
  await settle(network)
  assert.match(await refused, 'boot 3 was not shown')
  assert.is(b.admitted.length, length + 2)
  b.onAdmit = async () => {
    b.onAdmit = async () => {}
    throw new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown')
  }
  const opened = a.open('b')
  await settle(network)
  await opened
  assert.is(clock.pending, 0)
})

test('a channel that is being opened is refused when its peer is none any more, however far it has come', async () => {
  for (let steps = 0; steps <= 12; steps++) {
    const { network, a, b } = await stage()
    b.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown'))
    const refused = a.refusedChannel('b')
    for (let step = 0; step < steps; step++) {
      await new Promise((resolve) => setImmediate(resolve))
      network.deliverNext()
    }
    a.transport.setPeers([])
    await settle(network)
    assert.match(await refused, /no longer a peer|boot 3 was not shown/)
  }
})

test('a dial that is asked for a boot is made again without the clock moving, once; then it waits as any other', async () => {
  const clock = new ManualClock()
  const network = new MemoryNetwork({ clock, manual: true })
  const a = new Site('a', network.transport('a'))
  const b = new Site('b', network.transport('b'))
  for (const site of [a, b]) await site.start(clock)
  b.onAdmit = () => Promise.reject(new RaftError(BOOT_UNPROVEN, 'boot 3 was not shown'))
  a.transport.setPeers([{ id: 'b', address: 'b' }])
  await settle(network)
  assert.is(b.admitted.length, 2)
  clock.advance(50)
  await settle(network)
  assert.is(b.admitted.length, 3)
  b.onAdmit = async () => {}
  clock.advance(50)
  await settle(network)
  assert.ok((a.sessionWith('b') ?? 0) > 3)
})

test('the same calls give the same order of deliveries, across many servers', async () => {
  const run = async (): Promise<string> => {
    const clock = new ManualClock()
    const network = new MemoryNetwork({ clock, manual: true })
    const ids = ['a', 'b', 'c', 'd']
    const sites = ids.map((id) => new Site(id, network.transport(id)))
    const trace: string[] = []
    for (const site of sites) {
      await site.start(clock)
      const { onRequest } = site
      site.onRequest = (from, link, message) => {
        trace.push(`${from}>${site.id}:${roundOf(message)}`)
        onRequest.call(site, from, link, message)
      }
    }
    for (const site of sites) {
      site.transport.setPeers(ids.filter((id) => id !== site.id).map((id) => ({ id, address: id })))
    }
    await settle(network)
    network.delay('a', 'c', 7)
    for (let round = 1; round <= 20; round++) {
      for (const site of sites) {
        for (const id of ids) site.transport.send(id, site.sessionWith(id) ?? 0, heartbeat(round))
        site.transport.flush()
      }
      clock.advance(1)
      await settle(network)
    }
    return trace.join(' ')
  }
  const first = await run()
  assert.is(await run(), first)
  assert.ok(first.length > 1000)
})

test('a message with a flaw is caught where it is sent', async () => {
  const { a, b } = await stage()
  const isCaught = (error: unknown): boolean => error instanceof AssertionFailure && error.message.includes('malformed')
  assert.throws(() => a.ask('b', 1, { ...heartbeat(1), commitIndex: logIndex(2 ** 53) }), isCaught)
  assert.throws(() => b.answer(1, { ...acknowledgement(1), matchIndex: logIndex(-1) }), isCaught)
})

test.run()

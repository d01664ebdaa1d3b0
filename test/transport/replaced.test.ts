/**
 * Three connections of one peer in a row, admitted in every order, with one of them ended before: the newest that is
 * left stays, alone, and answers find the way back to it.
 */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { acknowledgement, heartbeat, roundOf, Site } from '#balsa/testing/conformance/site.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'

import { ManualClock } from './manual-clock.js'
import { ScriptedWorld } from './scripted-world.js'

/** Server a, and three that all say that they are b and dial it, one after the other. */
interface Stage {
  readonly a: Site
  readonly bs: readonly Site[]
  /** By the order in which they came: lets that connection in. */
  readonly letIn: readonly (() => void)[]
  settle(): Promise<void>
  close(): Promise<void>
}

/** From now on whoever asks that site to be admitted waits until it is let in. */
function atTheDoor(site: Site): (() => void)[] {
  const letIn: (() => void)[] = []
  site.onAdmit = () => new Promise((resolve) => letIn.push(resolve))
  return letIn
}

async function onTcp(): Promise<Stage> {
  const world = new ScriptedWorld(true)
  const a = await world.start('a')
  const bs: Site[] = []
  for (let n = 0; n < 3; n++) bs.push((await world.start('b')).site)
  const letIn = atTheDoor(a.site)
  for (const b of bs) {
    b.transport.setPeers([{ id: 'a', address: a.address }])
    await world.network.settle()
  }
  return { a: a.site, bs, letIn, settle: () => world.network.settle(), close: () => world.close() }
}

async function onMemory(): Promise<Stage> {
  const clock = new ManualClock()
  const network = new MemoryNetwork({ clock, manual: true })
  const settle = async (): Promise<void> => {
    do await new Promise((resolve) => setImmediate(resolve))
    while (network.deliverNext())
  }
  const a = new Site('a', network.transport('a'))
  const bs = ['b1', 'b2', 'b3'].map((address) => new Site('b', network.transport(address)))
  for (const site of [a, ...bs]) await site.start(clock)
  const letIn = atTheDoor(a)
  for (const b of bs) b.transport.setPeers([{ id: 'a', address: 'a' }])
  const close = async (): Promise<void> => {
    for (const site of [a, ...bs]) await site.transport.close()
  }
  return { a, bs, letIn, settle, close }
}

/** That one closes, and the others learn of it. */
async function closed(site: Site | undefined, settle: () => Promise<void>): Promise<void> {
  const over = site?.transport.close()
  await settle()
  await over
}

const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const

const test = suite('three connections of one peer')

for (const [name, make] of [['tcp', onTcp] as const, ['memory', onMemory] as const]) {
  for (const order of ORDERS) {
    for (const ended of [null, 0, 1, 2]) {
      const title = `${name}: admitted in the order ${order.join(', ')}${ended === null ? '' : `, and ${ended} has ended`}`
      test(title, async () => {
        const stage = await make()
        const { a, bs, letIn, settle } = stage
        await settle()
        assert.is(letIn.length, 3)
        if (ended !== null) await closed(bs[ended], settle)
        for (const which of order) {
          letIn[which]?.()
          await settle()
        }
        const newest = ended === 2 ? 1 : 2
        assert.equal(
          bs.map((b) => b.sessionWith('a') !== null),
          [0, 1, 2].map((which) => which === newest),
          'the newest is left',
        )
        for (const [at, b] of bs.entries()) if (at !== ended) b.ask('a', b.sessionWith('a') ?? 1, heartbeat(at))
        await settle()
        assert.equal(
          a.requests.map(({ message }) => roundOf(message)),
          [newest],
          'nobody else is heard',
        )
        a.answer(a.requests[0]?.link ?? 0, acknowledgement(7))
        await settle()
        assert.equal(
          bs.map(({ responses }) => responses.length),
          [0, 1, 2].map((which) => (which === newest ? 1 : 0)),
        )
        await stage.close()
      })
    }
  }
}

test.run()

/** What is recorded of a world, played to cores alone, makes them say the same. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'
import { formatMessage } from '#balsa/testing/stage/text.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import { Script } from '../support/transcript.js'
import { aligned } from './aligned.js'
import { CoreRecorder } from './core-recorder.js'
import { linesOf } from './scenario.js'

/** How much of what servers said in a world, by way and in order, cores say again. */
async function likeness(seed: number, faults: Readonly<Record<string, number>>): Promise<number> {
  const drawn = drawPlan(seed)
  const chaos = { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 }
  const plan = { ...drawn, servers: 3, chaos, faults, losesQuorumAt: null }
  const recorder = new CoreRecorder()
  const said = new Map<string, string[]>()
  const ear: WorldObserver = {
    sent: ({ id }, to, message) => {
      const way = `${id} sends to ${to}`
      said.set(way, [...(said.get(way) ?? []), formatMessage(message)])
    },
    healed: () => {
      throw new Error('the first phase is over')
    },
  }
  await simulate({ seed, plan, steps: 1000, observers: [recorder, ear], actors: [recorder] })
  const script = new Script()
  const steps = aligned([{ turn: 0, command: 'cluster servers=3', text: null }, ...recorder.steps])
  for (const line of linesOf(steps)) script.run(line)
  let [same, all] = [0, 0]
  for (const [way, messages] of said) {
    const again = new Set(
      script.story.filter((line) => line.startsWith(way)).map((line) => line.replace(' (lost)', '')),
    )
    all += messages.length
    same += messages.filter((message) => again.has(`${way}: ${message}`)).length
  }
  assert.ok(all > 50, `${all} messages`)
  return same / all
}

test('cores that are given what reached them in a world without faults say the same', async () => {
  for (const seed of [1, 2, 3]) assert.is(await likeness(seed, {}), 1, `seed ${seed}`)
})

test('with processes that die and networks that part they say nearly the same', async () => {
  const faults = { crash: 1, 'cut-some': 1, 'power-cut': 1 }
  for (const seed of [4, 5, 6]) assert.ok((await likeness(seed, faults)) > 0.9, `seed ${seed}`)
})

test.run()

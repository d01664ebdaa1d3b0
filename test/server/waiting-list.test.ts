/** A list from which anybody may leave: judged, step by step, by an array. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { WaitingList } from '#balsa/server/calls/waiting-list.js'
import { below, drawSeed, pick, randomFrom } from '../support/seed.js'

interface Item {
  place: number
  readonly name: number
}

const test = suite('waiting list')

test('keeps the order in which they came, whoever leaves', () => {
  const seed = drawSeed()
  const random = randomFrom(seed)
  const list = new WaitingList<Item>()
  let model: Item[] = []
  const gone: Item[] = []
  // Long runs of either, so that it grows, has gaps all over, and is emptied.
  let joins = true
  for (let step = 0; step < 50_000; step += 1) {
    if (below(random, 500) === 0) joins = !joins
    if (below(random, 4) === 0 ? !joins : joins) {
      const item = { place: -1, name: step }
      list.push(item)
      model.push(item)
    } else if (model.length > 0) {
      const item = below(random, 2) === 0 ? (model[0] as Item) : pick(random, model)
      assert.is(list.remove(item), true, `BALSA_SEED=${seed}: ${item.name} stands in it`)
      model = model.filter((other) => other !== item)
      gone.push(item)
    }
    const left = gone.at(-1)
    if (left !== undefined) assert.is(list.remove(left), false, `BALSA_SEED=${seed}: ${left.name} has left`)
    assert.is(list.first, model[0], `BALSA_SEED=${seed}: step ${step}`)
  }
})

test('a place that was left is used again: it does not grow with all that have passed', () => {
  const list = new WaitingList<Item>()
  const stays = { place: -1, name: 0 }
  list.push(stays)
  let highest = 0
  for (let name = 1; name < 100_000; name += 1) {
    const item = { place: -1, name }
    list.push(item)
    highest = Math.max(highest, item.place)
    list.remove(item)
  }
  assert.is(list.first, stays)
  assert.ok(highest < 200, `${highest} places for two`)
})

test.run()

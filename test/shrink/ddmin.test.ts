/** Delta debugging, on lists whose answer is known. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ddmin } from './ddmin.js'

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at)

test('what is left is what the failure needs, in its order', () => {
  const needed = [3, 17, 18, 63, 99]
  assert.equal(
    ddmin(numbers(100), (items) => needed.every((item) => items.includes(item))),
    needed,
  )
})

test('no single item of what is left can go, whatever the failure needs', () => {
  // Needs pairs that only matter together, so that leaving out one half at a time leads astray.
  const fails = (items: readonly number[]): boolean =>
    items.filter((item) => item % 7 === 0).length >= 3 && items.includes(0) === items.includes(50)
  const left = ddmin(numbers(64), fails)
  assert.ok(fails(left))
  for (const gone of left) assert.not.ok(fails(left.filter((item) => item !== gone)))
})

test('of a list that fails without any item nothing is left', () => {
  assert.equal(
    ddmin(numbers(9), () => true),
    [],
  )
})

test('of a long list of which little matters it asks few times', () => {
  let asked = 0
  const left = ddmin(numbers(10_000), (items) => {
    asked += 1
    return items.includes(1234) && items.includes(8765)
  })
  assert.equal(left, [1234, 8765])
  assert.ok(asked < 200, `${asked} times`)
})

test.run()

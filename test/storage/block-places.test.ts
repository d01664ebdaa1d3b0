/** The columns of block places against a plain list, through everything that a log does to them. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { BlockPlaces } from '#balsa/storage/block-places.js'

import { below, drawSeed, randomFrom } from '../support/seed.js'

const test = suite('block places')

const seed = drawSeed()
console.log(`random tests: BALSA_SEED=${seed}`)

/** Above the length of new columns, several times. */
const PUSHES_MOST = 3000
const STEPS = 60

test('places are found again after appends, truncations and compactions of every size', () => {
  const random = randomFrom(seed)
  for (let run = 0; run < 20; run += 1) {
    const places = new BlockPlaces()
    let rows: { readonly first: number; readonly position: number; readonly length: number }[] = []
    let next = 1
    let position = 64
    for (let step = 0; step < STEPS; step += 1) {
      const kind = below(random, 8)
      if (kind <= 4) {
        for (let more = below(random, PUSHES_MOST); more > 0; more -= 1) {
          const length = 1 + below(random, 90)
          places.push(next, position, length)
          rows.push({ first: next, position, length })
          next += 1 + below(random, 5)
          position += length
        }
      } else if (kind === 5) {
        next -= below(random, Math.min(next, 400))
        places.truncateSuffix(next)
        rows = rows.filter(({ first }) => first < next)
      } else if (kind === 6) {
        const begin = rows[0]?.first ?? next
        const first = begin + below(random, next - begin + 1)
        places.truncatePrefix(first)
        rows = rows.slice(
          Math.max(
            0,
            rows.findLastIndex((row) => row.first <= first),
          ),
        )
      } else if (below(random, 4) === 0) {
        places.clear()
        rows = []
      }
      assert.is(places.count, rows.length, `BALSA_SEED=${seed}`)
      for (let look = 0; look < 20; look += 1) {
        const index = below(random, next + 2)
        const row = rows.findLastIndex(({ first }) => first <= index)
        assert.is(places.find(index), row, `BALSA_SEED=${seed}`)
        if (row < 0) continue
        const found = { first: places.firstOf(row), position: places.positionOf(row), length: places.lengthOf(row) }
        assert.equal(found, rows[row], `BALSA_SEED=${seed}`)
      }
    }
    assert.throws(() => places.firstOf(rows.length), 'row')
    assert.throws(() => places.firstOf(-1), 'row')
  }
})

test.run()

/** Equal values have equal texts, and different ones different texts. */

import { canonicalText, hashOf, shortText } from '#balsa/testing/determinism/canonical-text.js'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

const test = suite('canonical text')

class Account {
  readonly balance: number

  constructor(balance: number) {
    this.balance = balance
  }
}

const cycle: { self?: unknown; readonly name: string } = { name: 'cycle' }
cycle.self = cycle
const otherCycle: { self?: unknown; readonly name: string } = { name: 'cycle' }
otherCycle.self = { self: otherCycle, name: 'cycle' }

/** Two levels; the lower one refers to itself or to the upper one. */
function cycleTo(where: 'itself' | 'above'): object {
  const below: { closes?: object } = {}
  const above = { below }
  below.closes = where === 'itself' ? below : above
  return above
}

const shared = [1]

/** No two of them are equal. */
const different: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -0,
  1,
  NaN,
  Infinity,
  1n,
  '1',
  '',
  'null',
  Symbol('1'),
  [],
  [1],
  ['1'],
  [1, 2],
  [2, 1],
  [[1], 2],
  [undefined],
  {},
  { a: 1 },
  { a: '1' },
  { a: undefined },
  { 'a:1': 1 },
  { a: { b: 1 } },
  new Map(),
  new Map([['a', 1]]),
  new Map([['a', 2]]),
  new Map([[1, 'a']]),
  new Set(),
  new Set(['a']),
  new Set([['a']]),
  new Uint8Array([1, 2]),
  new Uint8Array([1, 3]),
  new Uint16Array([513]),
  new Uint8Array([1, 2]).buffer,
  new Uint8Array([1, 3]).buffer,
  new Date(0),
  new Date(1),
  new Date(Number.NaN),
  /a/,
  /a/g,
  new Error('a'),
  new Error('b'),
  new TypeError('a'),
  Object.assign(new Error('a'), { code: 1 }),
  new Account(1),
  new Account(2),
  { balance: 1 },
  cycle,
  otherCycle,
  cycleTo('itself'),
  cycleTo('above'),
  function named() {},
]

test('different values have different texts', () => {
  const byText = new Map<string, unknown>()
  for (const value of different) {
    const text = canonicalText(value)
    assert.not.ok(byText.has(text), `both are ${text}`)
    byText.set(text, value)
  }
})

const equal: readonly (readonly [string, unknown, unknown])[] = [
  ['keys in another order', { a: 1, b: 2 }, { b: 2, a: 1 }],
  [
    'a map in another order',
    new Map([
      ['a', 1],
      ['b', 2],
    ]),
    new Map([
      ['b', 2],
      ['a', 1],
    ]),
  ],
  ['a set in another order', new Set([1, 2]), new Set([2, 1])],
  ['a Buffer and a Uint8Array', Buffer.from([1, 2]), new Uint8Array([1, 2])],
  ['a view into a larger buffer', new Uint8Array([0, 1, 2, 3]).subarray(1, 3), new Uint8Array([1, 2])],
  ['errors from two places', new Error('a'), new Error('a')],
  ['objects with and without a prototype', Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }],
  ['the same object twice and two equal ones', [shared, shared], [[1], [1]]],
]

for (const [what, a, b] of equal) {
  test(`equal values have equal texts: ${what}`, () => assert.is(canonicalText(a), canonicalText(b)))
}

test('short texts stand for themselves, long ones for a hash', () => {
  assert.is(hashOf('[1,2]'), '[1,2]')
  assert.match(hashOf('x'.repeat(100)), /^[0-9a-f]{16}$/)
  assert.is.not(hashOf('x'.repeat(100)), hashOf('x'.repeat(101)))
  assert.is(shortText({ a: 1 }), '{"a":1}')
  assert.ok(shortText('x'.repeat(10_000)).length < 200)
  assert.match(shortText('x'.repeat(10_000)), '10002 characters')
})

test.run()

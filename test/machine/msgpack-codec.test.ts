/**
 * Commands as MessagePack: what comes back is what went in, and what could not come back so is refused, with its place
 * and kind.
 */

import { isDeepStrictEqual } from 'node:util'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec, RaftError } from 'balsa-raft'
import { check } from '../format/seed.js'

const test = suite('msgpackCodec')
const codec = msgpackCodec<unknown>()
const back = (value: unknown): unknown => codec.decode(new Uint8Array(codec.encode(value)))

function refusal(value: unknown): RaftError {
  try {
    codec.encode(value)
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('it was not refused')
}

class Account {
  balance = 1
}
class Dates extends Date {}
class Lists extends Array<number> {}
class Bytes extends Uint8Array {}

/** A list with what else `match` says of it. */
const found = /b/.exec('abc')
const circle: unknown[] = []
circle.push(circle)
const gone = new Uint8Array(4)
structuredClone(gone.buffer, { transfer: [gone.buffer] })

const refused: readonly (readonly [kind: string, value: unknown])[] = [
  ['a Map', new Map([[1, 2]])],
  ['a Set', new Set([1])],
  ['a WeakMap', new WeakMap()],
  ['a Float64Array', new Float64Array([1.5])],
  ['a Uint8ClampedArray', new Uint8ClampedArray(1)],
  ['a BigInt64Array', new BigInt64Array(1)],
  ['a DataView', new DataView(new ArrayBuffer(1))],
  ['an ArrayBuffer', new ArrayBuffer(3)],
  ['a SharedArrayBuffer', new SharedArrayBuffer(3)],
  ['a Uint8Array whose memory is detached', gone],
  ['a function', () => 1],
  ['a symbol', Symbol('x')],
  ['a promise', Promise.resolve(1)],
  ['a RegExp', /a/g],
  ['a TypeError', new TypeError('x')],
  ['an Account', new Account()],
  ['a Dates', new Dates(5)],
  ['a Lists', Lists.of(1)],
  ['a Bytes', new Bytes(1)],
  ['a Number', new Number(3)],
  ['a String', new String('a')],
  ['a URL', new URL('http://a/')],
  ['an object without a prototype', Object.assign(Object.create(null), { a: 1 })],
  [
    'an Arguments object',
    (function () {
      return arguments
    })(),
  ],
  ['a Math object', Math],
  ['an Error object', Object.setPrototypeOf(new Error('x'), Object.prototype)],
  ['an object with a symbol as a key', { [Symbol('a')]: 1 }],
  ['an invalid Date', new Date(Number.NaN)],
  ['a Date with properties of its own', Object.assign(new Date(5), { zone: 'here' })],
  ['a bigint outside of -2^63 .. 2^64 - 1', 2n ** 64n],
  ['a bigint outside of -2^63 .. 2^64 - 1', -(2n ** 63n) - 1n],
  ['a string with a lone surrogate', 'a\udc00b'],
  ['a string with a lone surrogate', `${'x'.repeat(500)}\ud800`],
  ['a key with a lone surrogate', { '\ud800': 1 }],
  // oxlint-disable-next-line no-sparse-arrays
  ['an array with holes', [, 1]],
  ['an array with properties of its own', found],
  ['nested deeper than 512, or in a circle', circle],
  ['a Map', runInNewContext('new Map([[1, 2]])')],
]

for (const [at, [kind, value]] of refused.entries()) {
  test(`${kind} is refused (${at})`, () => {
    const error = refusal({ items: [null, { when: value }] })
    assert.is(error.code, 'ERR_RAFT_ENCODE')
    assert.is(error.outcome, 'not-applied')
    const where = value === circle ? /command\.items\[1\]\.when(\[0\])+/ : /command\.items\[1\]\.when\b/
    assert.match(error.message, where)
    assert.ok(error.message.includes(kind), `"${error.message}" does not say "${kind}"`)
    assert.match(refusal(value).message, /command\b/)
  })
}

test('a refusal names its place as code would', () => {
  const { message } = refusal({ 'two words': { '': [new Set()] } })
  assert.match(message, 'command["two words"][""][0]')
})

test('a refusal leaves nothing behind', () => {
  refusal({ a: 'x'.repeat(100), b: new Map() })
  assert.equal(back({ a: 1 }), { a: 1 })
})

const kept: readonly unknown[] = [
  ...[
    null,
    undefined,
    true,
    false,
    0,
    -0,
    1,
    -1,
    127,
    128,
    -32,
    -33,
    255,
    256,
    -128,
    -129,
    65_535,
    65_536,
    -32_768,
    -32_769,
  ],
  ...[2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 2 ** 60, 0.1, 5e-324, Number.MAX_VALUE],
  ...[Number.NaN, Infinity, -Infinity, 0n, 5n, -5n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)],
  ...[
    '',
    'a',
    'é',
    '\0',
    '😀'.repeat(30),
    '\ufeff',
    `\ufeff${'a'.repeat(200)}`,
    'x'.repeat(70_000),
    'ü'.repeat(33_000),
  ],
  ...[
    new Date(0),
    new Date(5),
    new Date(-1),
    new Date(-1.5e12),
    new Date(8.64e15),
    new Date(-8.64e15),
    new Date(2 ** 34 * 1000),
  ],
  ...[new Uint8Array(0), new Uint8Array([1, 2]), new Uint8Array(300), new Uint8Array(70_000)],
  ...[[], [undefined], [[[]]], Array.from({ length: 70_000 }, (_, at) => at), Array.from({ length: 16 }, () => null)],
  ...[
    {},
    { a: undefined },
    { '': 1, 1: 2, constructor: 3, toString: 4, length: 5 },
    JSON.parse('{"__proto__":{"a":1}}'),
  ],
  Object.fromEntries(Array.from({ length: 70_000 }, (_, at) => [`key ${at}`, 0])),
]

for (const [at, value] of kept.entries()) {
  test(`what can be carried comes back as it was (${at})`, () => {
    assert.ok(isDeepStrictEqual(back(value), value))
    assert.ok(isDeepStrictEqual(back([{ value }]), [{ value }]))
  })
}

test('a Buffer comes back as a Uint8Array with its bytes, in memory of its own', () => {
  const bytes = codec.encode(Buffer.from('abc'))
  const decoded = codec.decode(bytes) as Uint8Array
  assert.equal(decoded, Uint8Array.from([97, 98, 99]))
  assert.is(Object.getPrototypeOf(decoded), Uint8Array.prototype)
})

test('a key that means something to the language is a key', () => {
  const value = back(JSON.parse('{"__proto__":{"polluted":1}}')) as object
  assert.is(Object.getPrototypeOf(value), Object.prototype)
  assert.equal(Object.keys(value), ['__proto__'])
  assert.is(({} as { polluted?: unknown }).polluted, undefined)
})

test('plain data of another realm is plain data', () => {
  const value = runInNewContext(
    `({ list: [1, 'a'], at: new Date(5), bytes: new Uint8Array([1, 2]), inner: { a: null } })`,
  )
  const expected = { list: [1, 'a'], at: new Date(5), bytes: Uint8Array.of(1, 2), inner: { a: null } }
  assert.ok(isDeepStrictEqual(back(value), expected))
})

test('what was encoded does not change with what is encoded next, nor inside of it', () => {
  const inner: { seen?: unknown } = {}
  const first = codec.encode({ a: 1 })
  const copy = first.slice()
  const second = codec.encode({
    get b() {
      inner.seen = codec.decode(codec.encode(['within']))
      return 2
    },
  })
  assert.equal(first, copy)
  assert.equal(codec.decode(second), { b: 2 })
  assert.equal(inner.seen, ['within'])
})

test('a command as large as an entry may be is carried, and a larger one is refused before it is whole', () => {
  const most = 2 ** 20
  for (const unit of ['x', 'ü', '\u0800']) {
    const units = Math.floor((most - 5) / Buffer.byteLength(unit))
    assert.is(back(unit.repeat(units)), unit.repeat(units))
    assert.throws(
      () => codec.encode(unit.repeat(2 * units)),
      (error: RaftError) => error.code === 'ERR_RAFT_TOO_LARGE',
    )
  }
  assert.is(codec.encode(new Uint8Array(most - 5)).length, most)
  // Each is the one before it, twice: the last has 2^100 parts.
  let doubled: unknown = 'x'
  for (let level = 0; level < 100; level += 1) doubled = [doubled, doubled]
  assert.throws(
    () => codec.encode(doubled),
    (error: RaftError) => error.code === 'ERR_RAFT_TOO_LARGE',
  )
})

/** Everything that it carries, as deep as a command is. */
const carried = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, undefined, true, false, Number.NaN, -0),
    fc.integer(),
    fc.double(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.string({ maxLength: 80 }),
    fc.string({ unit: 'grapheme', maxLength: 80 }),
    fc.string({ unit: fc.constantFrom('\ufeff', 'a', '\u0800', '😀'), maxLength: 200 }),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 40 }), tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value

test('whatever it carries comes back as it was', async () => {
  await check(
    fc.property(carried, (value) => {
      assert.ok(isDeepStrictEqual(back(value), value))
    }),
    3000,
  )
})

test('anything at all comes back as it was, or is refused', async () => {
  const anything = fc.anything({
    ...{
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSet: true,
    },
    ...{ withObjectString: true, withSparseArray: true, withTypedArray: true, withUnicodeString: true },
    values: [
      fc.constant(-0),
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('\ud800', 'a') }),
      fc.double(),
    ],
  })
  await check(
    fc.property(fc.oneof(anything, fc.array(anything)), (value) => {
      let decoded: unknown
      try {
        decoded = back(value)
      } catch (error) {
        assert.ok(error instanceof RaftError && error.code === 'ERR_RAFT_ENCODE', String(error))
        return
      }
      assert.ok(isDeepStrictEqual(decoded, value))
    }),
    3000,
  )
})

/** What the codec was made of before: its entries are in logs. */
const packr = new Packr({ useRecords: false })

test('entries of earlier versions are read as they were', async () => {
  await check(
    fc.property(carried, (value) => {
      const bytes = new Uint8Array(packr.encode(value))
      assert.ok(isDeepStrictEqual(codec.decode(bytes), packr.decode(bytes)) || hasMark(value))
    }),
    1000,
  )
  for (const value of [
    new Map<unknown, unknown>([
      [1, 2],
      ['a', [3]],
      [true, 4],
      [5n, 6],
    ]),
    () => 1,
    new Set([1]),
  ]) {
    const bytes = new Uint8Array(packr.encode(value))
    assert.ok(isDeepStrictEqual(codec.decode(bytes), packr.decode(bytes)))
  }
  const invalid = codec.decode(new Uint8Array(packr.encode(new Date(Number.NaN))))
  assert.ok(invalid instanceof Date && Number.isNaN(invalid.getTime()))
})

test('earlier versions read the entries of this one', async () => {
  await check(
    fc.property(carried, (value) => {
      const bytes = new Uint8Array(codec.encode(value))
      assert.ok(isDeepStrictEqual(packr.decode(bytes), value) || hasMark(value))
    }),
    1000,
  )
})

/** What the earlier one read wrongly: a byte order mark at the beginning of a text, and a key that it renames. */
function hasMark(value: unknown): boolean {
  if (typeof value === 'string') return value.startsWith('\ufeff')
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return false
  return Object.entries(value).some(([key, held]) => hasMark(key) || key === '__proto__' || hasMark(held))
}

test('bytes that are no MessagePack are refused, wherever they end', async () => {
  await check(
    fc.property(carried, fc.nat(), (value, cut) => {
      const bytes = new Uint8Array(codec.encode(value))
      const end = cut % bytes.length
      assert.throws(() => codec.decode(bytes.subarray(0, end)), /MessagePack/)
      assert.throws(() => codec.decode(Uint8Array.of(...bytes, 0xc1)), /MessagePack/)
    }),
    500,
  )
  await check(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        codec.decode(bytes)
      } catch (error) {
        assert.match(String(error), /MessagePack/)
      }
    }),
    5000,
  )
})

test.run()

/**
 * The parser of requests: any split of the stream gives the same commands; malformed streams end with Redis's words.
 */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { splitInline } from 'balsa-kv/resp/inline-arguments.js'
import { RefusedCommand, RequestParser } from 'balsa-kv/resp/request-parser.js'
import { drawSeed } from '../support/seed.js'
import { command } from './kv-fixture.js'

const test = suite('request parser')

const limits = { bulkBytes: 1024 * 1024, inlineBytes: 64 * 1024, arguments: 64 * 1024, commandBytes: 4 * 1024 * 1024 }

interface Parsed {
  /** Of a refused one: 'refused' and the answer. */
  readonly commands: readonly (readonly string[])[]
  readonly fault: string | null
  /** The most that was held between chunks. */
  readonly held: number
}

function parse(chunks: readonly Buffer[], overrides: Partial<typeof limits> = {}): Parsed {
  const parser = new RequestParser({ ...limits, ...overrides })
  const commands: string[][] = []
  let held = 0
  for (const chunk of chunks) {
    parser.push(chunk)
    for (let words = parser.next(); words !== null; words = parser.next()) {
      commands.push(words instanceof RefusedCommand ? ['refused', words.text] : words)
    }
    held = Math.max(held, parser.held)
    if (parser.fault !== null) break
  }
  return { commands, fault: parser.fault, held }
}

test('an inline request has no more words than any other command, and ends nothing', () => {
  const parsed = parse([bytes(`MGET ${'a '.repeat(9)}\r\nMGET ${'a '.repeat(8)}\r\nPING\r\n`)], { arguments: 9 })
  const refused = ['refused', 'ERR the command has 10 words, at most 9 are allowed: split it']
  assert.equal(parsed, { ...parsed, commands: [refused, ['MGET', ...'a'.repeat(8).split('')], ['PING']], fault: null })
})

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

function split(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => Math.floor(cut * stream.length)))].toSorted((a, b) => a - b)
  return [0, ...places].map((from, at) => Buffer.from(stream.subarray(from, places[at] ?? stream.length)))
}

const word = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array).toString('latin1'))
const inlineWord = fc.string({ minLength: 1, maxLength: 8, unit: fc.constantFrom(...'abcXYZ019*$-:{}'.split('')) })
const request = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.array(word, { minLength: 1, maxLength: 6 }).map((words) => ({ words, text: command(...words) })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      { words: [], text: '*0\r\n' },
      { words: [], text: '*-1\r\n' },
      { words: [], text: '\r\n' },
    ),
  },
  {
    weight: 2,
    arbitrary: fc
      .array(inlineWord, { minLength: 1, maxLength: 4 })
      .filter(([first]) => first?.startsWith('*') === false)
      .map((words) => ({ words, text: ` ${words.join('  ')}\r\n` })),
  },
)

test('any split of a stream gives the same commands', () => {
  const property = fc.property(
    fc.array(request, { maxLength: 12 }),
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 }),
    (requests, cuts) => {
      const stream = bytes(requests.map(({ text }) => text).join(''))
      const { commands, fault } = parse(split(stream, cuts))
      assert.is(fault, null)
      assert.equal(
        commands,
        requests.map(({ words }) => words).filter((words) => words.length > 0),
      )
    },
  )
  fc.assert(property, { seed: drawSeed(), numRuns: 1000 })
})

test('a stream fed byte by byte gives the same commands', () => {
  const stream = bytes(`${command('SET', 'key', 'v'.repeat(300))}PING "a b"\r\n${command('GET', '')}`)
  const chunks = Array.from(stream, (byte) => Buffer.from([byte]))
  assert.equal(parse(chunks).commands, [
    ['SET', 'key', 'v'.repeat(300)],
    ['PING', 'a b'],
    ['GET', ''],
  ])
})

test('a long value in many chunks is copied in proportion to its length', () => {
  const value = 'x'.repeat(1024 * 1024)
  const stream = bytes(command('SET', 'k', value))
  const chunks = Array.from({ length: Math.ceil(stream.length / 1000) }, (_, at) =>
    stream.subarray(at * 1000, at * 1000 + 1000),
  )
  assert.equal(parse(chunks).commands, [['SET', 'k', value]])
})

test('random bytes end in commands or in a fault, and never in an exception', () => {
  const piece = fc.constantFrom(
    '*',
    '$',
    '\r\n',
    '1',
    '3',
    '-',
    '0',
    'GET',
    '"',
    "'",
    '\\x4',
    ' ',
    '\n',
    '\r',
    '*1\r\n$4\r\nPING\r\n',
  )
  const property = fc.property(
    fc.array(piece, { maxLength: 40 }),
    fc.array(fc.double({ min: 0, max: 1, noNaN: true })),
    (pieces, cuts) => {
      const stream = bytes(pieces.join(''))
      const whole = parse([stream])
      const parts = parse(split(stream, cuts))
      assert.equal(parts.commands, whole.commands)
      assert.equal(parts.fault, whole.fault)
    },
  )
  fc.assert(property, { seed: drawSeed(), numRuns: 2000 })
})

const malformed: readonly (readonly [stream: string, text: string])[] = [
  ['*01\r\n', 'invalid multibulk length'],
  ['*x\r\n', 'invalid multibulk length'],
  ['*\r\n', 'invalid multibulk length'],
  ['*2147483648\r\n', 'invalid multibulk length'],
  ['*12345678901234567890\r\n', 'invalid multibulk length'],
  ['*1\r\n$-1\r\n', 'invalid bulk length'],
  ['*1\r\n$04\r\nPING\r\n', 'invalid bulk length'],
  ['*1\r\n$4x\r\nPING\r\n', 'invalid bulk length'],
  ['*1\r\n$99999999999\r\n', 'invalid bulk length'],
  ['*1\r\n$536870913\r\n', 'invalid bulk length'],
  ['*1\r\n+PING\r\n', "expected '$', got '+'"],
  ['PING "a\r\n', 'unbalanced quotes in request'],
  [`*${'1'.repeat(70_000)}`, 'too big mbulk count string'],
  [`*1\r\n$${'1'.repeat(70_000)}`, 'too big bulk count string'],
  ['a'.repeat(70_000), 'too big inline request'],
]

for (const [stream, text] of malformed) {
  test(`says "${text}" of ${JSON.stringify(stream.slice(0, 30))}, after the commands before it`, () => {
    const { commands, fault } = parse([bytes(`PING\r\n${stream}`)])
    assert.equal(commands, [['PING']])
    assert.is(fault, `ERR Protocol error: ${text}`)
  })
}

/** Refused at 100 bytes of one argument, 3 arguments and 390 bytes of a command. */
const small = { bulkBytes: 100, arguments: 3, commandBytes: 390 }
const overBounds: readonly (readonly [words: readonly string[], text: string])[] = [
  [['SET', 'k', 'v'.repeat(101)], 'an argument has 101 bytes, but a command is one Raft entry of at most 100'],
  [['v'.repeat(5000)], 'an argument has 5000 bytes, but a command is one Raft entry of at most 100'],
  [['MGET', 'a', 'b', 'c'], 'the command has 4 words, at most 3 are allowed: split it'],
  [['a'.repeat(100), 'b'.repeat(100), 'c'.repeat(100)], 'the command is larger than 390 bytes: split it'],
]

for (const [words, text] of overBounds) {
  test(`says in its place "${text}", wherever the stream is cut, and keeps nothing of it`, () => {
    const stream = bytes(command('SET', 'k', 'v') + command(...words) + command('GET', 'k') + 'PING\r\n')
    const expected = [['SET', 'k', 'v'], ['refused', `ERR ${text}`], ['GET', 'k'], ['PING']]
    const whole = parse([stream], small)
    assert.equal([whole.commands, whole.fault], [expected, null])
    for (let cut = 1; cut < stream.length; cut += 1) {
      assert.equal(parse([stream.subarray(0, cut), stream.subarray(cut)], small).commands, expected, `cut at ${cut}`)
    }
    const chunks = Array.from(stream, (byte) => Buffer.from([byte]))
    assert.equal(parse(chunks, small).commands, expected)
    assert.ok(parse(chunks, small).held <= 1000)
  })
}

test('holds nothing when all that came was whole commands', () => {
  const parser = new RequestParser(limits)
  parser.push(bytes(command('SET', 'k', 'v'.repeat(1000))))
  while (parser.next() !== null);
  assert.is(parser.held, 0)
})

test('what is left of a chunk is kept, wherever that ends, and no more of it', () => {
  const stream = bytes(command('SET', 'k', 'some value') + 'get k\r\n' + command('DEL', 'k'))
  for (let cut = 1; cut < stream.length; cut += 1) {
    const parser = new RequestParser(limits)
    const commands: unknown[] = []
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      const chunk = Buffer.from(part)
      parser.push(chunk)
      for (let words = parser.next(); words !== null; words = parser.next()) commands.push(words)
      parser.keep()
      chunk.fill('#')
      assert.ok(parser.held <= 200, `${parser.held} bytes held`)
    }
    assert.equal(
      commands,
      [
        ['SET', 'k', 'some value'],
        ['get', 'k'],
        ['DEL', 'k'],
      ],
      `cut at ${cut}`,
    )
  }
})

test('an inline request is split as a shell would', () => {
  assert.equal(splitInline(`set "a b" 'c d' "\\x41\\n\\"" 'it\\'s' plain`), [
    'set',
    'a b',
    'c d',
    'A\n"',
    "it's",
    'plain',
  ])
  assert.equal(splitInline('  \t'), [])
  assert.is(splitInline(`"a"b`), null)
  assert.is(splitInline(`'a`), null)
})

test.run()

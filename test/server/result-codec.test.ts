import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { msgpackCodec } from 'balsa-raft'
import type { Codec } from 'balsa-raft'
import { RaftError } from '#balsa/errors.js'
import { GuardedResultCodec } from '#balsa/machine/user-code.js'

const bytes: Codec<unknown> = { encode: (value) => value as Uint8Array, decode: (value) => value }

function failureOf(run: () => unknown): RaftError {
  try {
    run()
  } catch (error) {
    if (error instanceof RaftError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const encoding = (codec: Codec<unknown>, result: unknown): RaftError =>
  failureOf(() => new GuardedResultCodec(codec).encode(result))

const test = suite('result codec')

test('a result goes into bytes and comes back', () => {
  const codec = new GuardedResultCodec(msgpackCodec<unknown>())
  for (const result of [null, undefined, 7, 'text', [1, { two: 2n }], Uint8Array.of(1)]) {
    assert.equal(codec.decode(codec.encode(result)), result)
  }
})

test('an encode that uses its memory again is harmless', () => {
  const memory = new Uint8Array(1)
  const codec = new GuardedResultCodec({ ...bytes, encode: (result: unknown) => memory.fill(Number(result)) })
  assert.equal([codec.encode(1), codec.encode(2)], [Uint8Array.of(1), Uint8Array.of(2)])
})

test('a result that cannot be encoded is an error that says that the command is applied', () => {
  const away = Uint8Array.of(1)
  structuredClone(away.buffer, { transfer: [away.buffer] })
  const cause = new TypeError('no such field')
  const throws = (): never => {
    throw cause
  }
  const table: readonly (readonly [RaftError, string, RegExp])[] = [
    [encoding(msgpackCodec(), new Map()), 'ERR_RAFT_ENCODE', /^resultCodec's encode threw: .*Map/],
    [encoding({ ...bytes, encode: throws }, 1), 'ERR_RAFT_ENCODE', /^resultCodec's encode threw: .*no such field/],
    [encoding(bytes, 'text'), 'ERR_RAFT_ENCODE', /^resultCodec's encode answered with a string/],
    [encoding(bytes, Promise.reject(cause)), 'ERR_RAFT_ENCODE', /^resultCodec's encode answered with a promise/],
    [encoding(bytes, away), 'ERR_RAFT_ENCODE', /^resultCodec's encode answered with .*detached/],
    [encoding(bytes, new Uint8Array(2 ** 20 + 1)), 'ERR_RAFT_TOO_LARGE', /^its result has 1048577 bytes, at most/],
  ]
  for (const [error, code, message] of table) {
    assert.equal([error.code, error.outcome, error.retryable], [code, 'applied', false], error.message)
    assert.match(error.message, message)
    assert.match(error.message, /the command is applied, and its result is lost/)
  }
  assert.is(encoding({ ...bytes, encode: throws }, 1).cause, cause)
})

test('a result that cannot be decoded is such an error, too', () => {
  const decoding = (decode: () => unknown): RaftError =>
    failureOf(() => new GuardedResultCodec({ ...bytes, decode }).decode(new Uint8Array(1)))
  const threw = decoding(() => {
    throw new TypeError('no such field')
  })
  const promised = decoding(() => Promise.reject(new Error('too late')))
  for (const error of [threw, promised]) assert.equal([error.code, error.outcome], ['ERR_RAFT_ENCODE', 'applied'])
  assert.match(threw.message, /^resultCodec's decode threw: .*no such field/)
  assert.match(promised.message, /^resultCodec's decode answered with a promise/)
})

test.run()

/** Questions over TCP: what strangers can cause with them, and what older and foreign listeners answer. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { tcp } from '#balsa/transport/tcp/index.js'
import {
  ANSWER_BYTES_MAX,
  encodeAnswer,
  encodeGoodbye,
  encodeQuestion,
  encodeRefusal,
  encodeWelcome,
} from 'balsa-raft/transport'

import { until } from '../support/until.js'
import { MachineClock } from './machine-clock.js'
import { type Context, listen, RawPeer, start } from './raw-peer.js'

const test = suite<Context>('questions over TCP')
const QUESTION = Uint8Array.of(1, 2, 3)

test.before.each((context) => {
  context.clock = new MachineClock()
  context.open = []
})

test.after.each(async (context) => {
  for (const one of context.open.reverse()) await one.close()
  assert.is(context.clock.pending.size, 0, 'timers are left')
})

const refused = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'an answer',
    (error: unknown) => String(error),
  )

const damaged = Buffer.from(encodeAnswer(Uint8Array.of(7)))
damaged[damaged.length - 1] = 8

const answers: readonly (readonly [string, Buffer | string, string])[] = [
  ['a web server', 'HTTP/1.1 400 Bad Request\r\n\r\n', 'not the protocol of Balsa'],
  [
    'a version that knows no questions',
    framed(encodeRefusal({ code: 'MALFORMED', reason: 'malformed frame: frame type 5 is not known' })),
    'frame type 5 is not known. It is of a version that answers no questions: upgrade it',
  ],
  ['a refusal', framed(encodeRefusal({ code: 'X', reason: 'not now' })), 'refused by the peer (X): not now'],
  ['an answer that was damaged', framed(damaged), 'the checksum of an answer is wrong'],
  ['an answer that is too long', framed(encodeAnswer(new Uint8Array(ANSWER_BYTES_MAX + 1))), 'too long'],
  ['a welcome', framed(encodeWelcome()), 'a welcome in the place of an answer'],
  ['a goodbye', framed(encodeGoodbye('bye')), 'a goodbye in the place of an answer'],
]

function framed(frame: Uint8Array): Buffer {
  return Buffer.concat([MAGIC, frame])
}

for (const [what, bytes, reason] of answers) {
  test(`${what} is no answer, and says why`, async (context) => {
    const transport = tcp({ listen: '127.0.0.1:0' })
    context.open.push(transport)
    const address = await listen(context, (socket) => socket.write(bytes))
    assert.match(await refused(transport.ask(address, QUESTION, context.clock)), reason)
    await until('its socket is gone', () => transport.rooms['asking'] === 0)
  })
}

test('who never answers is waited for until the deadline of a handshake, and hung up on', async (context) => {
  const transport = tcp({ listen: '127.0.0.1:0', handshakeTimeoutMs: 20 })
  context.open.push(transport)
  let isClosed = false
  const address = await listen(context, (socket) => socket.resume().on('close', () => (isClosed = true)))
  assert.match(await refused(transport.ask(address, QUESTION, context.clock)), 'no answer within 20 ms')
  await until('it is hung up on', () => isClosed)
  assert.match(await refused(transport.ask('nowhere', QUESTION, context.clock)), 'is not host:port')
})

test('an answer that comes byte by byte is an answer', async (context) => {
  const transport = tcp({ listen: '127.0.0.1:0' })
  context.open.push(transport)
  const bytes = framed(encodeAnswer(QUESTION))
  const address = await listen(context, (socket) => {
    socket.setNoDelay(true)
    let at = 0
    const next = (): void => {
      if (at < bytes.length) socket.write(bytes.subarray(at, ++at), () => setImmediate(next))
    }
    next()
  })
  assert.equal([...(await transport.ask(address, QUESTION, context.clock))], [...QUESTION])
})

const misplaced: readonly (readonly [string, (peer: RawPeer) => Promise<void> | void, string])[] = [
  ['an answer', (peer) => void peer.socket.write(framed(encodeAnswer(QUESTION))), 'an answer to no question'],
  [
    'a question of one who has said who it is',
    (peer) => {
      peer.hello('b', 'a')
      peer.socket.write(encodeQuestion(QUESTION))
    },
    'a question out of place',
  ],
]

for (const [what, send, reason] of misplaced) {
  test(`${what} is cut off with a reason on both sides`, async (context) => {
    const { site, address } = await start(context, 'a')
    const peer = await RawPeer.dial(context, address)
    await send(peer)
    assert.match(await peer.refusal(), reason)
    await until('the connection is closed', () => peer.isClosed)
    assert.equal([site.warnings(reason).length, site.questions], [1, []])
  })
}

test('who asks has no more than the place of a stranger, and not for longer than its answer takes', async (context) => {
  const { site, transport, address } = await start(context, 'a', { acceptedMax: 8 })
  site.onAsked = (question) => question
  const peers: RawPeer[] = []
  for (let count = 0; count < 40; count += 1) {
    const peer = await RawPeer.dial(context, address)
    peers.push(peer)
    // It asks again and again, and never hangs up.
    for (let time = 0; time < 3; time += 1)
      peer.socket.write(time === 0 ? framed(encodeQuestion(QUESTION)) : encodeQuestion(QUESTION))
    await until('it is answered, or was given up', () => peer.read().some(({ type }) => type === 'answer'))
    const { strangers, leaving } = transport.rooms
    assert.ok((strangers ?? 0) + (leaving ?? 0) <= 8)
  }
  assert.is(site.questions.length, 40, 'one question for each connection')
  assert.equal(site.warnings('question'), [])
  await until('all are gone', () => transport.rooms['connections'] === 0)
})

test.run()

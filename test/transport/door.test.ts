/**
 * `balsa-raft/transport` is enough to write a transport: one that imports nothing else passes the conformance suite.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'

import { transportConformance } from 'balsa-raft/testing'
import * as door from 'balsa-raft/transport'

import { registerCases } from '../support/register-cases.js'
import { importsOf } from '../support/source-text.js'
import { TcpWorld } from './tcp-world.js'
import { TinyTransport } from './tiny-transport.js'

const writeQueueBytesMax = 8 * 2 ** 20

const conformance = suite('a transport written against the door')

registerCases(
  conformance,
  transportConformance({
    writeQueueBytesMax,
    channels: false,
    questions: false,
    makeWorld: async () => new TcpWorld((listen) => new TinyTransport(listen, writeQueueBytesMax)),
    cut: (world, from, to) => world.cut(from, to),
    stall: (world, from, to) => world.stall(from, to),
  }),
)

conformance.run()

const test = suite('the door of transports')

test('the transport of the example imports nothing of Balsa but its doors', () => {
  const path = fileURLToPath(new URL('../../../test/transport/tiny-transport.ts', import.meta.url))
  assert.equal([...new Set(importsOf(readFileSync(path, 'utf8')))], ['node:net', 'balsa-raft', 'balsa-raft/transport'])
})

test('what is behind the door stays there: a name that goes breaks the transports of others', () => {
  assert.equal(Object.keys(door).sort(), [
    ...[
      'ANSWER_BYTES_MAX',
      'ANSWER_WIRE_BYTES_MAX',
      'BOOT_UNPROVEN',
      'CHANNELS_MAX',
      'CHANNEL_FRAME_BYTES_MAX',
      'CHANNEL_REQUIRES',
      'CHANNEL_WIRE_BYTES_MAX',
      'FEATURES',
      'FRAME_BYTES_MAX',
      'FRAME_BYTES_MIN',
      'FRAME_HEADER_BYTES',
      'HEAD_BYTES_MAX',
    ],
    ...[
      'MESSAGE_HEAD_BYTES_MAX',
      'NO_ANSWER',
      'NO_FEATURES',
      'PROOF_BYTES',
      'PROTOCOL',
      'QUESTION_BYTES_MAX',
      'QuietLog',
      'Strangers',
    ],
    ...['channelFrameFlaw', 'closedByPeer', 'commonFeatures', 'decodeFrame'],
    ...[
      'encodeAnswer',
      'encodeChannelFrame',
      'encodeClientHello',
      'encodeClientWelcome',
      'encodeGoodbye',
      'encodeHead',
      'encodeHello',
      'encodeMessage',
    ],
    ...['encodePing', 'encodeProof', 'encodeQuestion', 'encodeRefusal', 'encodeWelcome'],
    ...[
      'foreignRefusal',
      'frameLengthAt',
      'frameMemory',
      'headFlaw',
      'identityRefusal',
      'introductionOf',
      'isOfThePeer',
      'isSameBoot',
      'isUnderstood',
      'messageFlaw',
      'notAPeer',
      'notNew',
    ],
    ...[
      'peerChanged',
      'refusalOf',
      'refusedByPeer',
      'serverCloses',
      'takesNoChannels',
      'takesNoClients',
      'tooManyChannels',
      'unauthenticated',
    ],
  ])
})

test.run()

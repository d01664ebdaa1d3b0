/** The TCP transport passes the conformance suite, whichever way its accepted sockets read. */

import { suite } from 'uvu'
import type { Test } from 'uvu'
import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { transportConformance } from '#balsa/testing/index.js'
import { registerCases } from '../support/register-cases.js'
import { TcpWorld } from './tcp-world.js'

const writeQueueBytesMax = 8 * 2 ** 20

function suiteFor(readInPlace: boolean): Test<object> {
  const test = suite(`tcp, accepted sockets ${readInPlace ? 'read in place' : 'are copied'}`)
  const make = (listen: string): TcpTransport =>
    new TcpTransport({ ...tcpSettings({ listen, writeQueueBytesMax, backoffMinMs: 5 }), readInPlace })
  const cases = transportConformance({
    writeQueueBytesMax,
    makeWorld: async () => new TcpWorld(make),
    cut: (world, from, to) => world.cut(from, to),
    stall: (world, from, to) => world.stall(from, to),
  })
  registerCases(test, cases)
  return test
}

suiteFor(true).run()
suiteFor(false).run()

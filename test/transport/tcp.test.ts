/** The TCP transport passes the conformance suite, whichever way its accepted sockets read. */

import { suite } from 'uvu'
import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { transportConformance } from '#balsa/testing/index.js'
import { registerCases } from '../support/register-cases.js'
import { TcpWorld } from './tcp-world.js'

const writeQueueBytesMax = 8 * 2 ** 20

for (const readInPlace of [true, false]) {
  const test = suite(`tcp, accepted sockets ${readInPlace ? 'read in place' : 'are copied'}`)
  registerCases(
    test,
    transportConformance({
      writeQueueBytesMax,
      makeWorld: async () =>
        new TcpWorld(
          (listen) =>
            new TcpTransport({ ...tcpSettings({ listen, writeQueueBytesMax, backoffMinMs: 5 }), readInPlace }),
        ),
      cut: (world, from, to) => world.cut(from, to),
      stall: (world, from, to) => world.stall(from, to),
    }),
  )
  test.run()
}

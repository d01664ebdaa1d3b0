/** The TCP transport passes the conformance suite, whichever way its accepted sockets read. */

import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { registerTransportConformance } from '../conformance/transport.js'
import { TcpWorld } from './tcp-world.js'

const writeQueueBytesMax = 8 * 2 ** 20

for (const readInPlace of [true, false]) {
  registerTransportConformance({
    name: `tcp, accepted sockets ${readInPlace ? 'read in place' : 'are copied'}`,
    writeQueueBytesMax,
    makeWorld: async () =>
      new TcpWorld(
        (listen) => new TcpTransport({ ...tcpSettings({ listen, writeQueueBytesMax, backoffMinMs: 5 }), readInPlace }),
      ),
  })
}

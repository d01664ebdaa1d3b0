/** The TCP transport passes the conformance suite, whichever way its accepted sockets read, and over TLS. */

import { suite } from 'uvu'
import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { nodeSockets } from '#balsa/transport/tcp/sockets.js'
import { tcp, TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { transportConformance } from '#balsa/testing/index.js'
import type { ConformanceCase } from '#balsa/testing/index.js'
import { Authority, noCertificates } from '../../support/certificates.js'
import { registerCases } from '../support/register-cases.js'
import { TcpWorld } from './tcp-world.js'

const options = { writeQueueBytesMax: 8 * 2 ** 20, backoffMinMs: 5 }

function casesOver(make: (listen: string) => TcpTransport): readonly ConformanceCase[] {
  return transportConformance({
    writeQueueBytesMax: options.writeQueueBytesMax,
    makeWorld: async () => new TcpWorld(make),
    cut: (world, from, to) => world.cut(from, to),
    stall: (world, from, to) => world.stall(from, to),
  })
}

const inPlace = suite('tcp, accepted sockets read in place')
registerCases(
  inPlace,
  casesOver((listen) => tcp({ listen, ...options })),
)
inPlace.run()

const copied = suite('tcp, accepted sockets are copied')
registerCases(
  copied,
  casesOver((listen) => {
    const sockets = { ...nodeSockets, takeOver: () => null }
    return new TcpTransport({ ...tcpSettings({ listen, ...options }), sockets })
  }),
)
copied.run()

const encrypted = suite('tcp, over TLS with a token, ids bound to certificates')
const authority = noCertificates === null ? new Authority() : null
/** Of all of them: a case calls one server by two names where it listens twice. */
const issued = authority?.issue({ names: ['a', 'b', 'c', 'left', 'right'].map((id) => `DNS:${id}.test`) })
encrypted.after(() => authority?.close())
registerCases(
  encrypted,
  casesOver((listen) => {
    const tls = { ...issued, ca: authority?.pem ?? '', san: 'DNS:{id}.test' }
    return tcp({ listen, tls, token: 'of all servers in a case', ...options })
  }).map((each) => ({ ...each, skipped: each.skipped ?? noCertificates })),
)
encrypted.run()

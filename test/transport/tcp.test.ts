/** The TCP transport passes the conformance suite, whichever way its accepted sockets read. */

import { suite } from 'uvu'
import { tcpSettings } from '#balsa/transport/tcp/options.js'
import { nodeSockets } from '#balsa/transport/tcp/sockets.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import { transportConformance } from '#balsa/testing/index.js'
import type { ConformanceCase } from '#balsa/testing/index.js'
import { registerCases } from '../support/register-cases.js'
import { TcpWorld } from './tcp-world.js'

const writeQueueBytesMax = 8 * 2 ** 20

function casesFor(readInPlace: boolean): readonly ConformanceCase[] {
  const sockets = readInPlace ? nodeSockets : { ...nodeSockets, takeOver: () => null }
  const make = (listen: string): TcpTransport =>
    new TcpTransport({ ...tcpSettings({ listen, writeQueueBytesMax, backoffMinMs: 5 }), sockets })
  return transportConformance({
    writeQueueBytesMax,
    makeWorld: async () => new TcpWorld(make),
    cut: (world, from, to) => world.cut(from, to),
    stall: (world, from, to) => world.stall(from, to),
  })
}

const inPlace = suite('tcp, accepted sockets read in place')
registerCases(inPlace, casesFor(true))
inPlace.run()

const copied = suite('tcp, accepted sockets are copied')
registerCases(copied, casesFor(false))
copied.run()

/** The transport over gRPC passes the conformance suite of `balsa-raft/testing`, as it stands. */

import { suite } from 'uvu'
import { transportConformance } from 'balsa-raft/testing'
import { registerCases } from '../support/register-cases.js'
import { GrpcWorld } from './grpc-world.js'

const writeQueueBytesMax = 8 * 2 ** 20

const conformance = suite('the transport over gRPC')

registerCases(
  conformance,
  transportConformance({
    writeQueueBytesMax,
    makeWorld: () => GrpcWorld.make({ writeQueueBytesMax }),
    cut: (world, from, to) => world.cut(from, to),
    stall: (world, from, to) => world.stall(from, to),
  }),
)

conformance.run()

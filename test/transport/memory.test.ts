/** The transport in memory: the conformance suite, and what only it can do. */

import { MemoryNetwork } from '#balsa/transport/memory.js'
import { registerTransportConformance, type TransportWorld } from '../conformance/transport.js'
import { MachineClock } from './machine-clock.js'

const WRITE_QUEUE_BYTES_MAX = 8 * 2 ** 20

registerTransportConformance({
  name: 'memory',
  writeQueueBytesMax: WRITE_QUEUE_BYTES_MAX,
  makeWorld: async (): Promise<TransportWorld> => {
    const clock = new MachineClock()
    const network = new MemoryNetwork({ clock, writeQueueBytesMax: WRITE_QUEUE_BYTES_MAX })
    return {
      clock,
      transport: (id) => network.transport(id),
      bound: () => {},
      address: async (_from, to) => to,
      cut: (from, to) => network.cut(from, to),
      stall: (from, to) => network.hold(from, to),
      close: async () => {
        if (clock.pending.size > 0) throw new Error(`${clock.pending.size} timers are left`)
      },
    }
  },
})

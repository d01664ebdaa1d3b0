/** One server alone in its cluster, over a store in memory and a network that nobody else is on. */

import { msgpackCodec, Raft } from 'balsa-raft'
import type { RaftOptions, StateMachine, StoreFactory } from 'balsa-raft'
import { systemClock } from '#balsa/clock.js'
import { memoryStore } from '#balsa/storage/memory/memory-log-store.js'
import { MemoryNetwork } from '#balsa/transport/memory/index.js'

export type AnyMachine = StateMachine<unknown, unknown, unknown, unknown>
export type AnyRaft = Raft<unknown, unknown, unknown, unknown>

/** Not ready yet. With the store of another one it starts where that has ended. */
export function openSingle(
  stateMachine: AnyMachine,
  storage: StoreFactory = memoryStore(),
  more: Partial<RaftOptions<unknown, unknown, unknown, unknown>> = {},
): Promise<AnyRaft> {
  return Raft.open<unknown, unknown, unknown, unknown>({
    id: 's1',
    dir: '/s1',
    bootstrap: [{ id: 's1', address: 'a1' }],
    transport: new MemoryNetwork({ clock: systemClock() }).transport('a1'),
    storage,
    stateMachine,
    codec: msgpackCodec(),
    ...more,
  })
}

/** Runs one simulated world and writes down what its servers did and what its clients saw. */

import { RecordCursor } from '#balsa/format/block.js'
import { simCodec } from '#balsa/testing/simulator/doubles/sim-machine.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { SimulateResult } from '#balsa/testing/simulator/simulate.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import type { Block } from '#balsa/types.js'
import type { ClientEvent } from '../../linearizability/clients.js'
import type { Trace, TraceEvent } from '../trace-format.js'
import { INTERNAL } from './convert.js'
import type { HashesOf } from './convert.js'
import { ServerRecorder } from './servers.js'

export interface WorldRecord {
  readonly trace: Trace
  readonly calls: readonly ClientEvent[]
  readonly result: SimulateResult
}

export async function recordWorld(seed: number, steps: number): Promise<WorldRecord> {
  const trace: TraceEvent[] = []
  const calls: ClientEvent[] = []
  const drawn = drawPlan(seed)
  // To the referee a trace is of one cluster, and in a history a command is sent once.
  const plan = { ...drawn, losesQuorumAt: null, clients: { ...drawn.clients, sessions: 0, outside: 0 } }
  const voters = Array.from({ length: plan.servers }, (_, at) => `s${at + 1}`)
  const recorder = new ServerRecorder({ voters, outgoing: null }, hashesByBlock(), (event) => trace.push(event))
  const clients: WorldObserver = {
    invoked: (call) => void calls.push({ event: 'invoked', ...call }),
    returned: ({ id }, { status, value }) => void calls.push({ event: 'returned', id, status, value }),
  }
  const result = await simulate({ seed, steps, plan, observers: [recorder, clients] })
  return { trace, calls, result }
}

/** A command is called by its id. Each block is read once, however often it is told of. */
function hashesByBlock(): HashesOf {
  const cursor = new RecordCursor()
  const known = new WeakMap<Block, readonly string[]>()
  return (block) => {
    const before = known.get(block)
    if (before !== undefined) return before
    const hashes: string[] = []
    cursor.reset(block)
    while (cursor.next()) {
      hashes.push(cursor.kind === 'command' ? String(simCodec.decode(cursor.payload).id) : INTERNAL)
    }
    known.set(block, hashes)
    return hashes
  }
}

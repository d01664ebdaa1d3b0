/** Runs one simulated world and writes down what its servers did and what its clients saw. */

import type { Observer } from '#balsa/testing/simulator/observer.js'
import { simCodec } from '#balsa/testing/simulator/doubles/sim-machine.js'
import { simulate } from '#balsa/testing/simulator/simulate.js'
import type { SimulateResult } from '#balsa/testing/simulator/simulate.js'
import { drawPlan } from '#balsa/testing/simulator/swarm.js'
import type { ClientEvent } from '../../linearizability/clients.js'
import type { Trace, TraceEvent } from '../trace-format.js'
import { SimulationRecorder } from './simulation.js'

export interface WorldRecord {
  readonly trace: Trace
  readonly calls: readonly ClientEvent[]
  readonly result: SimulateResult
}

export async function recordWorld(seed: number, steps: number): Promise<WorldRecord> {
  const trace: TraceEvent[] = []
  const calls: ClientEvent[] = []
  const plan = drawPlan(seed)
  const voters = Array.from({ length: plan.servers }, (_, at) => `s${at + 1}`)
  const nameOf = (payload: Uint8Array): string => String(simCodec.decode(payload).id)
  const recorder = new SimulationRecorder(voters, nameOf, (event) => trace.push(event))
  const clients: Observer = {
    invoked: (call) => void calls.push({ event: 'invoked', ...call }),
    returned: ({ id }, { status, value }) => void calls.push({ event: 'returned', id, status, value }),
  }
  const result = await simulate({ seed, steps, plan, observers: [recorder, clients] })
  return { trace, calls, result }
}

/** What one seed decides about its world before it begins: sizes, speeds, what clients do, what goes wrong how often. */

import type { FaultName } from './fault-names.js'
import type { DiskPlan } from './sim-disk.js'
import type { Chaos, NetworkPlan } from './sim-network.js'

export interface ClientPlan {
  readonly count: number
  /** Between the end of a call and the next one. */
  readonly thinkMs: number
  readonly keys: number
  /** What is asked for how often; weights. */
  readonly weights: Readonly<Record<'write' | 'writes' | 'read' | 'barrier', number>>
  readonly paddingMax: number
  /** How many of the calls have a deadline, 0 .. 1. */
  readonly deadlines: number
}

export interface Plan {
  readonly seed: number
  readonly servers: number
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  /** From the wish for a turn to the turn. */
  readonly turnMs: number
  readonly network: NetworkPlan
  readonly chaos: Readonly<Chaos>
  readonly disk: DiskPlan
  readonly clients: ClientPlan
  /** Between two faults, on average. */
  readonly faultEveryMs: number
  /** Between the end of a process and the next one. */
  readonly restartMs: number
  readonly faults: Readonly<Partial<Record<FaultName, number>>>
}

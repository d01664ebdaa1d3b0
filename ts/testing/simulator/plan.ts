/**
 * What one seed decides about its world before it begins: sizes, speeds, what clients do, what goes wrong how often.
 */

import type { SnapshotOptions } from '../../options.js'
import type { FaultName } from './faults/fault-names.js'
import type { DiskPlan } from './doubles/sim-disk.js'
import type { Chaos, NetworkPlan } from './doubles/sim-network.js'

export interface ClientPlan {
  readonly count: number
  /** Between the end of a call and the next one. */
  readonly thinkMs: number
  /** From a refusal to the next call, so that a world without a leader is not all questions. */
  readonly refusedMs: number
  readonly keys: number
  /** What is asked for how often; weights. Half of `barrier` ask for something else that writes nothing. */
  readonly weights: Readonly<Record<'write' | 'writes' | 'read' | 'barrier', number>>
  /** How many of the writes and reads are such as every server takes, 0 .. 1. */
  readonly anywhere: number
  /** How many of the reads are by lease, 0 .. 1. Above 0 there are leases, and no clock is fast by more than 5 %. */
  readonly leases: number
  readonly paddingMax: number
  /** How many of the calls have a deadline, 0 .. 1, and how late it is at most. */
  readonly deadlines: number
  readonly deadlineMs: number
  /** How many of the calls have a signal, 0 .. 1; it is aborted after half of `deadlineMs`, on average. */
  readonly signals: number
  /** How many clients there are besides that have sessions. */
  readonly sessions: number
  /** How many there are besides outside, that speak through a `RaftClient`, with sessions and without. */
  readonly outside: number
}

export interface Plan {
  readonly seed: number
  readonly servers: number
  readonly electionTimeoutMs: number
  readonly heartbeatMs: number
  /** From the wish for a turn to the turn. */
  readonly turnMs: number
  /** How long the state machine takes for a batch; 0: it answers at once. */
  readonly applyMs: number
  readonly network: NetworkPlan
  readonly chaos: Readonly<Chaos>
  readonly disk: DiskPlan
  /** When snapshots are taken; false: never. */
  readonly snapshots: SnapshotOptions | false
  /** What the state machine's snapshots are longer than they need to be, so that they take their time on the way. */
  readonly stateBytes: number
  readonly clients: ClientPlan
  /** Between two faults, on average. */
  readonly faultEveryMs: number
  /** How long a fault lasts, on average. */
  readonly spellMs: number
  /** Between the end of a process and the next one. */
  readonly restartMs: number
  readonly faults: Readonly<Partial<Record<FaultName, number>>>
  /** After which share of the steps of the first phase the quorum is lost for good, 0 .. 1; null: never. */
  readonly losesQuorumAt: number | null
}

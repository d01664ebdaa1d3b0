/** What `Raft.open` takes. */

import type { Codec, StateMachine } from './fsm/state-machine.js'
import type { StoreFactory } from './storage/log-store.js'
import type { Transport } from './transport/transport.js'
import type { Clock, Logger, Server, ServerId } from './types.js'

export interface RaftOptions<Command, Result, Query = never, Answer = never> {
  readonly id: ServerId
  /** The folder of this server's log; made when missing. */
  readonly dir: string
  readonly transport: Transport
  /** The first members; the same list, in any order, on every one of them, at every start. Ignored once there is state that agrees. */
  readonly bootstrap: readonly Server[]
  /** Names the cluster; part of its identity. Default 'balsa'. */
  readonly cluster?: string
  readonly stateMachine: StateMachine<Command, Result, Query, Answer>
  readonly codec: Codec<Command>
  /** Default `nativeStore()`. */
  readonly storage?: StoreFactory
  /** Default: says nothing. */
  readonly logger?: Logger
  /** 10 .. 60000, default 100. `heartbeatMs * 3 <= electionTimeoutMs`. */
  readonly heartbeatMs?: number
  /** Timeouts are drawn from this up to twice this. 30 .. 600000, default 1000. */
  readonly electionTimeoutMs?: number
  /** Default: the machine's clocks and timers. */
  readonly clock?: Clock
  /** Default `Math.random`. */
  readonly random?: () => number
}

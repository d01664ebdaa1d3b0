/**
 * What runs on the servers of a world instead of the registers, for clients of its own: a service that is tested whole.
 * Its commands travel as those of the registers do, its own in `inner`; its state machine tells the world what it
 * applied, with a hash of its content, which must be equal at equal indexes.
 */

import type { StateMachine } from '../../../machine/state-machine.js'
import type { ServerId } from '../../../types.js'
import type { SimClock } from './sim-clock.js'
import type { MachineUser, SimAnswer, SimCommand } from './sim-machine.js'
import type { SimProcess } from './sim-process.js'

/** What stays when processes come and go. */
export interface HostingServer {
  readonly id: ServerId
  readonly clock: SimClock
}

/** Makes the empty one of a process that begins. `process` is known once it has begun. */
export type HostedMachine = (
  server: HostingServer,
  process: () => SimProcess,
  user: MachineUser,
) => StateMachine<SimCommand, SimAnswer, number, SimAnswer>

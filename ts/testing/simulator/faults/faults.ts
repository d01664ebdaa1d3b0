/**
 * The menu: what can go wrong, by name. A feature of the core that brings faults of its own adds a file and a line
 * here.
 */

import { clockFaults } from './clock-faults.js'
import { diskFaults } from './disk-faults.js'
import { electionFaults } from './election-faults.js'
import type { Fault } from './fault.js'
import type { FaultName } from './fault-names.js'
import { membershipFaults } from './membership-faults.js'
import { leadershipFaults } from './leadership-faults.js'
import { leaseFaults } from './lease-faults.js'
import { loadFaults } from './load-faults.js'
import { networkFaults } from './network-faults.js'
import { processFaults } from './process-faults.js'
import { snapshotFaults } from './snapshot-faults.js'

export const faults: Readonly<Record<FaultName, Fault>> = {
  ...processFaults,
  ...networkFaults,
  ...electionFaults,
  ...diskFaults,
  ...clockFaults,
  ...loadFaults,
  ...membershipFaults,
  ...snapshotFaults,
  ...leadershipFaults,
  ...leaseFaults,
}

/**
 * The one set of invariants that hold of servers, on the stage and in the simulator, in the order in which they are
 * asked.
 */

import type { Observer, ServerView } from '../observer.js'
import { ConfigurationInvariants } from './configuration-invariants.js'
import { ElectionInvariants } from './election-invariants.js'
import { LogInvariants } from './log-invariants.js'
import { ServerInvariants } from './server-invariants.js'
import type { Truth } from './truth.js'

export function invariantsOf(truth: Truth, servers: () => Iterable<ServerView>): readonly Observer[] {
  const log = new LogInvariants(truth, servers)
  return [new ServerInvariants(truth), new ElectionInvariants(truth), new ConfigurationInvariants(), log]
}

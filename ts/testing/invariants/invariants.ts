/**
 * The one set of invariants that hold of servers, on the stage and in the simulator, in the order in which they are
 * asked.
 */

import type { Observer, ServerView } from '../observer.js'
import { ElectionInvariants } from './election-invariants.js'
import { LogInvariants } from './log-invariants.js'
import { ServerInvariants } from './server-invariants.js'
import type { Truth } from './truth.js'

export function invariantsOf(truth: Truth, servers: () => Iterable<ServerView>): readonly Observer[] {
  return [new ServerInvariants(truth), new ElectionInvariants(truth), new LogInvariants(truth, servers)]
}

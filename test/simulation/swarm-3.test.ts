/** Part 3 of 3 of the swarm: random worlds for twelve seconds, each with faults of its own, all invariants on. */

import { test } from 'uvu'
import { runBatch } from './swarm-batch.js'

test('no world of the swarm breaks an invariant or fails to recover (part 3)', () => runBatch(3, 3, 12))

test.run()

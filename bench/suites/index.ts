/** The suites, in the order in which they run. */

import type { Suite } from '../suite.js'
import { apply } from './apply.js'
import { catchUp } from './catch-up.js'
import { core } from './core.js'
import { failover } from './failover.js'
import { kvSnapshot } from './kv-snapshot.js'
import { hashicorp } from './hashicorp.js'
import { read } from './read.js'
import { redis } from './redis.js'
import { restart } from './restart.js'
import { rolling } from './rolling.js'
import { sim } from './sim.js'
import { soak } from './soak.js'
import { store } from './store.js'
import { submit } from './submit.js'
import { tls } from './tls.js'

export const suites: readonly Suite[] = [
  core,
  store,
  apply,
  submit,
  tls,
  hashicorp,
  read,
  failover,
  rolling,
  restart,
  redis,
  kvSnapshot,
  catchUp,
  sim,
  soak,
]

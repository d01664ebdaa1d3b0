/** The suites, in the order in which they run. */

import type { Suite } from '../suite.js'
import { apply } from './apply.js'
import { read } from './read.js'

export const suites: readonly Suite[] = [apply, read]

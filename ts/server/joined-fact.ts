/** What a folder knows of how its server came into the cluster: added, or as one of the first members. */

import type { StoreOperation } from '../types.js'

const JOINED_FACT = 'joined'

/** Whether it was added (core/electorate.ts says what follows). */
export function hasJoined(facts: ReadonlyMap<string, Uint8Array>): boolean {
  return facts.has(JOINED_FACT)
}

/** What makes a folder know it, for good. */
export function joinedFact(): StoreOperation {
  return { type: 'put', key: JOINED_FACT, value: new TextEncoder().encode('1') }
}

/** A majority of each half of a configuration, counted by hand: nothing of this is shared with the core. */

import type { Configuration, Server, ServerId } from '../../types.js'

export function isQuorum({ voters, outgoing }: Configuration, has: (id: ServerId) => boolean): boolean {
  return isMajority(voters, has) && (outgoing === null || isMajority(outgoing, has))
}

function isMajority(voters: readonly Server[], has: (id: ServerId) => boolean): boolean {
  return voters.filter(({ id }) => has(id)).length * 2 > voters.length
}

/**
 * Quorums: the one place that knows what a majority is. Election, pre-vote, commit, ReadIndex and check-quorum all ask
 * `quorumValue`, so a joint configuration (thesis 4.3) holds in all of them or in none.
 */

import type { Configuration, Server, ServerId } from '../types.js'

/** Whether the server counts for quorum, in either half. */
export function isVoter(configuration: Configuration, id: ServerId): boolean {
  const { voters, outgoing } = configuration
  return contains(voters, id) || (outgoing !== null && contains(outgoing, id))
}

/** Every server of the configuration, once each: in a joint one, as the voters that come in have it. */
export function membersOf({ voters, outgoing, nonvoters }: Configuration): readonly Server[] {
  const members = new Map<ServerId, Server>()
  // A later list has the word on the address of a server that stands in two.
  for (const server of [...(outgoing ?? []), ...nonvoters, ...voters]) members.set(server.id, server)
  return [...members.values()]
}

/** Every server of these configurations, once each, as the last one that has it says it. */
export function membersOfAll(configurations: readonly Configuration[]): readonly Server[] {
  const members = new Map<ServerId, Server>()
  for (const configuration of configurations) {
    for (const server of membersOf(configuration)) members.set(server.id, server)
  }
  return [...members.values()]
}

/** Every server of the configuration but this one, once each. */
export function peersOf(configuration: Configuration, self: ServerId): readonly Server[] {
  return membersOf(configuration).filter(({ id }) => id !== self)
}

/**
 * The highest value that a quorum has reached: at least a majority of each half has `valueOf(id) >= result`.
 * A server that has reached nothing counts as 0, which is also the answer of a configuration without voters.
 */
export function quorumValue(configuration: Configuration, valueOf: (id: ServerId) => number): number {
  const incoming = majorityValue(configuration.voters, valueOf)
  if (configuration.outgoing === null) return incoming
  return Math.min(incoming, majorityValue(configuration.outgoing, valueOf))
}

/** Whether the set holds a quorum. */
export function hasQuorum(configuration: Configuration, set: ReadonlySet<ServerId>): boolean {
  return quorumValue(configuration, (id) => (set.has(id) ? 1 : 0)) === 1
}

// Hot path: some times per turn of a leader.
function majorityValue(voters: readonly Server[], valueOf: (id: ServerId) => number): number {
  // Sorted as they come, which is faster than `sort` for the few that there are.
  const values: number[] = []
  for (const { id } of voters) {
    const value = valueOf(id)
    let at = values.length
    for (; at > 0; at -= 1) {
      const before = values[at - 1] ?? 0
      if (before >= value) break
      values[at] = before
    }
    values[at] = value
  }
  // Descending: the value at position floor(n / 2) is reached by floor(n / 2) + 1 voters, a strict majority.
  return values[values.length >> 1] ?? 0
}

function contains(servers: readonly Server[], id: ServerId): boolean {
  for (const server of servers) if (server.id === id) return true
  return false
}

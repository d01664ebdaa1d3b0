/**
 * Why one server will not talk to another: said to the other side before the connection ends, so that both logs say
 * why.
 */

import type { RaftError, RaftErrorCode } from '../errors.js'
import type { Identity, ServerId } from '../types.js'
import { CHANNELS_MAX } from './channel.js'

/** Why a peer is not talked to, as it is told over the wire. */
export interface Refusal {
  /**
   * A RaftErrorCode, or one of the transport's own words: PROTOCOL, UNKNOWN_FEATURE, WRONG_SERVER, MALFORMED, REJECTED,
   * REPLACED, HANDSHAKE_TIMEOUT, NO_ANSWER.
   */
  readonly code: string
  readonly reason: string
}

/** With this code a peer asks to be shown an earlier boot, which its own introduction names (docs/wire-format.md). */
export const BOOT_UNPROVEN: RaftErrorCode = 'ERR_RAFT_BOOT_UNPROVEN'
/** A refusal that ended a connection. */
export interface ConnectionRefusal extends Refusal {
  /** Who refuses whom: this server the peer, or the peer this server. */
  readonly by: 'self' | 'peer'
  /** Which side dialled the connection: this server, or the peer. */
  readonly dialledBy: 'self' | 'peer'
}

/**
 * Whether a refusal says something of the peer, and not only of one connection that came too late or took too long.
 */
export const isOfThePeer = ({ code }: Refusal): boolean => code !== 'REPLACED' && code !== 'HANDSHAKE_TIMEOUT'

/** Why a server ends its connections: true for both sides, as it is said to both. */
export const serverCloses = (self: ServerId): string => `server ${self} closes`

/** Why a server ends the connection to a peer that it no longer has, or that it now has at another address. */
export const peerChanged = (self: ServerId, peer: ServerId, address: string | undefined): string =>
  address === undefined ? `${peer} is no longer a peer of server ${self}` : `the address of ${peer} is now ${address}`

/** Why a server dials nobody of that name for a channel. */
export const notAPeer = (self: ServerId, peer: ServerId): string => `${peer} is not a peer of server ${self}`

/** Why a server opens no further channel to a peer, and why it ends the oldest that the peer has opened. */
export const tooManyChannels = (dialler: ServerId, acceptor: ServerId): string =>
  `server ${dialler} has more than ${CHANNELS_MAX} channels to ${acceptor}: close one before another is opened`

/** Why a channel ends at once that nobody waits for. */
export const takesNoChannels = (self: ServerId): string => `server ${self} takes no channels`

/** Why a client is not served. */
export const takesNoClients = (self: ServerId): Refusal => ({
  code: 'ERR_RAFT_CLIENT_REFUSED',
  reason: `server ${self} takes no clients: open it with the option clients, or ask another server`,
})

/** Why a side is not believed: what is wrong with its certificate or its token, and what helps. */
export const unauthenticated = (reason: string): Refusal & { readonly code: RaftErrorCode } => ({
  code: 'ERR_RAFT_UNAUTHENTICATED',
  reason,
})

/** Why a question has no answer. */
export const NO_ANSWER: Refusal = { code: 'NO_ANSWER', reason: 'this server has no answer to that question' }

/** With what a connection ends whose peer has said goodbye. */
export const closedByPeer = (reason: string): string => `closed by the peer: ${reason}`

/** With what a connection ends whose peer has said a refusal. */
export const refusedByPeer = ({ code, reason }: Refusal): string => `refused by the peer (${code}): ${reason}`

/** A boot of a store, as it is told or was written down. */
export interface StoreBoot {
  readonly incarnation: string
  readonly bootCounter: number
  /** Null when it was written before boots had nonces. */
  readonly bootNonce: string | null
}

/** Whether two stores are one, in one boot. */
export const isSameBoot = (a: StoreBoot, b: StoreBoot): boolean =>
  a.incarnation === b.incarnation && a.bootCounter === b.bootCounter && a.bootNonce === b.bootNonce

/** An error as a peer is told of it. */
export const refusalOf = (error: RaftError): Refusal => ({ code: error.code, reason: error.message })

/**
 * Whether two servers may go on to `admit`. `meant` is whom the peer says it wants to talk to; `dialled` is whom this
 * server dialled, or null on a connection that it accepted.
 */
export function identityRefusal(
  self: Identity,
  peer: Identity,
  meant: ServerId,
  dialled: ServerId | null,
): Refusal | null {
  if (peer.clusterId !== self.clusterId) return clusterRefusal(self, peer)
  if (dialled !== null && peer.serverId !== dialled) {
    return wrongServer(`server ${self.serverId} dialled ${dialled}, but ${peer.serverId} answered`)
  }
  if (meant !== self.serverId) {
    return wrongServer(`server ${peer.serverId} looks for ${meant}, but this is ${self.serverId}`)
  }
  if (peer.serverId === self.serverId) {
    return wrongServer(`both sides call themselves ${self.serverId}; ids must be unique`)
  }
  return null
}

/** Why servers of two clusters do not talk; a cluster that was recovered from a lost quorum is another one since. */
export function clusterRefusal(
  self: Identity,
  peer: Identity,
): { readonly code: RaftErrorCode; readonly reason: string } {
  const clusters = `server ${peer.serverId} belongs to cluster ${peer.clusterId}, server ${self.serverId} to cluster ${self.clusterId}`
  if (self.formerClusterIds?.includes(peer.clusterId) === true) {
    const reason =
      `${clusters}: the cluster was recovered from a lost quorum, and ${peer.serverId} took no part in it. What it has is ` +
      `no part of the cluster, and its votes and entries count for nothing. Stop it, keep its folder aside, and start it ` +
      `in an empty one with the options join: true and recoveries, as status.recoveries of server ${self.serverId} tells; ` +
      'then add it (addVoter)'
    return { code: 'ERR_RAFT_CLUSTER_RECOVERED', reason }
  }
  const reason =
    `${clusters}; give both the same cluster name and bootstrap list, or correct the address. Where one of them was ` +
    'recovered from a lost quorum, the other comes back with an empty folder'
  return { code: 'ERR_RAFT_CLUSTER_MISMATCH', reason }
}

function wrongServer(what: string): Refusal {
  return { code: 'WRONG_SERVER', reason: `${what}; correct the address of that server` }
}

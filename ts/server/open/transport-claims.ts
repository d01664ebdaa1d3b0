/**
 * Which transport serves which server. One is for one at a time: a second server would take the first one's peers, and
 * would end its connections when it cannot open.
 */

import { optionsError } from '../../option-checks.js'
import type { Transport } from '../../transport/transport.js'
import type { ServerId } from '../../types.js'

/** From the claim until the server has ended, or its open has failed. */
const holders = new WeakMap<Transport, ServerId>()

/** Throws ERR_RAFT_OPTIONS while another server has it. */
export function claimTransport(transport: Transport, id: ServerId): void {
  const holder = holders.get(transport)
  if (holder !== undefined) throw optionsError(`this transport already serves server ${holder}: make one for each`)
  holders.set(transport, id)
}

export function releaseTransport(transport: Transport): void {
  holders.delete(transport)
}

/** CLUSTER: the leader is the one master of all slots, the other servers are its replicas. */

import { keySlot, SLOT_COUNT } from '../cluster/slots.js'
import type { HostPort, KnownMember } from '../cluster/members.js'
import { countKeysInSlotWalk } from '../data-set/key-walk.js'
import { status, textBytes, type Reply } from '../resp/reply.js'
import type { LocalContext, ServerState, Subcommand, Subcommands } from './local-command.js'

export const clusterSubcommands: Subcommands = new Map<string, Subcommand>([
  ['slots', { arity: 2, isWide: true, run: slots }],
  ['shards', { arity: 2, isWide: true, run: shards }],
  ['nodes', { arity: 2, isWide: true, run: nodes }],
  ['info', { arity: 2, isWide: true, run: clusterInfo }],
  ['myid', { arity: 2, run: ({ server }) => server.leadership.self.nodeId }],
  ['keyslot', { arity: 3, run: (_context, words) => keySlot(words[2] ?? '') }],
  // There is no index by slot, since all slots live in one place.
  ['countkeysinslot', { arity: 3, walkOf: countKeysInSlotWalk }],
  ['help', { arity: 2, run: () => help }],
])

const help: Reply = [
  'CLUSTER <subcommand>. Subcommands are:',
  'COUNTKEYSINSLOT, HELP, INFO, KEYSLOT, MYID, NODES, SHARDS, SLOTS',
].map(status)

/** The owner of the slots first. */
function ownerFirst({ leadership }: ServerState): readonly KnownMember[] {
  const { owner } = leadership
  return [owner, ...leadership.members.filter((member) => member !== owner)]
}

/** Where clients find a server; Redis says ? where it does not know. */
const addressOf = ({ redis }: KnownMember): HostPort => redis ?? { host: '?', port: 0 }

/**
 * Clients read from any replica that stands here: those that cannot be reached are left out, as in Redis, and those of
 * which nobody has said where.
 */
function slots({ server }: LocalContext): Reply {
  const { owner } = server.leadership
  const isListed = (member: KnownMember): boolean => member.redis !== null && isConnected(server, member)
  const servers = ownerFirst(server).filter((member) => member === owner || isListed(member))
  const rows = servers.map((member): Reply => {
    const { host, port } = addressOf(member)
    return [textBytes(host), port, member.nodeId, []]
  })
  return [[0, SLOT_COUNT - 1, ...rows]]
}

function shards({ server }: LocalContext): Reply {
  const { leadership } = server
  const servers = ownerFirst(server).map((member): Reply => {
    const { host, port } = addressOf(member)
    return {
      type: 'map',
      pairs: [
        ['id', member.nodeId],
        ['port', port],
        ['ip', textBytes(host)],
        ['endpoint', textBytes(host)],
        ['role', member === leadership.owner ? 'master' : 'replica'],
        ['replication-offset', offsetOf(server, member)],
        ['health', isConnected(server, member) ? 'online' : 'fail'],
      ],
    }
  })
  return [
    {
      type: 'map',
      pairs: [
        ['slots', [0, SLOT_COUNT - 1]],
        ['nodes', servers],
      ],
    },
  ]
}

function nodes({ server }: LocalContext): Reply {
  const { leadership, status } = server
  const { members, self } = leadership
  // Clients look for themselves here, also at a server that is no member yet, or any longer.
  const rows = members.includes(self) ? members : [...members, self]
  const lines = rows.map((member) => {
    const owns = member === leadership.owner
    const isThere = isConnected(server, member)
    const flags = `${member === leadership.self ? 'myself,' : ''}${owns ? 'master' : 'slave'}${isThere ? '' : ',fail'}${member.redis === null ? ',noaddr' : ''}`
    const master = owns ? '-' : leadership.owner.nodeId
    const link = isThere ? 'connected' : 'disconnected'
    const { host, port } = addressOf(member)
    const address = `${host}:${port}@${member.peer.port}`
    return `${member.nodeId} ${address} ${flags} ${master} 0 0 ${status.term} ${link}${owns ? ` 0-${SLOT_COUNT - 1}` : ''}\n`
  })
  return { type: 'verbatim', text: textBytes(lines.join('')) }
}

function clusterInfo({ server }: LocalContext): Reply {
  const { leadership, status } = server
  const lines = [
    `cluster_state:${leadership.leader === null ? 'fail' : 'ok'}`,
    `cluster_slots_assigned:${SLOT_COUNT}`,
    `cluster_slots_ok:${leadership.leader === null ? 0 : SLOT_COUNT}`,
    'cluster_slots_pfail:0',
    `cluster_slots_fail:${leadership.leader === null ? SLOT_COUNT : 0}`,
    `cluster_known_nodes:${leadership.members.length}`,
    'cluster_size:1',
    `cluster_current_epoch:${status.term}`,
    `cluster_my_epoch:${status.term}`,
  ]
  return { type: 'verbatim', text: lines.map((line) => `${line}\r\n`).join('') }
}

function isConnected({ leadership, status }: ServerState, member: KnownMember): boolean {
  return member === leadership.self || status.peers.some((peer) => peer.id === member.id && peer.connected)
}

/** How far a server's log is known to reach. */
function offsetOf({ leadership, status }: ServerState, member: KnownMember): number {
  if (member === leadership.self) return status.lastIndex
  return status.peers.find((peer) => peer.id === member.id)?.matchIndex ?? 0
}

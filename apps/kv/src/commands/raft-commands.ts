/**
 * RAFT: the cluster as its operators see it. In RESP3 answers are maps, in RESP2 lists of label and value, which
 * redis-cli shows line by line.
 */

import type { Status } from 'balsa-raft'
import { formatIfKnown } from '../cluster/members.js'
import { status, type Reply } from '../resp/reply.js'
import type { LocalContext, ServerState, Subcommand, Subcommands } from './local-command.js'
import { joinRows } from './join-rows.js'
import { beginRaftCall, raftCalls } from './raft-calls.js'
import { inOwnWords } from './remedies.js'
import { table } from './table.js'
import { lastIndex } from './wait-command.js'

export const raftSubcommands: Subcommands = new Map<string, Subcommand>([
  ['status', { arity: 2, isWide: true, run: raftStatus }],
  ['members', { arity: 2, isWide: true, run: raftMembers }],
  ['help', { arity: 2, run: help }],
  ['index', { arity: 2, call: lastIndex }],
  // Each says by itself what it takes.
  ...[...raftCalls.keys()].map((name) => [name, { arity: -2, call: beginRaftCall }] as const),
])

function help({ server }: LocalContext): Reply {
  const calls = [...raftCalls].filter(([, { needs }]) => server.cluster[needs] !== undefined)
  return [
    'RAFT <subcommand>. Subcommands are:',
    'HELP: this text',
    'INDEX: where in the log the last write of this connection stands, or before; for READONLY MININDEX',
    'MEMBERS: the servers of the cluster, as this one knows them',
    'STATUS: how this server stands in the cluster',
    ...calls.map(([name, { usage, purpose }]) => `${name.toUpperCase()}${usage === '' ? '' : ` ${usage}`}: ${purpose}`),
  ].map(status)
}

/** How this server stands. Indexes are those of the log; 0 stands for none. */
function raftStatus({ server }: LocalContext): Reply {
  const { status: raft, leadership } = server
  const { leader } = leadership
  return table([
    ['id', raft.id],
    ['role', raft.role],
    ['term', raft.term],
    ['leader', leader?.id ?? null],
    ['leader-redis', formatIfKnown(leader?.redis)],
    ['cluster-id', raft.clusterId],
    ['first-index', raft.firstIndex],
    ['last-index', raft.lastIndex],
    ['durable-index', raft.durableIndex],
    ['commit-index', raft.commitIndex],
    ['applied-index', raft.appliedIndex],
    // What IFINDEX of a change is compared with.
    ['configuration-index', raft.configurationIndex],
    ['configuration-committed', raft.configurationIsCommitted ? 1 : 0],
    ['lease-ms', raft.configuration.leaseMs ?? 0],
    ['snapshot-index', raft.snapshot.last?.index ?? 0],
    ['snapshot-unavailable', raft.snapshot.unavailable],
    ...joinRows(raft.join, server.now()),
    ['durability', raft.durability],
    ['log-bytes', raft.store.usedBytes],
    ['forwards', leadership.forwards ? 1 : 0],
    ['loading', server.data.isRestoring ? 1 : 0],
    ['fault', raft.fault === null ? null : inOwnWords(raft.fault.message)],
  ])
}

/** Voters first. While a configuration is being changed in two steps, `leaving` are those of the first alone. */
function raftMembers({ server }: LocalContext): Reply {
  const { voters, outgoing, nonvoters } = server.status.configuration
  const stays = new Set(voters.map(({ id }) => id))
  const leaving = (outgoing ?? []).filter(({ id }) => !stays.has(id))
  return [
    ...voters.map((member) => memberRow(server, member, 'voter')),
    ...leaving.map((member) => memberRow(server, member, 'leaving')),
    ...nonvoters.map((member) => memberRow(server, member, 'nonvoter', member.promote)),
  ]
}

type Voters = Status['configuration']['voters']

type Kind = 'voter' | 'leaving' | 'nonvoter'

/** `promotes`: it will be a voter as soon as it has caught up. */
function memberRow(
  { status: raft, leadership }: ServerState,
  { id, address }: Voters[number],
  kind: Kind,
  promotes = false,
): Reply {
  const peer = raft.peers.find((one) => one.id === id)
  const member = leadership.members.find((one) => one.id === id)
  const isSelf = id === raft.id
  const refusal = peer?.refusal ?? null
  const reason = refusal === null ? (peer?.downReason ?? null) : `${refusal.code} ${inOwnWords(refusal.reason)}`
  return table([
    ['id', id],
    ['kind', kind],
    ['promote', promotes ? 1 : 0],
    ['leads', leadership.leader?.id === id ? 1 : 0],
    ['peer', address],
    ['redis', formatIfKnown(member?.redis)],
    ['connected', isSelf || peer?.connected === true ? 1 : 0],
    // As the leader knows it.
    ['match-index', isSelf ? raft.durableIndex : (peer?.matchIndex ?? 0)],
    ['reason', isSelf ? null : reason],
  ])
}

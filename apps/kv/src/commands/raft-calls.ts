/**
 * The part of RAFT that changes something: each subcommand is one call of the library, made by the server that was
 * asked, outside of the log. Those for the leader are answered MOVED elsewhere.
 */

import { describedMembers, formatAddress, readAddress } from '../cluster/members.js'
import { CLUSTER_CALL_MS } from '../limits.js'
import { failure, quote, type ErrorReply, type Reply } from '../resp/reply.js'
import { parseInteger } from '../data-set/integer.js'
import type { ChangeOptions, ClusterCalls, ConfigurationAnswer, NewServer } from '../server/kv-raft.js'
import type { LocalContext, ServerState } from './local-command.js'
import { table } from './table.js'

export interface RaftCall {
  readonly arity: number
  readonly usage: string
  readonly purpose: string
  /** The call of the library behind it; without that there is no such subcommand. */
  readonly needs: keyof ClusterCalls
  readonly begin: (calls: ClusterCalls, words: readonly string[], server: ServerState) => Promise<Reply> | ErrorReply
}

/** What every change takes behind its own words. */
export const CHANGE_USAGE = '[IFINDEX index] [FORCE]'
const DESCRIBING_USAGE = `id peer-host:port client-host:port ${CHANGE_USAGE}`

export const raftCalls: ReadonlyMap<string, RaftCall> = new Map<string, RaftCall>([
  ['add', adding('addVoter', 'a server that will vote as soon as it has caught up')],
  ['add-nonvoter', adding('addNonvoter', 'a server without a vote')],
  ['promote', changing('promote', 'a vote for a server that has none, as soon as it has caught up')],
  ['demote', changing('demoteVoter', 'no vote any more for a server, which stays')],
  ['remove', changing('removeServer', 'a server leaves the cluster')],
  ['update', updating()],
  ['replace', replacing()],
  [
    'transfer',
    { arity: -2, usage: '[id]', purpose: 'another server leads', needs: 'transferLeadership', begin: transfer },
  ],
  ['lease', leasing()],
  ['snapshot', { arity: 2, usage: '', purpose: 'a snapshot of this server, now', needs: 'snapshot', begin: snapshot }],
])

/** Begins a call, or says why not. */
export function beginRaftCall({ server }: LocalContext, words: readonly string[]): Promise<Reply> | ErrorReply {
  const call = raftCalls.get((words[1] ?? '').toLowerCase())
  if (call === undefined || server.cluster[call.needs] === undefined) {
    return failure(`ERR unknown subcommand '${quote(words[1] ?? '')}'. Try RAFT HELP.`)
  }
  const fits = call.arity > 0 ? words.length === call.arity : words.length >= -call.arity
  // What it needs is there, and it touches nothing else.
  return fits ? call.begin(server.cluster as ClusterCalls, words, server) : usageOf(words)
}

/** What to type instead. Invariant: the second word names a call. */
function usageOf(words: readonly string[]): ErrorReply {
  const name = (words[1] ?? '').toLowerCase()
  const usage = raftCalls.get(name)?.usage ?? ''
  return failure(`ERR RAFT ${name.toUpperCase()} takes ${usage === '' ? 'nothing more' : usage}`)
}

function adding(needs: 'addVoter' | 'addNonvoter', purpose: string): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const described = describedBy(words, 2)
    if ('type' in described) return described
    return calls[needs](described.server, described.options).then(changed)
  }
  return { arity: -5, usage: DESCRIBING_USAGE, purpose, needs, begin }
}

function updating(): RaftCall {
  const begin: RaftCall['begin'] = (calls, words, { status }) => {
    const described = describedBy(words, 2)
    if ('type' in described) return described
    const { id, address, meta } = described.server
    const known = describedMembers(status.configuration).find((member) => member.id === id)
    return calls.updateServer(id, { address, meta: { ...known?.meta, ...meta } }, described.options).then(changed)
  }
  return { arity: -5, usage: DESCRIBING_USAGE, purpose: 'a server has other addresses', needs: 'updateServer', begin }
}

/** A server, by its id, where its peers dial it and where its clients do; it begins at that word. */
function describedBy(
  words: readonly string[],
  from: number,
): { server: NewServer; options: ChangeOptions } | ErrorReply {
  const [peer, redis] = [readAddress(words[from + 1]), readAddress(words[from + 2])]
  if (peer === null || redis === null) return usageOf(words)
  const options = changeOptions(words, from + 3)
  if ('type' in options) return options
  return {
    server: { id: nameOf(words[from]), address: formatAddress(peer), meta: { redis: formatAddress(redis) } },
    options,
  }
}

function replacing(): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const described = describedBy(words, 3)
    if ('type' in described) return described
    return calls.replace(nameOf(words[2]), described.server, described.options).then(changed)
  }
  const purpose = 'a server in the place of another; with the same id: one that has lost its folder'
  return { arity: -6, usage: `old-id ${DESCRIBING_USAGE}`, purpose, needs: 'replace', begin }
}

function changing(needs: 'promote' | 'demoteVoter' | 'removeServer', purpose: string): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const options = changeOptions(words, 3)
    return 'type' in options ? options : calls[needs](nameOf(words[2]), options).then(changed)
  }
  return { arity: -3, usage: `id ${CHANGE_USAGE}`, purpose, needs, begin }
}

function leasing(): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const leaseMs = parseInteger(words[2] ?? '')
    const options = changeOptions(words, 3)
    if (typeof leaseMs !== 'number' || leaseMs < 0) return usageOf(words)
    if ('type' in options) return options
    return calls.setLease(leaseMs, options).then(({ index, configuration }) =>
      table([
        ['index', index],
        ['lease-ms', configuration.leaseMs ?? 0],
      ]),
    )
  }
  const purpose = 'leaders hold leases of so many ms, for READONLY LEASE; 0: none do'
  return { arity: -3, usage: `ms ${CHANGE_USAGE}`, purpose, needs: 'setLease', begin }
}

function transfer(calls: ClusterCalls, words: readonly string[]): Promise<Reply> | ErrorReply {
  if (words.length > 3) return usageOf(words)
  const to = words[2] === undefined ? {} : { to: nameOf(words[2]) }
  return calls.transferLeadership({ ...to, timeoutMs: CLUSTER_CALL_MS }).then((leader) => table([['leader', leader]]))
}

function snapshot(calls: ClusterCalls): Promise<Reply> {
  return calls.snapshot().then(({ index, term, bytes }) =>
    table([
      ['index', index],
      ['term', term],
      ['bytes', bytes],
    ]),
  )
}

function changeOptions(words: readonly string[], from: number): ChangeOptions | ErrorReply {
  let options: ChangeOptions = { timeoutMs: CLUSTER_CALL_MS }
  for (let at = from; at < words.length; at += 1) {
    const word = words[at]?.toLowerCase()
    if (word === 'force') {
      options = { ...options, force: true }
    } else if (word === 'ifindex' && words[at + 1] !== undefined) {
      at += 1
      const index = parseInteger(words[at] ?? '')
      if (index === null || index < 0) return usageOf(words)
      options = { ...options, ifIndex: Number(index) }
    } else {
      return usageOf(words)
    }
  }
  return options
}

/** The configuration that is in force now; its index is for IFINDEX. */
function changed({ index, configuration }: ConfigurationAnswer): Reply {
  const names = (servers: readonly { readonly id: string }[]): string => servers.map(({ id }) => id).join(',')
  return table([
    ['index', index],
    ['voters', names(configuration.voters)],
    ['nonvoters', names(configuration.nonvoters)],
  ])
}

/** A client's bytes as the text that they are. */
const nameOf = (word = ''): string => Buffer.from(word, 'latin1').toString('utf8')

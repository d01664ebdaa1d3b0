/**
 * The part of RAFT that changes something: each subcommand is one call of the library, made by the server that was
 * asked, outside of the log. Those for the leader are answered MOVED elsewhere.
 */

import { formatAddress, readAddress } from '../cluster/members.js'
import { CLUSTER_CALL_MS } from '../limits.js'
import { failure, notAnInteger, quote, syntaxError, type ErrorReply, type Reply } from '../resp/reply.js'
import { parseInteger } from '../data-set/integer.js'
import type { ChangeOptions, ClusterCalls, ConfigurationAnswer, NewServer } from '../server/kv-raft.js'
import type { LocalContext } from './local-command.js'
import { table } from './table.js'

export interface RaftCall {
  readonly arity: number
  readonly usage: string
  readonly purpose: string
  /** The call of the library behind it; without that there is no such subcommand. */
  readonly needs: keyof ClusterCalls
  readonly begin: (calls: ClusterCalls, words: readonly string[]) => Promise<Reply> | ErrorReply
}

/** What every change takes behind its own words. */
const CHANGE_USAGE = '[IFINDEX index] [FORCE]'

export const raftCalls: ReadonlyMap<string, RaftCall> = new Map<string, RaftCall>([
  ['add', adding('addVoter', 'a server that will vote as soon as it has caught up')],
  ['add-nonvoter', adding('addNonvoter', 'a server without a vote')],
  ['promote', changing('promote', 'a vote for a server that has none, as soon as it has caught up')],
  ['demote', changing('demoteVoter', 'no vote any more for a server, which stays')],
  ['remove', changing('removeServer', 'a server leaves the cluster')],
  ['replace', replacing()],
  [
    'transfer',
    { arity: -2, usage: '[id]', purpose: 'another server leads', needs: 'transferLeadership', begin: transfer },
  ],
  ['snapshot', { arity: 2, usage: '', purpose: 'a snapshot of this server, now', needs: 'snapshot', begin: snapshot }],
])

/** Begins a call, or says why not. */
export function beginRaftCall({ server }: LocalContext, words: readonly string[]): Promise<Reply> | ErrorReply {
  const call = raftCalls.get((words[1] ?? '').toLowerCase())
  if (call === undefined || server.cluster[call.needs] === undefined) {
    return failure(`ERR unknown subcommand '${quote(words[1] ?? '')}'. Try RAFT HELP.`)
  }
  // What it needs is there, and it touches nothing else.
  return call.begin(server.cluster as ClusterCalls, words)
}

function adding(needs: 'addVoter' | 'addNonvoter', purpose: string): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const server = newServer(words, 2)
    if (server === null) return failure('ERR RAFT ADD takes id, host:port for its peers, host:port for its clients')
    const options = changeOptions(words, 5)
    return 'type' in options ? options : calls[needs](server, options).then(changed)
  }
  return { arity: -5, usage: `id host:port host:port ${CHANGE_USAGE}`, purpose, needs, begin }
}

function replacing(): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const server = newServer(words, 3)
    if (server === null) {
      return failure('ERR RAFT REPLACE takes old id, new id, host:port for its peers, host:port for its clients')
    }
    const options = changeOptions(words, 6)
    return 'type' in options ? options : calls.replace(nameOf(words[2]), server, options).then(changed)
  }
  const purpose = 'a server in the place of another; with the same id: one that has lost its folder'
  return { arity: -6, usage: `old-id id host:port host:port ${CHANGE_USAGE}`, purpose, needs: 'replace', begin }
}

/** Null: the words from there on are no id and two addresses. */
function newServer(words: readonly string[], from: number): NewServer | null {
  const [peer, redis] = [readAddress(words[from + 1]), readAddress(words[from + 2])]
  if (peer === null || redis === null) return null
  return { id: nameOf(words[from]), address: formatAddress(peer), meta: { redis: formatAddress(redis) } }
}

function changing(needs: 'promote' | 'demoteVoter' | 'removeServer', purpose: string): RaftCall {
  const begin: RaftCall['begin'] = (calls, words) => {
    const options = changeOptions(words, 3)
    return 'type' in options ? options : calls[needs](nameOf(words[2]), options).then(changed)
  }
  return { arity: -3, usage: `id ${CHANGE_USAGE}`, purpose, needs, begin }
}

function transfer(calls: ClusterCalls, words: readonly string[]): Promise<Reply> | ErrorReply {
  if (words.length > 3) return syntaxError
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
      if (index === null || index < 0) return notAnInteger
      options = { ...options, ifIndex: Number(index) }
    } else {
      return syntaxError
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

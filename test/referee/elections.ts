/** Terms, votes and elections: 5.1, 5.2, 5.4.1 and thesis 9.6. */

import { at, lastTermOf } from './model.js'
import type { Entry, ServerModel, Stable, Turn, World } from './model.js'
import type { Message, RequestVote } from './trace-format.js'

export class Elections {
  readonly #world: World
  /** Called for each new leader. */
  readonly #chosen: (term: number) => void

  constructor(world: World, chosen: (term: number) => void) {
    this.#world = world
    this.#chosen = chosen
  }

  /** `states`: before the write, and after each of its steps. */
  wrote(server: ServerModel, states: readonly Stable[]): void {
    const [before, after] = ends(states)
    const { blame } = this.#world
    if (after.term < before.term) blame('terms only grow', `${server.id} goes from ${before.term} to ${after.term}`)
    if (after.term > before.term) this.#enteredTerm(server, before, after)
    if (after.votedFor === before.votedFor && after.term === before.term) return
    if (after.term === before.term && before.votedFor !== null) {
      const votes = `${before.votedFor} and then ${after.votedFor}`
      blame('one vote per term', `${server.id} votes in term ${after.term} for ${votes}`)
      return
    }
    if (after.votedFor === server.id) this.#becameCandidate(server, after.term, states)
    else if (after.votedFor !== null) this.#voted(server, after.term, after.votedFor, states)
  }

  turned(server: ServerModel, turn: Turn): void {
    if (turn.role === 'leader') this.establish(server, turn.term, server.accepted.log)
  }

  sent(server: ServerModel, to: string, message: Message): void {
    const { blame, votes } = this.#world
    const candidate = candidateOf(server, to, message)
    if (candidate !== null && 'term' in message) {
      const vote = `vote in term ${message.term} for ${candidate}`
      if (server.durableVotes.get(message.term) !== candidate) {
        blame('vote durable before it leaves', `${server.id} tells its ${vote}, its stable storage does not hold it`)
      }
      const known = at(votes, `${server.id}/${message.term}`, () => candidate)
      if (known !== candidate) blame('one vote per term', `${server.id} tells its ${vote}, before it was ${known}`)
    } else {
      const term = message.type === 'PreVote' ? message.proposedTerm - 1 : message.term
      if (term > server.durable.term) {
        const durable = `its stable storage is in term ${server.durable.term}`
        blame('term durable before it leaves', `${server.id} sends ${message.type} of term ${term}, ${durable}`)
      }
    }
    if (isAnswer(message) && message.term !== server.accepted.term) {
      const told = `${server.id} answers with term ${message.term}`
      blame('answers tell the current term', `${told}, its own is ${server.accepted.term}`)
    }
    if (message.type === 'RequestVote') this.#checkOwnLog(server, message)
    if (message.type === 'PreVote') server.memory.preVoteRounds.set(message.round, message.proposedTerm)
    if (message.type === 'AppendEntries' || message.type === 'TimeoutNow')
      this.establish(server, message.term, server.accepted.log)
  }

  #isElected(server: ServerModel, term: number): boolean {
    const votes = new Set(server.memory.grants.get(term) ?? [])
    if (server.durableVotes.get(term) === server.id) votes.add(server.id)
    return this.#world.isQuorum(server, votes)
  }

  /** It acts as leader of that term. */
  establish(server: ServerModel, term: number, log: readonly Entry[]): void {
    const { leaders, blame } = this.#world
    const leader = leaders.get(term)
    if (leader !== undefined) {
      if (leader.server !== server.id) {
        blame('election safety', `term ${term} has two leaders, ${leader.server} and ${server.id}`)
      }
      return
    }
    if (!this.#isElected(server, term)) {
      const votes = [...(server.memory.grants.get(term) ?? [])].join(', ')
      blame('election majority', `${server.id} leads term ${term} with the votes of [${votes}]`)
    }
    leaders.set(term, { server: server.id, log })
    this.#chosen(term)
  }

  #enteredTerm(server: ServerModel, before: Stable, after: Stable): void {
    const { heard, proposals } = server.memory
    const isCandidate = after.votedFor === server.id
    const known = isCandidate ? after.term - 1 : after.term
    if (heard.has(after.term) || heard.has(known) || (isCandidate && known === before.term)) return
    const detail = `${server.id} enters term ${after.term} from term ${before.term}, which nobody began`
    if (proposals.has(after.term)) this.#world.blame('pre-vote changes nothing', `${detail}: it was only proposed`)
    else this.#world.blame('terms come from candidates', detail)
  }

  #becameCandidate(server: ServerModel, term: number, states: readonly Stable[]): void {
    server.memory.candidacies.set(
      term,
      states.map(({ log }) => log),
    )
    if (!this.#world.cluster.preVote || server.memory.timeouts.has(term - 1)) return
    const grants = new Set(server.memory.preVoteGrants.get(term) ?? []).add(server.id)
    if (this.#world.isQuorum(server, grants)) return
    this.#world.blame(
      'pre-vote majority',
      `${server.id} begins term ${term} with the pre-votes of ${[...grants].join()}`,
    )
  }

  #voted(server: ServerModel, term: number, candidate: string, states: readonly Stable[]): void {
    const { blame } = this.#world
    const requests = server.memory.voteRequests.get(`${term}/${candidate}`)
    const vote = `${server.id} votes in term ${term} for ${candidate}`
    if (requests === undefined) {
      const isPreVote = server.memory.preVotesFrom.has(`${term}/${candidate}`)
      blame(isPreVote ? 'pre-vote changes nothing' : 'vote only when asked', `${vote}, which did not ask`)
      return
    }
    // Within one turn the vote may have come before or after its entries.
    if (requests.some((request) => states.some(({ log }) => isUpToDate(request, log)))) return
    const own = `its own ends with ${ends(states)[0].log.length}/${lastTermOf(ends(states)[0].log)}`
    const { lastIndex, lastTerm } = requests[0] ?? { lastIndex: 0, lastTerm: 0 }
    blame('vote for up-to-date logs', `${vote}, whose log ends with ${lastIndex}/${lastTerm}, ${own}`)
  }

  #checkOwnLog(server: ServerModel, { term, lastIndex, lastTerm }: RequestVote): void {
    const logs = server.memory.candidacies.get(term) ?? [server.accepted.log]
    if (logs.some((log) => log.length === lastIndex && lastTermOf(log) === lastTerm)) return
    const ended = logs.map((log) => `${log.length}/${lastTermOf(log)}`).join(' or ')
    this.#world.blame('candidates tell their log', `${server.id} names ${lastIndex}/${lastTerm}, its log ends ${ended}`)
  }
}

/** 5.4.1. */
function isUpToDate({ lastIndex, lastTerm }: RequestVote, log: readonly Entry[]): boolean {
  const ownTerm = lastTermOf(log)
  return lastTerm > ownTerm || (lastTerm === ownTerm && lastIndex >= log.length)
}

/** Whom the sender tells to have voted for; null when the message tells of no vote. */
function candidateOf(server: ServerModel, to: string, message: Message): string | null {
  if (message.type === 'RequestVote') return server.id
  return message.type === 'RequestVoteResult' && message.granted ? to : null
}

function isAnswer(message: Message): message is Extract<Message, { readonly type: `${string}Result` }> {
  return message.type.endsWith('Result')
}

function ends(states: readonly Stable[]): readonly [Stable, Stable] {
  const [before] = states
  const after = states.at(-1)
  if (before === undefined || after === undefined) throw new RangeError('a write has a state before and one after')
  return [before, after]
}

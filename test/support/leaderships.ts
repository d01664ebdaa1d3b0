/**
 * How leaderships have ended, by what the servers say of it in their logs. On a real clock there may be an election at
 * any time that nobody has asked for, and what its leader had accepted is then of unknown outcome: that is no fault of
 * a server, unlike the same after a leader has handed over.
 */

import type { LogLine } from './kv-cluster.js'

/** A server that wants to lead a term; `isAsked`: its leader has told it to, so that it asked nobody for a pre-vote. */
interface Candidacy {
  readonly term: number
  readonly isAsked: boolean
}

/** The leaderships of the server whose log is `own` that have ended. */
export function endedLeaderships(own: readonly LogLine[]): readonly LogLine[] {
  return own.filter(({ event }) => event === 'raft.stepped-down')
}

/**
 * Whether one of them has ended in a way in which what it had accepted may be of unknown outcome: there was an election
 * that it had not asked for, or it has handed over when it had waited for its own disk in vain, and has said so.
 */
export function mayOweAnswers(own: readonly LogLine[], all: readonly (readonly LogLine[])[]): boolean {
  const candidacies = all.flatMap(candidaciesIn).toSorted((a, b) => a.term - b.term)
  return endedLeaderships(own).some(({ term, reason }) => {
    const next = candidacies.find((candidacy) => candidacy.term > Number(term))
    return next?.isAsked === false || String(reason).includes('was not applied within half an election timeout')
  })
}

function candidaciesIn(log: readonly LogLine[]): readonly Candidacy[] {
  const roles = log.filter(({ event }) => event === 'raft.role')
  return roles.flatMap(({ role, term }, at) =>
    role === 'candidate' ? [{ term: Number(term), isAsked: roles[at - 1]?.['role'] !== 'preCandidate' }] : [],
  )
}

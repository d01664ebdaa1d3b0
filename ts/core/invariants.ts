/**
 * What must hold of one server after every step: the executable twin of docs/log-pointers.md, row by row and in its
 * words. Tests and the simulator call it after each step; a test compares the rows with those of the page.
 */

import { assert } from '../errors.js'
import type { RaftCore } from './raft-core.js'

/** What is looked at; any core will do. */
export type CoreView = Pick<RaftCore, 'role' | 'term' | 'log' | 'tickets' | 'peers'>

/** Asserts the invariants of one server by itself. */
export function assertInvariants(core: CoreView): void {
  assertPointers(core)
  assertTerms(core)
  assertPeers(core)
}

function assertPointers(core: CoreView): void {
  const { firstIndex, appliedIndex, commitIndex, knownCommitIndex, settledIndex } = core.log
  const { durableIndex, lastIndex, openedIndex, tailFirst } = core.log
  const { submittedIndex } = core.tickets
  const { snapshot, restoreDue } = core.log
  const snapshotIndex = snapshot?.index ?? 0
  const standsOn = firstIndex - 1 <= snapshotIndex && snapshotIndex <= commitIndex
  hold('firstIndex - 1 <= snapshotIndex <= commitIndex', standsOn, core)
  const isReached = firstIndex - 1 <= appliedIndex || restoreDue !== null
  hold('firstIndex - 1 <= appliedIndex, unless a snapshot is to be restored', isReached, core)
  const isApplicable = appliedIndex <= commitIndex && commitIndex <= lastIndex
  hold('appliedIndex <= commitIndex <= lastIndex', isApplicable, core)
  hold('commitIndex <= settledIndex <= lastIndex', commitIndex <= settledIndex && settledIndex <= lastIndex, core)
  hold('commitIndex <= knownCommitIndex', commitIndex <= knownCommitIndex, core)
  hold('appliedIndex <= durableIndex', appliedIndex <= durableIndex, core)
  const isSubmitted = durableIndex <= submittedIndex && submittedIndex <= lastIndex
  hold('durableIndex <= submittedIndex <= lastIndex', isSubmitted, core)
  hold('openedIndex <= lastIndex', openedIndex <= lastIndex, core)
  hold('firstIndex <= tailFirst <= lastIndex + 1', firstIndex <= tailFirst && tailFirst <= lastIndex + 1, core)
  const isAtHand = tailFirst <= Math.max(openedIndex, Math.min(appliedIndex, durableIndex)) + 1
  hold('tailFirst <= max(openedIndex, min(appliedIndex, durableIndex)) + 1', isAtHand, core)
}

function assertTerms(core: CoreView): void {
  const { role, term, log, tickets } = core
  hold('term of lastIndex <= current term', log.lastTerm <= term, core)
  let first = 0
  let runTerm = 0
  for (const run of log.termRuns) {
    hold('term runs: first and term both grow', run.first > first && run.term > runTerm, core)
    first = run.first
    runTerm = run.term
  }
  hold('term runs: none begins after lastIndex', first <= log.lastIndex, core)
  if (role !== 'leader') return
  hold('leader: its term and vote are durable', tickets.hardStateIsDurable, core)
  hold('leader: lastIndex is of its term', log.lastTerm === term, core)
}

function assertPeers(core: CoreView): void {
  const { lastIndex } = core.log
  for (const { peer, mode, matchIndex, nextIndex, inflights, fetching } of core.peers.values()) {
    hold('matchIndex <= lastIndex', matchIndex <= lastIndex, core, peer)
    hold('matchIndex < nextIndex <= lastIndex + 1', matchIndex < nextIndex && nextIndex <= lastIndex + 1, core, peer)
    hold('probe, snapshot: the window is empty', mode === 'replicate' || inflights.count === 0, core, peer)
    hold('replicate, snapshot: nothing is being read from the store', mode === 'probe' || !fetching, core, peer)
  }
}

/** One row of the page. The numbers are written only when it does not hold: this runs after every step. */
function hold(row: string, holds: boolean, core: CoreView, peer?: string): void {
  if (!holds) assert(false, `invariant: ${row} (${numbersOf(core)}${peer === undefined ? '' : `; ${peer}`})`)
}

function numbersOf({ role, term, log, tickets, peers }: CoreView): string {
  const { firstIndex, appliedIndex, commitIndex, settledIndex, knownCommitIndex, durableIndex } = log
  const { openedIndex, tailFirst, lastIndex, lastTerm, termRuns } = log
  const runs = termRuns.map((run) => `${run.term}@${run.first}`).join(' ')
  const progress = [...peers.values()].map(
    ({ peer, mode, matchIndex, nextIndex }) => `${peer} ${mode} match ${matchIndex} next ${nextIndex}`,
  )
  return [
    `${role} of term ${term}, first ${firstIndex}, applied ${appliedIndex}, commit ${commitIndex}`,
    `known ${knownCommitIndex}, settled ${settledIndex}, durable ${durableIndex}, submitted ${tickets.submittedIndex}`,
    `last ${lastIndex}/${lastTerm}, opened ${openedIndex}, tail from ${tailFirst}, runs ${runs}`,
    ...progress,
  ].join('; ')
}

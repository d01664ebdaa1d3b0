/**
 * What must hold of one server after every step: the executable twin of docs/log-pointers.md. Tests and the simulator
 * call it, after every step and after every `takeReady`.
 */

import { assert } from '../errors.js'
import type { RaftCore } from './raft-core.js'

/** Asserts the invariants of one server by itself. */
export function assertInvariants(core: RaftCore): void {
  const { firstIndex, lastIndex, durableIndex, commitIndex, settledIndex, appliedIndex, tailFirst } = core.log
  const pointers = `first ${firstIndex}, applied ${appliedIndex}, commit ${commitIndex}, durable ${durableIndex}, last ${lastIndex}`
  assert(firstIndex - 1 <= appliedIndex, `invariant: applied below the log (${pointers})`)
  assert(appliedIndex <= commitIndex, `invariant: applied beyond commit (${pointers})`)
  assert(appliedIndex <= durableIndex, `invariant: applied beyond durable (${pointers})`)
  assert(commitIndex <= lastIndex, `invariant: commit beyond the log (${pointers})`)
  assert(commitIndex <= settledIndex && settledIndex <= lastIndex, `invariant: settled ${settledIndex} (${pointers})`)
  assert(core.log.knownCommitIndex >= commitIndex, `invariant: commit beyond what is known (${pointers})`)
  assert(durableIndex <= lastIndex, `invariant: durable beyond the log (${pointers})`)
  assert(
    tailFirst >= firstIndex && tailFirst <= lastIndex + 1,
    `invariant: tail from ${tailFirst} outside (${pointers})`,
  )
  assert(core.term >= core.log.lastTerm, `invariant: an entry of term ${core.log.lastTerm} in term ${core.term}`)
  assertTermRuns(core)
  assertPeers(core)
  if (core.role === 'leader') {
    assert(
      core.tickets.hardStateIsDurable,
      `invariant: leader of term ${core.term} before its term and vote are durable`,
    )
    assert(
      core.log.lastTerm === core.term,
      `invariant: leader of term ${core.term} with a log that ends in ${core.log.lastTerm}`,
    )
  }
}

function assertPeers(core: RaftCore): void {
  for (const { peer, mode, matchIndex, nextIndex, inflights, fetching } of core.peers.values()) {
    const pointers = `match ${matchIndex}, next ${nextIndex}, last ${core.log.lastIndex}, ${mode}`
    assert(matchIndex < nextIndex, `invariant: ${peer} is sent what it has (${pointers})`)
    assert(nextIndex <= core.log.lastIndex + 1, `invariant: ${peer} is beyond the log (${pointers})`)
    assert(mode === 'replicate' || inflights.count === 0, `invariant: ${peer} is probed with a window (${pointers})`)
    assert(mode === 'probe' || !fetching, `invariant: entries are read for ${peer} beside its window (${pointers})`)
  }
}

function assertTermRuns(core: RaftCore): void {
  let first = 0
  let term = 0
  for (const run of core.log.termRuns) {
    assert(run.first > first && run.term > term, `invariant: term run ${run.term}@${run.first} after ${term}@${first}`)
    first = run.first
    term = run.term
  }
  assert(first <= core.log.lastIndex, `invariant: term run from ${first} beyond the last entry ${core.log.lastIndex}`)
}

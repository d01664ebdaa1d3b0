/**
 * A leader's core with nothing around it but answers: a disk that is done at once, two peers that take everything, a
 * state machine that has applied as soon as it is asked. What one batch costs here is the core's own work.
 */

import { RaftCore } from 'balsa-raft/core'
import type { Request, Response } from 'balsa-raft/core'
import { entryBlock, sliceBlock } from '#balsa/format/block.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block, LogIndex } from '#balsa/types.js'

const PEERS = ['s2', 's3']
const SESSION = 1
/** A disk that never fills: credit is used up by what is written, and one run writes gigabytes. */
const CREDIT_BYTES = Number.MAX_SAFE_INTEGER

export class CoreLeader {
  /** Inputs taken so far. */
  steps = 0
  readonly #core: RaftCore
  #now = 0

  constructor() {
    const voters = ['s1', ...PEERS].map((id) => ({ id, address: `${id}:1` }))
    const configurations = [{ index: logIndex(1), configuration: { voters, outgoing: null, nonvoters: [] } }]
    const one = logIndex(1)
    this.#core = new RaftCore({
      id: 's1',
      store: { incarnation: 's1', hasJoined: false },
      settings: { electionTimeoutMs: 1000, heartbeatMs: 100, firstElectionTimeoutMs: null },
      hardState: { term: termOf(1), votedFor: null, commitIndex: one },
      log: {
        firstIndex: one,
        prevTerm: termOf(0),
        snapshot: null,
        appliedIndex: logIndex(0),
        lastIndex: one,
        commitIndex: one,
        termRuns: [{ first: one, term: termOf(1) }],
        configurations,
      },
      maker: {
        noop: (first, term) => entryBlock('noop', first, term, 0, new Uint8Array(0)),
        configuration: (first, term) => entryBlock('configuration', first, term, 0, new Uint8Array(0)),
        metaOf: () => null,
        incarnationsOf: () => new Map(),
        withIncarnations: (configuration) => configuration,
        slice: sliceBlock,
        keep: (blocks) => blocks,
      },
      random: () => 0.5,
      now: 0,
    })
    this.#step({ type: 'credit', bytes: CREDIT_BYTES })
    for (const peer of PEERS)
      this.#step({ type: 'peerUp', peer, session: SESSION, store: { incarnation: peer, hasJoined: false } })
    this.#settle()
    this.#now = this.#core.nextDeadline()
    this.#step({ type: 'turn', now: this.#now })
    this.#step({ type: 'tick', now: this.#now })
    this.#settle()
    if (this.#core.role !== 'leader') throw new Error(`the core became ${this.#core.role}, not leader`)
  }

  /** From the proposal to the state machine. `count` entries, of which the core sees only how many and how long. */
  batch(count: number, data: Uint8Array): void {
    this.#step({ type: 'turn', now: this.#now })
    const admission = this.#core.admit(data.byteLength)
    if (admission.status !== 'accept') throw new Error(`the core says ${admission.status} to a batch`)
    const { first, term } = admission
    this.#step({
      type: 'propose',
      block: { first, last: logIndex(first + count - 1), term, data, configuration: null },
    })
    this.#settle()
    if (this.#core.log.commitIndex !== first + count - 1) throw new Error('the batch was not committed')
  }

  #step(input: Parameters<RaftCore['step']>[0]): void {
    this.steps += 1
    this.#core.step(input)
  }

  /** Answers everything until the core has nothing more to say. */
  #settle(): void {
    for (let busy = true; busy;) {
      const { ticket, messages, apply } = this.#core.takeReady()
      busy = ticket !== null || messages.length > 0 || apply !== null
      for (const outgoing of messages) {
        if (outgoing.kind !== 'request') continue
        const { to, message } = outgoing
        this.#step({ type: 'response', from: to, session: SESSION, message: answerTo(message) })
      }
      if (ticket !== null) this.#step({ type: 'persisted', ticket: ticket.ticket })
      if (apply !== null) this.#step({ type: 'applied', index: apply.last })
    }
  }
}

function answerTo(message: Request): Response {
  switch (message.type) {
    case 'PreVote':
      return { type: 'PreVoteResult', term: termOf(1), granted: true, round: message.round }
    case 'RequestVote':
      return { type: 'RequestVoteResult', term: message.term, granted: true }
    case 'TimeoutNow':
      throw new Error('nobody hands over here')
    case 'AppendEntries': {
      const { term, round, blocks, prevIndex } = message
      const none = { hintIndex: logIndex(0), hintTerm: termOf(0) }
      return {
        type: 'AppendEntriesResult',
        term,
        status: 'matched',
        matchIndex: endOf(blocks, prevIndex),
        ...none,
        round,
      }
    }
  }
}

function endOf(blocks: readonly Block[], prevIndex: LogIndex): LogIndex {
  return blocks.at(-1)?.last ?? prevIndex
}

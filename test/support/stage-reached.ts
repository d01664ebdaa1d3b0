/** Rare situations of cores on a stage, counted beside those that `Reached` counts wherever there are cores. */

import type { Input, RaftCore, Ready, Request, Response } from '#balsa/core/index.js'
import type { Observer } from '#balsa/testing/observer.js'
import type { Reached } from '#balsa/testing/simulator/reached.js'
import type { StageServer } from '#balsa/testing/stage/stage-server.js'
import type { Role, ServerId } from '#balsa/types.js'

export class StageReached implements Observer {
  readonly #reached: Reached
  /** What each core was before its last input. */
  readonly #was: { term: number; role: Role }[] = []
  /** Reads that began before their leader had committed anything of its term. */
  readonly #early = new Set<number>()
  /** By `term/peer`: the highest entry that was sent. */
  readonly #sentTo = new Map<string, number>()

  constructor(reached: Reached) {
    this.#reached = reached
  }

  booted({ ordinal, up }: StageServer): void {
    this.#was[ordinal] = { term: up.term, role: up.role }
  }

  // Hot path of the random driver: once per core step.
  stepped({ ordinal, disk }: StageServer, core: RaftCore, input: Input): void {
    if (input.type === 'readIndex' && core.role === 'leader' && core.log.termAt(core.log.commitIndex) !== core.term) {
      this.#early.add(input.id)
    }
    const was = this.#was[ordinal]
    if (was === undefined) return
    if (core.term !== was.term) {
      const isUnwritten = disk.pending.some(({ operations }) => operations.some(({ type }) => type === 'hardState'))
      if (isUnwritten) this.#reached.count('term grew while an older one was not durable')
      const isAnswer = input.type === 'response' && input.message.type === 'PreVoteResult'
      if (isAnswer && was.role === 'preCandidate' && core.role === 'follower') {
        this.#reached.count('term adopted from a refused pre-vote')
      }
    }
    was.term = core.term
    was.role = core.role
  }

  decided(_server: StageServer, _core: RaftCore, { reads }: Ready): void {
    const late = reads.filter(({ id, status }) => status === 'confirmed' && this.#early.has(id))
    if (late.length > 0) this.#reached.count('read that waited for the first commit of its term', late.length)
  }

  durable({ disk }: StageServer): void {
    const isOverwritten = disk.pending.some(({ operations }) =>
      operations.some((operation) => operation.type === 'truncateSuffix' && operation.from <= disk.durable.lastIndex),
    )
    if (isOverwritten) this.#reached.count('write of entries that a later ticket removes')
  }

  sent(_server: StageServer, to: ServerId, message: Request | Response): void {
    const last = message.type === 'AppendEntries' ? message.blocks.at(-1)?.last : undefined
    if (message.type !== 'AppendEntries' || last === undefined) return
    const way = `${message.term}/${to}`
    const sentTo = this.#sentTo.get(way) ?? 0
    if (message.prevIndex < sentTo) this.#reached.count('sent again from further back')
    this.#sentTo.set(way, Math.max(sentTo, last))
  }
}

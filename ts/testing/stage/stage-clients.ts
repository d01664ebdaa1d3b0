/**
 * What clients have asked of the servers of a stage, and what came of it: everything has one outcome, and a true one
 * (invariant 14), and a read is confirmed no lower than what was committed before it began (13).
 */

import type { ReadOutcome, TransferOutcome } from '../../core/index.js'
import type { ServerId } from '../../types.js'
import type { Truth } from '../invariants/truth.js'
import { hold } from '../invariants/violation.js'
import type { AppliedCommand } from '../observer.js'

/** What became of a proposal: `unknown` where a crash or another leader came first. */
export type ProposalOutcome = 'committed' | 'unknown'

/** What became of a read: its answer, or nothing because the server crashed. */
export type StageRead = ReadOutcome | { readonly id: number; readonly status: 'crashed' }

/** What waits at one server. */
interface Waiting {
  /** Payloads, by the index at which they were accepted. */
  readonly proposals: Map<number, number>
  /** What was committed when each read began, by its id. */
  readonly reads: Map<number, number>
}

export class StageClients {
  /** By payload. */
  readonly outcomes = new Map<number, ProposalOutcome>()
  readonly readOutcomes = new Map<number, StageRead>()
  readonly transferOutcomes = new Map<number, TransferOutcome>()
  readonly #truth: Truth
  readonly #waiting = new Map<ServerId, Waiting>()
  #payloads = 0
  #reads = 0
  #transfers = 0

  constructor(truth: Truth) {
    this.#truth = truth
  }

  /** Payloads that were accepted at this server and have no outcome yet. */
  proposalsAt(server: ServerId): readonly number[] {
    return [...this.#at(server).proposals.values()]
  }

  /** Reads that this server has not answered yet. */
  readsAt(server: ServerId): readonly number[] {
    return [...this.#at(server).reads.keys()]
  }

  /** New payloads, for a batch that a server accepts. */
  proposed(server: ServerId, first: number, count: number): readonly number[] {
    const { proposals } = this.#at(server)
    return Array.from({ length: count }, (_, at) => {
      const index = first + at
      const before = proposals.get(index)
      hold(
        before === undefined,
        14,
        () => `${server} accepts a proposal at ${index}, where ${before} has no outcome yet`,
      )
      this.#payloads += 1
      proposals.set(index, this.#payloads)
      return this.#payloads
    })
  }

  /** A new read; answers with its id. */
  asked(server: ServerId): number {
    this.#reads += 1
    this.#at(server).reads.set(this.#reads, this.#truth.commitIndex)
    return this.#reads
  }

  answered(server: ServerId, read: ReadOutcome): void {
    const { reads } = this.#at(server)
    const floor = reads.get(read.id)
    hold(floor !== undefined, 14, () => `${server} answers read ${read.id} twice, or nobody asked`)
    reads.delete(read.id)
    this.readOutcomes.set(read.id, read)
    if (read.status !== 'confirmed') return
    const { index } = read
    hold(index >= floor, 13, () => `read ${read.id} is confirmed at ${index}, ${floor} was committed before it began`)
    hold(index <= this.#truth.commitIndex, 13, () => `read ${read.id} is confirmed at ${index}, not committed`)
  }

  /** A new transfer; answers with its id. */
  beginTransfer(): number {
    this.#transfers += 1
    return this.#transfers
  }

  transferred(outcome: TransferOutcome): void {
    const { id } = outcome
    const isOnly = id <= this.#transfers && !this.transferOutcomes.has(id)
    hold(isOnly, 14, () => `transfer ${id} ends twice, or nobody asked`)
    this.transferOutcomes.set(id, outcome)
  }

  applied(server: ServerId, commands: readonly AppliedCommand[]): void {
    const { proposals } = this.#at(server)
    for (const { index, id } of commands) {
      const payload = proposals.get(index)
      if (payload === undefined) continue
      hold(payload === id, 14, () => `${server} accepted ${payload} at ${index}, and applies ${id} there`)
      this.#settle(proposals, index, payload, 'committed')
    }
  }

  /** The leadership ended in which they were accepted. */
  lost(server: ServerId, above: number): void {
    const { proposals } = this.#at(server)
    for (const [index, payload] of proposals) if (index > above) this.#settle(proposals, index, payload, 'unknown')
  }

  /** The process is gone that they were put to. */
  crashed(server: ServerId): void {
    const { proposals, reads } = this.#at(server)
    for (const [index, payload] of proposals) this.#settle(proposals, index, payload, 'unknown')
    for (const id of reads.keys()) this.readOutcomes.set(id, { id, status: 'crashed' })
    reads.clear()
  }

  #settle(proposals: Map<number, number>, index: number, payload: number, outcome: ProposalOutcome): void {
    proposals.delete(index)
    this.outcomes.set(payload, outcome)
  }

  #at(server: ServerId): Waiting {
    const known = this.#waiting.get(server) ?? {
      proposals: new Map<number, number>(),
      reads: new Map<number, number>(),
    }
    this.#waiting.set(server, known)
    return known
  }
}

/**
 * What the file of a file store means: each operation carried out on the few things that are held in memory. The log is
 * held as the places of its blocks, twenty bytes for each, never as entries; a truncation inside a block only moves the
 * end of what counts of it.
 */

import { MalformedBytes } from '../../format/malformed.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, HardState, LogIndex, StoreOperation, TermRun } from '../../types.js'
import { BlockPlaces } from '../block-places.js'
import type { StoredState } from '../log-store.js'

/** The end of the log and the hard state: what decides whether an operation may follow. */
export class LogHead {
  lastIndex = logIndex(0)
  hardState: HardState = { term: termOf(0), votedFor: null, commitIndex: logIndex(0) }
  readonly termRuns: TermRun[] = []

  copy(): LogHead {
    const head = new LogHead()
    head.lastIndex = this.lastIndex
    head.hardState = this.hardState
    for (const run of this.termRuns) head.termRuns.push(run)
    return head
  }

  /** Takes one step; answers with the rule that it breaks, or null. */
  // Hot path: once per operation.
  step(operation: StoreOperation): string | null {
    switch (operation.type) {
      case 'append':
        return this.#append(operation.block)
      case 'truncateSuffix':
        return this.#truncateSuffix(operation.from)
      case 'compact':
        return 'a compaction'
      case 'hardState':
        return this.#setHardState(operation.hardState)
      case 'put':
      case 'delete':
        return null
      default:
        throw new TypeError(`unknown store operation ${JSON.stringify(operation satisfies never)}`)
    }
  }

  #append({ first, last, term }: Block): string | null {
    const lastTerm = this.termRuns.at(-1)?.term ?? 0
    if (first !== this.lastIndex + 1) return `a block from ${first} behind index ${this.lastIndex}`
    if (term < lastTerm) return `a block of term ${term} behind term ${lastTerm}`
    if (term > lastTerm) this.termRuns.push({ first, term })
    this.lastIndex = last
    return null
  }

  #truncateSuffix(from: LogIndex): string | null {
    if (from < 1 || from > this.lastIndex) return `a truncation from ${from} in a log of 1 .. ${this.lastIndex}`
    this.lastIndex = logIndex(from - 1)
    while ((this.termRuns.at(-1)?.first ?? 0) >= from) this.termRuns.pop()
    return null
  }

  /** The term never goes back, and a vote is cast once in a term (figure 2). */
  #setHardState(next: HardState): string | null {
    const { term, votedFor } = this.hardState
    if (next.term < term) return `a hard state of term ${next.term} behind term ${term}`
    if (next.term === term && votedFor !== null && next.votedFor !== votedFor) return `a second vote in term ${term}`
    this.hardState = { term: next.term, votedFor: next.votedFor, commitIndex: next.commitIndex }
    return null
  }
}

export class FileImage {
  readonly head = new LogHead()
  readonly places = new BlockPlaces()
  readonly facts = new Map<string, Uint8Array>()
  readonly configurations: StoredState['configurations'][number][] = []

  /**
   * Carries out the operations of a batch whose body, `body`, lies at `position` of the file: blocks and values are
   * views of it. Throws MalformedBytes when the rules of the log are broken.
   */
  // Hot path: once per batch.
  apply(operations: readonly StoreOperation[], body: Uint8Array, position: number): void {
    for (const operation of operations) {
      const violation = this.head.step(operation)
      if (violation !== null) throw new MalformedBytes('operations', violation)
      switch (operation.type) {
        case 'append': {
          const { first, data, configuration } = operation.block
          this.places.push(first, position + (data.byteOffset - body.byteOffset), data.length)
          if (configuration !== null) this.configurations.push({ index: first, configuration })
          break
        }
        case 'truncateSuffix':
          this.places.truncateSuffix(operation.from)
          while ((this.configurations.at(-1)?.index ?? 0) >= operation.from) this.configurations.pop()
          break
        case 'compact':
        case 'hardState':
          break
        case 'put':
          // A copy: a view would keep all of the body alive.
          this.facts.set(operation.key, operation.value.slice())
          break
        case 'delete':
          this.facts.delete(operation.key)
          break
        default:
          throw new TypeError(`unknown store operation ${JSON.stringify(operation satisfies never)}`)
      }
    }
  }
}

/** What a store answers with that was asked to hold everything it has against its checksums, and to change nothing. */

import type { Configuration, ServerId } from '../types.js'

/** A list stays readable, whatever a disk has done; what is beyond it is counted. The native store has the same. */
const FLAWS_MAX = 256

/**
 * What is lost by damage. `nothing`: nothing that the store still needs. `log`: entries; what of them was committed,
 * other servers have too. `state`: what no other server has, or perhaps that: vote, term, facts, the name of the store.
 */
export type Loss = 'nothing' | 'log' | 'state'

export interface StoreFlaw {
  /** Its path. */
  readonly file: string
  /** The broken rule, with the byte where it is known. */
  readonly detail: string
  readonly loss: Loss
  /** The first entry that is lost; null: none. */
  readonly first: number | null
  /** The last one; null with a first one: nobody knows how far it reaches. */
  readonly last: number | null
}

/** What is damaged is missing from what is told of the store. */
export interface StoreSurvey {
  readonly flaws: readonly StoreFlaw[]
  /** How many more there were. */
  readonly leftOff: number
  readonly firstIndex: number | null
  readonly lastIndex: number | null
  /** Bytes that were found intact: rows, or batches. */
  readonly bytes: number
  /** The newest that could be read. */
  readonly configuration: Configuration | null
  readonly serverId: ServerId | null
  /** Of the snapshot on which the log stands. */
  readonly snapshotId: string | null
}

/** What a store takes over from the one in whose place it is made. */
export interface StoreSeed {
  /** By what peers know it: 32 hex digits. */
  readonly incarnation: string
  /** That of its last boot; the open that makes the store counts one more. */
  readonly bootCounter: number
  /** Stands behind the engine in `FORMAT` (format-line.ts). */
  readonly mark: string
}

type OpenFlaw = { -readonly [Field in keyof StoreFlaw]: StoreFlaw[Field] }

/** A bounded list of them. */
export class Flaws {
  readonly list: OpenFlaw[] = []
  leftOff = 0
  /** Those that reach up to whatever is intact next. */
  #open: OpenFlaw[] = []

  get isEmpty(): boolean {
    return this.list.length === 0
  }

  add(flaw: StoreFlaw): void {
    if (this.list.length === FLAWS_MAX) {
      this.leftOff += 1
      return
    }
    const kept = { ...flaw }
    this.list.push(kept)
    if (kept.first !== null && kept.last === null) this.#open.push(kept)
  }

  /** Something intact begins with that entry. */
  endBefore(next: number): void {
    for (const flaw of this.#open) {
      flaw.last = next - 1
      if (flaw.first !== null && flaw.last < flaw.first) {
        flaw.first = null
        flaw.last = null
      }
    }
    this.#open = []
  }

  /** All that is not an entry stands in a later place once more. */
  stateIsKnown(): void {
    for (const flaw of this.list) if (flaw.loss === 'state') flaw.loss = flaw.first === null ? 'nothing' : 'log'
  }
}

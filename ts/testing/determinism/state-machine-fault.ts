/** What was found wrong with a state machine: which entry shows it, and what the two sides of the comparison say. */

import type { LogIndex } from '../../types.js'

/** What is wrong. */
export type StateMachineFaultKind =
  /** `apply` threw or rejected; the error is the `cause`. */
  | 'threw'
  /** It answered neither an array nor a promise of one. */
  | 'not-an-array'
  /** It answered more or fewer results than there were entries. */
  | 'wrong-length'
  /** Its promise had not settled at the deadline. */
  | 'never-settled'
  /** Two machines answered the same entry differently. */
  | 'results-differ'
  /** The answers of a batch are right, and in another order than its entries. */
  | 'out-of-order'
  /** Two machines that have applied the same entries hold different states. */
  | 'states-differ'
  /** The state changed after `apply` had settled and before it was called again. */
  | 'not-done'
  /** `apply` asked a clock of the machine or a source of chance. */
  | 'ambient'

/** What a `StateMachineFault` says beside its message. */
export interface StateMachineFaultDetails {
  /** The entry. Where only a batch can be named, its last one. */
  readonly index: LogIndex
  /** The first entry of the batch in which it showed; equal to `index` when there is no doubt about the entry. */
  readonly first: LogIndex
  readonly seed: number
  /** The states of the two machines, hashed; null when it is not about states. */
  readonly hashes?: readonly [string, string] | null
  /** What the two machines answered for that entry; null when it is not about answers. */
  readonly results?: readonly [unknown, unknown] | null
  readonly cause?: unknown
}

/** What was found wrong with a state machine: what, at which entry, and the seed that finds it again. */
export class StateMachineFault extends Error {
  override readonly name = 'StateMachineFault'
  readonly kind: StateMachineFaultKind
  readonly index: LogIndex
  readonly first: LogIndex
  /** Given as the option `seed`, it finds the same again. */
  readonly seed: number
  readonly hashes: readonly [string, string] | null
  readonly results: readonly [unknown, unknown] | null

  /** `finding` is one sentence without the place, which is put before it, and without the seed, which follows. */
  constructor(kind: StateMachineFaultKind, finding: string, details: StateMachineFaultDetails) {
    const { index, first, seed, cause } = details
    const place = first === index ? `entry ${index}` : `entries ${first} .. ${index}`
    super(`${place}: ${finding} (seed ${seed})`, cause === undefined ? undefined : { cause })
    this.kind = kind
    this.index = index
    this.first = first
    this.seed = seed
    this.hashes = details.hashes ?? null
    this.results = details.results ?? null
  }
}

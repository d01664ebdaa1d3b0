/**
 * State machines for tests of what tests state machines: one that is right, and the means to make it wrong in one way.
 */

import type { ApplyContext, Entry } from 'balsa-raft'
import { StateMachineFault } from 'balsa-raft/testing'

export interface Deposit {
  readonly account: string
  readonly amount: number
}

type Batch = readonly Entry<Deposit>[]
type Apply = (bank: Bank, batch: Batch, context: ApplyContext) => readonly unknown[] | Promise<readonly unknown[]>

/** Adds to accounts, answers with the balance. */
export class Bank {
  readonly balances = new Map<string, number>()
  /** Whatever a wrong one also keeps. */
  note = 0
  readonly #apply: Apply

  constructor(apply: Apply = (bank, batch) => bank.addAll(batch)) {
    this.#apply = apply
  }

  apply(batch: Batch, context: ApplyContext): readonly unknown[] | Promise<readonly unknown[]> {
    return this.#apply(this, batch, context)
  }

  addAll(batch: Batch): readonly number[] {
    return batch.map(({ command }) => this.add(command))
  }

  add({ account, amount }: Deposit): number {
    const balance = (this.balances.get(account) ?? 0) + amount
    this.balances.set(account, balance)
    return balance
  }

  get state(): readonly unknown[] {
    return [this.balances, this.note]
  }
}

export const deposits: readonly Deposit[] = Array.from({ length: 40 }, (_, n) => {
  return { account: `account ${n % 7}`, amount: 1 + n * n }
})

export function stateOf(bank: Bank): unknown {
  return bank.state
}

/** The fault with which a promise rejects; throws when it does otherwise. */
export async function faultOf(promise: Promise<unknown>): Promise<StateMachineFault> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (error instanceof StateMachineFault) return error
  throw new Error(`no StateMachineFault but ${String(error)}`)
}

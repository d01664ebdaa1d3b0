/**
 * Invariant 15: a command of a session is applied at most once, however often it is sent and on whichever server, and
 * its answer is always the same; one whose answer is waited for is not refused as forgotten, and one that went back is
 * not applied. A recovery from a lost quorum takes back what is not in the log that it began with.
 */

import type { AppliedCommand, ServerView } from '../../observer.js'
import type { Truth } from '../../invariants/truth.js'
import { hold } from '../../invariants/violation.js'
import type { SimAnswer } from '../doubles/sim-machine.js'
import type { WorldObserver } from '../world-observer.js'

export class SessionInvariants implements WorldObserver {
  readonly #truthOf: (epoch: number) => Truth
  /** Of the cluster that may answer. */
  #epoch = 0
  /** By command: where it was applied. */
  readonly #appliedAt = new Map<number, number>()
  /** By command: what it was first answered with. */
  readonly #answers = new Map<number, SimAnswer>()
  /** Commands that must not be applied from now on, and why. */
  readonly #never = new Map<number, string>()

  constructor(truthOf: (epoch: number) => Truth) {
    this.#truthOf = truthOf
  }

  recovered({ epoch }: ServerView): void {
    const kept = this.#truthOf(this.#epoch).agreesUpTo(this.#truthOf(epoch))
    for (const [command, index] of this.#appliedAt) if (index > kept) this.#appliedAt.delete(command)
    for (const [command, { index }] of this.#answers) if (index > kept) this.#answers.delete(command)
    this.#epoch = epoch
  }

  applied({ id, epoch }: ServerView, commands: readonly AppliedCommand[]): void {
    // Who took no part in the recovery may go on with what is not so any more.
    if (epoch !== this.#epoch) return
    for (const { once: command, index } of commands) {
      if (command === undefined) continue
      const before = this.#appliedAt.get(command) ?? index
      hold(before === index, 15, () => `${id} applies command ${command} of a session at ${before} and at ${index}`)
      const why = this.#never.get(command)
      hold(why === undefined, 15, () => `${id} applies command ${command} of a session at ${index}, which ${why}`)
      this.#appliedAt.set(command, index)
    }
  }

  answered(command: number, answer: SimAnswer): void {
    const why = this.#never.get(command)
    hold(why === undefined, 15, () => `command ${command} of a session is answered, which ${why}`)
    const at = this.#appliedAt.get(command)
    hold(at === answer.index, 15, () => `command ${command} is answered from ${answer.index}, it is applied at ${at}`)
    const first = this.#answers.get(command) ?? answer
    hold(first.index === answer.index && first.value === answer.value, 15, () => {
      return `command ${command} is answered with ${answer.value}, and was with ${first.value} before`
    })
    this.#answers.set(command, first)
  }

  /** Nobody sends it again, and it was not applied. */
  notApplied(command: number): void {
    const at = this.#appliedAt.get(command)
    hold(
      at === undefined,
      15,
      () => `command ${command} of a session was not applied, says its outcome; it is, at ${at}`,
    )
    this.#never.set(command, 'was said not to be')
  }

  /** It is sent as what was answered long ago. */
  wentBack(command: number): void {
    this.#never.set(command, 'went back')
  }

  /** Its answer is waited for, and another answer would not be true. */
  refused(command: number, code: string): void {
    const isTrue = code !== 'ERR_RAFT_SESSION_SEQUENCE' && code !== 'ERR_RAFT_ANSWER_LOST'
    hold(isTrue, 15, () => `command ${command} of a session, whose answer is waited for, ends with ${code}`)
  }
}

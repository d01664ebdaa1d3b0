/**
 * Whether this server is where it says that it is dialled: asks at its own address for a word that only it knows. A
 * server that was never bound, or is told another address than it has, would else hear of nobody and not know why.
 */

import { randomBytes } from 'node:crypto'
import type { CancelTimer, Clock, Logger, QuietLog } from 'balsa-raft/transport'
import { messageOf } from '../options.js'

interface ProbeParts {
  readonly address: string
  readonly everyMs: number
  readonly clock: Clock
  readonly logger: Logger
  readonly quiet: QuietLog
  readonly ask: (word: Uint8Array) => Promise<Uint8Array>
}

const WORD_BYTES = 16
const NOTHING = new Uint8Array()

export class ReachProbe {
  readonly #parts: ProbeParts
  readonly #word = randomBytes(WORD_BYTES)
  #isHeard = false
  #failures = 0
  #isStopped = false
  #cancelTimer: CancelTimer

  constructor(parts: ProbeParts) {
    this.#parts = parts
    this.#cancelTimer = parts.clock.setTimer(0, () => this.#ask())
  }

  /** Null: it is somebody else who asks. */
  answer(question: Uint8Array): Uint8Array | null {
    if (!this.#word.equals(question)) return null
    this.#isHeard = true
    return NOTHING
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelTimer()
  }

  #ask(): void {
    const { address, ask, logger } = this.#parts
    const failed = (reason: string): void => {
      if (!this.#isStopped && !this.#isHeard) this.#failed(reason)
    }
    ask(this.#word).then(
      () => {
        if (this.#isHeard) logger.info('transport.reached', { address })
        else failed('somebody else answers there')
      },
      (error: unknown) => failed(messageOf(error)),
    )
  }

  #failed(reason: string): void {
    const { address, everyMs, clock, quiet } = this.#parts
    const remedy = "bind the gRPC server ('bindAsync') where the option address says, so that peers can dial it"
    // Once is no news: an application may bind its server when the cluster is open.
    this.#failures += 1
    if (this.#failures > 1) quiet.warn('transport.not-reached', address, reason, { address, remedy })
    this.#cancelTimer = clock.setTimer(everyMs, () => this.#ask())
  }
}

/**
 * What a server owes to a leader that reads by its lease (docs/reads.md): for as long as the lease may last it helps
 * nobody else to lead, by no vote of another and by no election of its own. Only that leader itself may ask for one
 * before (thesis 3.10): it has given its lease up by then.
 *
 * Invariants: it is kept whatever becomes of the role, the term and the configuration meanwhile; and after a start for
 * as long as one may last that was given before the crash. Its end only grows. It is counted on the clock of the turns:
 * where that stands still while the machine sleeps, it lasts longer.
 */

/** What is known of the leases that leaders may hold. */
export interface LeaseSource {
  /** The longest lease of the configurations that may be in force anywhere; 0 for none. */
  readonly leaseMsInQuestion: number
}

export class Pledge {
  readonly #log: LeaseSource
  #until: number

  constructor(log: LeaseSource, now: number) {
    this.#log = log
    this.#until = now + log.leaseMsInQuestion
  }

  /** When it ends: before that this server calls for no election. */
  get until(): number {
    return this.#until
  }

  isKept(now: number): boolean {
    return now < this.#until
  }

  /** The leader of the current term was heard, and what it sent is in the log: it may count its lease from now on. */
  renew(now: number): void {
    this.#until = Math.max(this.#until, now + this.#log.leaseMsInQuestion)
  }
}

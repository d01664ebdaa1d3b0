/**
 * Invariant 20: what servers say to each other is bounded by what clients ask, by the time that passes and by what goes
 * wrong. A pair of servers that go round in circles breaks it long before a person would notice. And no server ever
 * starts with more that is uncommitted than one leader may take, however many led before.
 */

import { UNCOMMITTED_BYTES_MAX } from '../../../core/intake.js'
import type { Block, StoreOperation } from '../../../types.js'
import { hold } from '../../invariants/violation.js'
import type { ServerView } from '../../observer.js'
import type { Operation, WorldObserver } from '../world-observer.js'

/** Messages for each cause, per pair of servers: what was measured over thousands of worlds, times five. */
const MESSAGES_PER_CAUSE = 10
/** Beyond the bound: the batch that reached it, the block that reaches over the commit index, the no-ops of leaders. */
const UNCOMMITTED_SLACK_BYTES = 3 * 1024 * 1024
/** Messages between two looks. */
const LOOKS_EVERY = 1024

export interface WorkSite {
  readonly servers: number
  readonly heartbeatMs: number
  now(): number
}

export class WorkInvariants implements WorldObserver {
  /** The worst that was seen, as a share of what is allowed. */
  worst = 0
  readonly #site: () => WorkSite
  #sent = 0
  #causes = 0

  constructor(site: () => WorkSite) {
    this.#site = site
  }

  invoked(operation: Operation): void {
    this.#causes += 1 + operation.commands.length
  }

  fault(): void {
    this.#causes += 20
  }

  booted({ id, disk }: ServerView): void {
    this.#causes += 20
    const { blocks, hardState } = disk.durable
    let bytes = 0
    for (const { last, data } of blocks) if (last > hardState.commitIndex) bytes += data.byteLength
    const allowed = UNCOMMITTED_BYTES_MAX + UNCOMMITTED_SLACK_BYTES
    hold(bytes <= allowed, 20, () => `${id} starts with ${bytes} uncommitted bytes, ${allowed} are plenty`)
  }

  /** A follower that catches up takes many messages for entries that were asked for once. */
  submitted(_server: ServerView, _ticket: number, operations: readonly StoreOperation[]): void {
    for (const operation of operations) if (operation.type === 'append') this.#causes += countOf(operation.block)
  }

  sent(): void {
    this.#sent += 1
    if (this.#sent % LOOKS_EVERY !== 0) return
    const site = this.#site()
    const { servers, heartbeatMs } = site
    const pairs = Math.max(1, servers * (servers - 1))
    const allowed = LOOKS_EVERY + MESSAGES_PER_CAUSE * pairs * (this.#causes + site.now() / heartbeatMs)
    this.worst = Math.max(this.worst, this.#sent / allowed)
    hold(this.#sent <= allowed, 20, () => `${this.#sent} messages were sent, ${Math.round(allowed)} are plenty`)
  }
}

function countOf({ first, last }: Block): number {
  return last - first + 1
}

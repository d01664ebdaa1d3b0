/**
 * Invariant 28: what an entry costs. While a leader stays, nothing is lost and everybody has everything, an entry is
 * sent to each peer once, and what else is said follows from the clock and from reads. The numbers are those of the
 * protocol, path by path: one peer that is sent everything twice does not hide among the others.
 */

import type { Request, Response } from '../../../core/messages.js'
import type { Block, ServerId, StoreOperation } from '../../../types.js'
import { hold } from '../../invariants/violation.js'
import type { ServerView } from '../../observer.js'
import type { Operation, WorldObserver } from '../world-observer.js'

/** What may just be on its way when counting begins or ends: a heartbeat, and the answer to one. */
const UNDER_WAY = 2

/** What was said between the leader and one peer. */
interface Path {
  requests: number
  answers: number
  entries: number
  bytes: number
}

export class CostInvariants implements WorldObserver {
  readonly #heartbeatMs: () => number
  /** Null while nothing is counted. */
  #leader: ServerView | null = null
  #begin = 0
  /** Between the leader and each peer that is looked at. */
  readonly #paths = new Map<ServerId, Path>()
  /** Blocks that came to the leader's log, with their entries and bytes, and calls that may need a round. */
  #blocks = 0
  #entries = 0
  #bytes = 0
  #calls = 0

  constructor(heartbeatMs: () => number) {
    this.#heartbeatMs = heartbeatMs
  }

  /** Everybody has everything now: from here on it is counted. */
  begin(leader: ServerView, peers: readonly ServerView[], now: number): void {
    this.#leader = leader
    this.#begin = now
    this.#blocks = 0
    this.#entries = 0
    this.#bytes = 0
    this.#calls = 0
    this.#paths.clear()
    for (const { id } of peers)
      if (id !== leader.id) this.#paths.set(id, { requests: 0, answers: 0, entries: 0, bytes: 0 })
  }

  /** Everybody has everything again. */
  end(now: number): void {
    const leader = this.#leader
    if (leader === null) return
    this.#leader = null
    const beats = Math.ceil((now - this.#begin) / this.#heartbeatMs())
    for (const [peer, { requests, answers, entries, bytes }] of this.#paths) {
      const path = `${leader.id} and ${peer}`
      hold(entries <= this.#entries, 28, () => `${path}: ${entries} entries were sent for ${this.#entries}`)
      hold(bytes <= this.#bytes, 28, () => `${path}: ${bytes} bytes of blocks were sent for ${this.#bytes}`)
      const needed = this.#blocks + this.#calls + beats + UNDER_WAY
      const why = `${this.#blocks} blocks, ${this.#calls} reads and ${beats} heartbeats`
      hold(requests <= needed, 28, () => `${path}: ${requests} messages were sent for ${why}`)
      hold(answers <= requests + UNDER_WAY, 28, () => `${path}: ${requests} messages were answered ${answers} times`)
    }
  }

  invoked({ kind }: Operation): void {
    if (kind === 'read' || kind === 'query' || kind === 'readIndex') this.#calls += 1
  }

  submitted(server: ServerView, _ticket: number, operations: readonly StoreOperation[]): void {
    if (server !== this.#leader) return
    for (const operation of operations) {
      if (operation.type !== 'append') continue
      this.#blocks += 1
      this.#entries += countOf(operation.block)
      this.#bytes += operation.block.data.byteLength
    }
  }

  // Hot path: once per message.
  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    const leader = this.#leader
    if (leader === null) return
    if (message.type === 'AppendEntries' && server === leader) {
      const path = this.#paths.get(to)
      if (path === undefined) return
      path.requests += 1
      for (const block of message.blocks) {
        path.entries += countOf(block)
        path.bytes += block.data.byteLength
      }
    } else if (message.type === 'AppendEntriesResult' && to === leader.id) {
      const path = this.#paths.get(server.id)
      if (path !== undefined) path.answers += 1
    }
  }
}

function countOf({ first, last }: Block): number {
  return last - first + 1
}

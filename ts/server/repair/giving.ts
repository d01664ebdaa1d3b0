/**
 * Entries that a peer has lost to a damaged block, read from this server's log and given: only those whose terms are
 * the same here, and only what is durable. Whoever asks checks all of it again.
 */

import { isOurs, RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { READ_BYTES_MAX } from '../../storage/log-store.js'
import type { LogStore } from '../../storage/log-store.js'
import type { Channel, ChannelHandlers } from '../../transport/channel.js'
import { logIndex } from '../../types.js'
import type { Block } from '../../types.js'
import { decodeRepair, encodeRepair, PART_BYTES, REPAIR_BYTES_MAX } from './messages.js'
import type { RepairMessage } from './messages.js'
import type { TermsOfLog } from './wanted.js'

/** Given beside each other: each reads a slice at a time. */
const GIVEN_MAX = 2

type Lack = Extract<RepairMessage, { readonly type: 'lack' }>

export interface GivingsParts {
  readonly clusterId: string
  readonly log: TermsOfLog
  readonly store: LogStore
}

export class Givings {
  readonly #clusterId: string
  readonly #log: TermsOfLog
  readonly #store: LogStore
  readonly #channels = new Set<Channel>()
  #isClosed = false

  constructor(parts: GivingsParts) {
    this.#clusterId = parts.clusterId
    this.#log = parts.log
    this.#store = parts.store
  }

  get count(): number {
    return this.#channels.size
  }

  /** A peer has opened a channel, and its first word was one of these messages. */
  onChannel(channel: Channel): ChannelHandlers {
    const onFrame = (frame: Uint8Array): void => {
      const message = decodeRepair(frame)
      const isLack = message?.type === 'lack' && !this.#channels.has(channel)
      if (isLack) return this.#asked(channel, message)
      this.#channels.delete(channel)
      channel.close('it makes no sense')
    }
    return { onFrame, onClosed: () => void this.#channels.delete(channel) }
  }

  close(reason: string): void {
    this.#isClosed = true
    for (const channel of this.#channels) channel.close(reason)
    this.#channels.clear()
  }

  #asked(channel: Channel, lack: Lack): void {
    const refusal = this.#refusalOf(lack)
    if (refusal !== null) return refuse(channel, refusal.reason, refusal.again)
    this.#channels.add(channel)
    this.#give(channel, lack).then(
      () => this.#channels.delete(channel),
      (error: unknown) => {
        if (!this.#channels.delete(channel)) return
        if (isOurs(error) && !(error instanceof RaftError)) throw error
        const isDamaged = error instanceof RaftError && error.code === 'ERR_RAFT_STORE_CORRUPT'
        refuse(channel, isDamaged ? `its own copy is damaged: ${error.message}` : textOf(error), !isDamaged)
      },
    )
  }

  #refusalOf({ clusterId, first, last, runs }: Lack): { readonly reason: string; readonly again: boolean } | null {
    const log = this.#log
    if (this.#isClosed) return { reason: 'it is closing', again: true }
    if (clusterId !== this.#clusterId) return { reason: `it is of cluster ${this.#clusterId}`, again: false }
    if (first < log.firstIndex) return { reason: `its log begins at ${log.firstIndex}`, again: false }
    if (last > log.durableIndex) return { reason: `its log ends at ${log.durableIndex}`, again: true }
    for (const [at, { first: from, term }] of runs.entries()) {
      const to = logIndex((runs[at + 1]?.first ?? last + 1) - 1)
      const other = log.firstConflict(from, to, term)
      if (other !== null) {
        const reason = `its entry ${other} is of term ${log.termAt(other) ?? 0}, and not of ${term}`
        return { reason, again: true }
      }
    }
    return this.#channels.size < GIVEN_MAX ? null : { reason: 'it gives to others just now', again: true }
  }

  /** A slice after the other, and none of it once the channel is gone. */
  async #give(channel: Channel, { first, last }: Lack): Promise<void> {
    let bytes = 0
    for (let next: number = first; next <= last;) {
      const blocks = await this.#store.read(logIndex(next), logIndex(last + 1), READ_BYTES_MAX)
      if (!this.#channels.has(channel)) return
      bytes += send(channel, blocks)
      const end = blocks.at(-1)?.last ?? 0
      if (end < next) return refuse(channel, `its log does not keep ${next} any more`, false)
      if (bytes > REPAIR_BYTES_MAX) return refuse(channel, `they have more than ${REPAIR_BYTES_MAX} bytes`, false)
      next = end + 1
    }
    channel.send(encodeRepair({ type: 'whole', bytes }))
  }
}

/** Answers with the bytes. */
function send(channel: Channel, blocks: readonly Block[]): number {
  let bytes = 0
  for (const { data } of blocks) {
    bytes += data.length
    for (let at = 0; at < data.length; at += PART_BYTES) {
      channel.send(encodeRepair({ type: 'part', data: data.subarray(at, at + PART_BYTES) }))
    }
  }
  return bytes
}

function refuse(channel: Channel, reason: string, again: boolean): void {
  channel.send(encodeRepair({ type: 'refused', again, reason }))
  channel.close(reason)
}

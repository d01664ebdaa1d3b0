/**
 * The state machine: applies entries to the data set, in order, with the entry's time as the only clock. What only
 * reads is carried out for those who wait for it here, and nowhere else: not on other servers, not in a replay.
 */

import type { ApplyContext, Entry, StateMachine } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import { dataCommands } from '../data-set/data-commands.js'
import { APPLY_SLICE_MS } from '../limits.js'
import { nullArray, ok, type Reply } from '../resp/reply.js'
import { decodeEntry } from './entry-codec.js'

/** Dead keys removed by an entry that exists for that, and by any other: each leaves more room than it can fill. */
const REMOVALS_BY_TIME_ENTRY = 10_000
const REMOVALS_BY_COMMAND = 16

/** How entries are spread over turns of the event loop, by the clock of the server. */
export interface Pace {
  /** Monotonic, in milliseconds. */
  now(): number
  /** Runs `callback` in the next turn. */
  defer(callback: () => void): void
}

export class KvStateMachine implements StateMachine<Uint8Array, Reply> {
  readonly #data: DataSet
  readonly #pace: Pace | null

  /** Without `pace` every batch is applied at once. */
  constructor(data: DataSet, pace: Pace | null = null) {
    this.#data = data
    this.#pace = pace
  }

  /**
   * Between two entries of a batch that takes long the event loop goes on, so that a leader keeps its heartbeats:
   * whatever reads meanwhile finds the data set between two entries, all of them committed.
   */
  apply(batch: readonly Entry<Uint8Array>[], context: ApplyContext): readonly Reply[] | Promise<readonly Reply[]> {
    const replies: Reply[] = []
    return this.#slice(batch, context, replies) ? replies : this.#applyRest(batch, context, replies)
  }

  async #applyRest(
    batch: readonly Entry<Uint8Array>[],
    context: ApplyContext,
    replies: Reply[],
  ): Promise<readonly Reply[]> {
    do await new Promise<void>((resolve) => this.#pace?.defer(resolve))
    while (!this.#slice(batch, context, replies))
    return replies
  }

  // Hot path: once per batch. False: there is more, and no time for it.
  #slice(batch: readonly Entry<Uint8Array>[], context: ApplyContext, replies: Reply[]): boolean {
    const pace = this.#pace
    const end = pace === null ? 0 : pace.now() + APPLY_SLICE_MS
    while (replies.length < batch.length) {
      const entry = batch[replies.length]
      if (entry === undefined) break
      replies.push(this.#applyEntry(entry, context))
      // After each: one may name `COMMAND_WORDS_MAX` keys.
      if (pace !== null && pace.now() >= end) break
    }
    return replies.length === batch.length
  }

  #applyEntry(entry: Entry<Uint8Array>, context: ApplyContext): Reply {
    const content = decodeEntry(entry.command)
    this.#data.advance(entry.index, entry.time, content.type === 'time' ? REMOVALS_BY_TIME_ENTRY : REMOVALS_BY_COMMAND)
    switch (content.type) {
      case 'command':
        return this.#run(content.words, entry, context)
      case 'transaction': {
        for (const { key, version } of content.watched) {
          if (this.#data.version(key) !== version) return nullArray
        }
        return content.commands.map((words) => this.#run(words, entry, context))
      }
      case 'time':
        return ok
    }
  }

  #run(words: readonly string[], { index }: Entry<Uint8Array>, context: ApplyContext): Reply {
    const name = words[0] ?? ''
    const command = dataCommands.get(name)
    // An entry of a later version. Going on without it would make this server's data differ from the others': better to
    // stop here.
    if (command === undefined) throw new Error(`entry holds the command '${name}', which this version does not know`)
    if (!command.writes && !context.isAwaited(index)) return null
    return command.run(this.#data, words, this.#data.time)
  }
}

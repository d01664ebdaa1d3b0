/**
 * The state machine: applies entries to the data set, in order, with the entry's time as the only clock. What only
 * reads is carried out for those who wait for it here, and nowhere else: not on other servers, not in a replay.
 */

import { strict } from 'node:assert'
import type { ApplyContext, Entry, StateMachine } from 'balsa-raft'
import type { DataSet } from '../data-set/data-set.js'
import { dataCommands } from '../data-set/data-commands.js'
import { APPLY_SLICE_MS, KEPT_BEYOND_SHARE, WORK_BY_LOOK } from '../limits.js'
import { nullArray, ok, type Reply } from '../resp/reply.js'
import { decodeEntry, type KvEntry } from './entry-codec.js'
import { nextTurn, type Pace } from './pace.js'
import { restoreDataSet } from './restore.js'
import { SnapshotPieces } from './snapshot-source.js'

/** Dead keys removed by an entry that exists for that, and by any other: each leaves more room than it can fill. */
const REMOVALS_BY_TIME_ENTRY = 10_000
const REMOVALS_BY_COMMAND = 16
/** What an entry counts for beside its bytes. */
const ENTRY_WORK = 256

export class KvStateMachine implements StateMachine<Uint8Array, Reply, null, null> {
  readonly #data: DataSet
  readonly #pace: Pace | null
  readonly #skipped: ReadonlySet<number>
  readonly #memoryMax: number
  /** What was done since the clock was looked at. */
  #work = 0

  /**
   * Without `pace` every batch is applied at once. `skipped`: entries that are left out if nobody can read them.
   * `memoryMax`: what the data set may take, by which a snapshot is bounded.
   */
  constructor(
    data: DataSet,
    pace: Pace | null = null,
    skipped: ReadonlySet<number> = new Set(),
    memoryMax = Number.POSITIVE_INFINITY,
  ) {
    this.#data = data
    this.#pace = pace
    this.#skipped = skipped
    this.#memoryMax = memoryMax
  }

  /**
   * Between two entries of a batch that takes long the event loop goes on, so that a leader keeps its heartbeats:
   * whatever reads meanwhile finds the data set between two entries, all of them committed. The same holds for the
   * steps of the work that an entry has left.
   */
  apply(batch: readonly Entry<Uint8Array>[], context: ApplyContext): readonly Reply[] | Promise<readonly Reply[]> {
    const replies: Reply[] = []
    return this.#slice(batch, context, replies) ? replies : this.#applyRest(batch, context, replies)
  }

  /** Says nothing: that it was asked is enough. Reads are carried out in slices (server/reads.ts). */
  query(): null {
    return null
  }

  /**
   * Of the keys as they are now; what changes while it is written is kept for it as it was. Several may be written at
   * once. There is no `hash`: one that covers every value costs each write more than can be seen in its time, and one
   * over all keys would block the event loop.
   */
  snapshot(): SnapshotPieces {
    strict.equal(this.#data.hasWorkLeft, false, 'between two batches no entry has left work')
    return new SnapshotPieces(
      this.#data.capture(() => this.#keepsTooMuch()),
      this.#pace,
    )
  }

  restore(source: AsyncIterable<Uint8Array>, { index }: { readonly index: number }): Promise<void> {
    return restoreDataSet(this.#data, source, index, this.#pace)
  }

  #keepsTooMuch(): string | null {
    const { bytes, keptBytes } = this.#data
    if (bytes + keptBytes <= this.#memoryMax * (1 + KEPT_BEYOND_SHARE)) return null
    return (
      `${keptBytes} bytes of keys that changed before they were written, with ${bytes} of the data set, are over ` +
      `maxmemory, ${this.#memoryMax}, by more than a quarter: raise it, or write snapshots to a faster disk`
    )
  }

  async #applyRest(
    batch: readonly Entry<Uint8Array>[],
    context: ApplyContext,
    replies: Reply[],
  ): Promise<readonly Reply[]> {
    do await nextTurn(this.#pace)
    while (!this.#slice(batch, context, replies))
    return replies
  }

  // Hot path: once per batch. False: there is more, and no time for it.
  #slice(batch: readonly Entry<Uint8Array>[], context: ApplyContext, replies: Reply[]): boolean {
    const pace = this.#pace
    const end = pace === null ? 0 : pace.now() + APPLY_SLICE_MS
    this.#work = 0
    for (;;) {
      const entry = batch[replies.length]
      if (this.#data.hasWorkLeft) {
        this.#data.workOff()
        this.#work = WORK_BY_LOOK
      } else if (entry !== undefined) {
        replies.push(this.#applyEntry(entry, context))
        // One that names many keys is long.
        this.#work += entry.command.length + ENTRY_WORK
      } else {
        return true
      }
      if (pace === null || this.#work < WORK_BY_LOOK) continue
      if (pace.now() >= end) break
      this.#work = 0
    }
    return replies.length === batch.length && !this.#data.hasWorkLeft
  }

  #applyEntry(entry: Entry<Uint8Array>, context: ApplyContext): Reply {
    const content = this.#read(entry)
    this.#data.advance(entry.index, entry.time, REMOVALS_BY_COMMAND)
    switch (content.type) {
      case 'command':
        return this.#run(content.words, entry, context)
      case 'transaction': {
        this.#work = WORK_BY_LOOK
        for (const { key, version } of content.watched) {
          if (this.#data.version(key) !== version) return nullArray
        }
        return content.commands.map((words) => this.#run(words, entry, context))
      }
      case 'time':
        this.#data.removeLater(REMOVALS_BY_TIME_ENTRY - REMOVALS_BY_COMMAND)
        return ok
    }
  }

  /**
   * An entry that cannot be read is one of a later version, or none of ours. Going on without it would make this
   * server's data differ from that of a server which knows it: better to stop here, unless an operator says that no
   * server does. Then it counts as one of time, on every server.
   */
  #read({ index, command }: Entry<Uint8Array>): KvEntry {
    const content = decodeEntry(command)
    const flaw = typeof content === 'string' ? content : unknownCommand(content)
    if (flaw === null && typeof content !== 'string') return content
    if (this.#skipped.has(index)) return { type: 'time' }
    throw new Error(
      `entry ${index} ${flaw}, which this version does not know: upgrade this server. If no version knows it (a member was forged), start every server with --skip-entry ${index}`,
    )
  }

  #run(words: readonly string[], { index }: Entry<Uint8Array>, context: ApplyContext): Reply {
    const command = dataCommands.get(words[0] ?? '')
    if (command === undefined) strict.fail(`command '${words[0]}' of entry ${index} was known when it was read`)
    if (!command.writes && !context.isAwaited(index)) return null
    return command.run(this.#data, words, this.#data.time)
  }
}

/** What is wrong with it; null: nothing. Asked before anything is run, so that no transaction stops half-way. */
function unknownCommand(content: KvEntry): string | null {
  switch (content.type) {
    case 'time':
      return null
    case 'command':
      return unknownName(content.words[0])
    case 'transaction':
      for (const [name] of content.commands) {
        const flaw = unknownName(name)
        if (flaw !== null) return flaw
      }
      return null
  }
}

function unknownName(name = ''): string | null {
  return dataCommands.has(name) ? null : `holds the command '${name}'`
}

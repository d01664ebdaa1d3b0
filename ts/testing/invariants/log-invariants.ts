/**
 * What must hold of logs, commit and state machines, compared among all servers (figure 3 of the paper): committed
 * entries never change (5), commit is what the disks allow (7), state machines are given what was committed, and agree
 * (8), also by way of a snapshot (26), and no peer is said to have lost what its disk still holds (12). Only terms and
 * counts are taken from the core; what entries are is read from what it writes.
 */

import { assertInvariants } from '../../core/index.js'
import type { CoreEvent, RaftCore, Ready } from '../../core/index.js'
import type { Configuration, LogIndex, ServerId, SnapshotMeta, StoreOperation } from '../../types.js'
import type { AppliedCommand, DiskView, Observer, ServerView } from '../observer.js'
import { isQuorum } from './quorum.js'
import type { Truth } from './truth.js'
import { hold } from './violation.js'

type Compaction = Extract<StoreOperation, { readonly type: 'compact' }>
type Accusation = Extract<CoreEvent, { readonly type: 'regressed' }>

/** Core steps between two full sweeps. */
const SWEEP_STEPS = 1000

interface Seen {
  commitIndex: number
  /** In force before the last step: what that step counted by, whatever it has made then. */
  configuration: Configuration | null
  /** What the state machine was given, in this boot. */
  machineIndex: number
}

export class LogInvariants implements Observer {
  readonly #truth: Truth
  readonly #servers: () => Iterable<ServerView>
  readonly #seen: (Seen | undefined)[] = []
  /** Disks that are gone for good held these. */
  readonly #gone: { readonly id: ServerId; readonly disk: DiskView }[] = []
  #untilSweep = SWEEP_STEPS

  constructor(truth: Truth, servers: () => Iterable<ServerView>) {
    this.#truth = truth
    this.#servers = servers
  }

  booted({ ordinal }: ServerView): void {
    this.#seen[ordinal] = { commitIndex: 0, configuration: null, machineIndex: 0 }
  }

  forgot({ id, disk }: ServerView): void {
    this.#gone.push({ id, disk })
  }

  renewed(server: ServerView): void {
    this.forgot(server)
  }

  // Hot path: once per core step.
  stepped(server: ServerView, core: RaftCore): void {
    const seen = this.#of(server)
    if (core.log.commitIndex !== seen.commitIndex) this.#committed(server, core, seen)
    seen.configuration = core.configuration
    this.#untilSweep -= 1
    if (this.#untilSweep > 0) return
    this.#untilSweep = SWEEP_STEPS
    this.#sweep()
  }

  // Hot path: once per turn.
  decided(server: ServerView, core: RaftCore, { events, ticket }: Ready): void {
    for (const operation of ticket?.operations ?? [])
      if (operation.type === 'compact') this.#compacted(server, operation)
    for (const event of events) if (event.type === 'regressed') this.#accused(server, core, event)
  }

  /** Nothing goes but what was committed, and is in the snapshot. */
  #compacted({ id }: ServerView, { first, snapshot: { index, term } }: Compaction): void {
    const committed = this.#truth.committed[index]?.term
    hold(committed === term && first <= index + 1, 26, () => {
      return `${id} keeps from ${first} on behind a snapshot of entry ${index} of term ${term}, committed is term ${committed}`
    })
  }

  #accused({ id: by }: ServerView, core: RaftCore, { peer, acknowledged }: Accusation): void {
    const term = core.log.termAt(acknowledged)
    for (const { id, disk } of this.#servers()) {
      hold(id !== peer || this.#truth.durableTerm(disk.durable, acknowledged) !== term, 12, () => {
        return `${by} says that ${peer} has lost what it acknowledged up to ${acknowledged}, and its disk holds it`
      })
    }
  }

  applied(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    const seen = this.#of(server)
    const { committed, commandsUpTo } = this.#truth
    const from = seen.machineIndex
    hold(last < committed.length, 8, () => {
      return `${server.id} applies ${from + 1} .. ${last}, committed are ${committed.length - 1}`
    })
    let count = 0
    for (const { index, term, id } of commands) {
      if (id !== 0) count += 1
      const truth = committed[index]
      hold(truth?.term === term && truth.command === id && index > from && index <= last, 8, () => {
        return `${server.id} applies command ${id} of term ${term} at ${index}, committed is ${truth?.command} of term ${truth?.term}`
      })
    }
    const due = (commandsUpTo[last] ?? 0) - (commandsUpTo[from] ?? 0)
    hold(count === due, 8, () => {
      return `${server.id} applies ${count} commands in ${from + 1} .. ${last}, committed are ${due}`
    })
    const durable = this.#truth.durableTerm(server.disk.durable, last)
    hold(durable === committed[last]?.term, 9, () => {
      return `${server.id} applies ${last}: durable is term ${durable}, committed is term ${committed[last]?.term}`
    })
    seen.machineIndex = last
    const { hashes } = this.#truth
    const known = hashes[last]
    hold(known === undefined || known === hash, 8, () => {
      return `${server.id}: the state machine's hash at ${last} is ${hash}, elsewhere it was ${known}`
    })
    hashes[last] = hash
  }

  /** A state machine that was restored is the same as one that has applied every entry up to there. */
  restored(server: ServerView, { index, term }: SnapshotMeta, hash: number): void {
    const seen = this.#of(server)
    hold(this.#truth.committed[index]?.term === term, 26, () => {
      return `${server.id} restores a snapshot of entry ${index} of term ${term}, committed is term ${this.#truth.committed[index]?.term}`
    })
    const { hashes } = this.#truth
    const known = hashes[index]
    hold(known === undefined || known === hash, 26, () => {
      return `${server.id}: the hash of what it restores at ${index} is ${hash}, elsewhere it was ${known}`
    })
    hold(
      index >= seen.machineIndex,
      26,
      () => `${server.id} restores ${index} after it has applied ${seen.machineIndex}`,
    )
    hashes[index] = hash
    seen.machineIndex = index
  }

  /** What all servers hold, whole. */
  #sweep(): void {
    for (const { id, ordinal, core } of this.#servers()) {
      if (core === null || this.#seen[ordinal] === undefined) continue
      assertInvariants(core)
      const end = Math.min(core.log.commitIndex, this.#truth.commitIndex)
      for (let index: number = core.log.firstIndex; index <= end; index += 1) {
        hold(core.log.termAt(index as LogIndex) === this.#truth.committed[index]?.term, 5, () => {
          return `${id} has another committed entry at ${index}`
        })
      }
    }
  }

  #committed(server: ServerView, core: RaftCore, seen: Seen): void {
    const { commitIndex } = core.log
    const isLeader = core.role === 'leader'
    hold(isLeader || commitIndex <= this.#truth.commitIndex, 7, () => {
      return `${server.id} commits ${commitIndex}, no leader has committed more than ${this.#truth.commitIndex}`
    })
    if (isLeader && commitIndex > this.#truth.commitIndex) this.#checkQuorum(server, core, seen)
    const { firstIndex } = core.log
    for (let index = seen.commitIndex + 1; index <= commitIndex; index += 1) {
      const before = this.#truth.committedTerms[index]
      // Those that a snapshot brings are told by nobody: they were committed before.
      const term = index >= firstIndex ? (core.log.termAt(index as LogIndex) ?? 0) : (before ?? 0)
      // Whatever was committed is one of the entries that were written, and of the same term it is the same one: after
      // each start the whole log comes here again.
      if (term === before) continue
      const known = this.#truth.find(index, term)
      hold(known !== null, 5, () => `${server.id} commits ${index} of term ${term}, which was never written`)
      const truth = this.#truth.committed[index]
      if (truth === undefined) this.#truth.commit(known, core.term)
      else {
        hold(truth.term === term, 5, () => {
          return `${server.id} commits ${index} of term ${term}, committed is term ${truth.term}`
        })
      }
    }
    seen.commitIndex = commitIndex
  }

  /** Recomputed from what the disks hold, in each half of the leader's configuration (5.3, 5.4.2). */
  #checkQuorum({ id: leader }: ServerView, core: RaftCore, seen: Seen): void {
    const { commitIndex: index } = core.log
    const configuration = seen.configuration ?? core.configuration
    const term = core.log.termAt(index)
    hold(term === core.term, 7, () => `${leader} commits ${index} of term ${term} by counting, in term ${core.term}`)
    const holders = new Set<ServerId>()
    for (const { id, disk } of this.#servers())
      if (this.#truth.durableTerm(disk.durable, index) === term) holders.add(id)
    for (const { id, disk } of this.#gone) if (this.#truth.durableTerm(disk.durable, index) === term) holders.add(id)
    hold(
      isQuorum(configuration, (id) => holders.has(id)),
      7,
      () => {
        return `${leader} commits ${index} of term ${term}, durable only on ${[...holders].join(', ')}`
      },
    )
  }

  #of(server: ServerView): Seen {
    const seen = this.#seen[server.ordinal]
    hold(seen !== undefined, 0, () => `${server.id} acts before it has booted`)
    return seen
  }
}

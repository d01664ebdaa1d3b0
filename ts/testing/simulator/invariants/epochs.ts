/**
 * Everything that is compared among servers, by epoch: a recovery from a lost quorum makes another cluster (adr/0009),
 * which has its own truth. It begins with what the survivor's log held, all of it committed; what was committed behind
 * that is lost, and nothing else. Within an epoch nothing is weaker than in a cluster that was never recovered. Between
 * two of them there is one invariant, 32: terms go on, and who took no part is not heard, nor hears anybody.
 */

import { assert } from '../../../errors.js'
import type { EntryRange } from '../../../errors.js'
import type { Input, RaftCore, Ready, Request, Response } from '../../../core/index.js'
import type { LogIndex, ServerId, SnapshotMeta } from '../../../types.js'
import { invariantsOf } from '../../invariants/invariants.js'
import { Truth } from '../../invariants/truth.js'
import type { EntryReader } from '../../invariants/truth.js'
import { hold } from '../../invariants/violation.js'
import type { AppliedCommand, DurableView, ServerView } from '../../observer.js'
import { Observers } from '../../observers.js'
import type { WorldObserver } from '../world-observer.js'
import { checkRepair } from './repair-invariants.js'
import type { DiskBefore } from './repair-invariants.js'

interface Epoch {
  readonly truth: Truth
  readonly invariants: Observers
}

// Hot path: once per event. Written out, so that every call has a fixed name.
export class Epochs implements WorldObserver {
  readonly #servers: () => readonly ServerView[]
  readonly #count: (what: string) => void
  readonly #epochs: Epoch[] = []
  /** In which epoch who sent it was by then: a machine that comes anew is of another while it is still on its way. */
  readonly #sentIn = new WeakMap<Request | Response, number>()

  /** `count` is told of the rare kinds of recoveries, which only the truth knows. */
  constructor(entries: EntryReader, servers: () => readonly ServerView[], count: (what: string) => void) {
    this.#servers = servers
    this.#count = count
    this.#begin(new Truth(entries))
  }

  truthOf(epoch: number): Truth {
    return this.#at(epoch).truth
  }

  get newest(): Truth {
    return this.truthOf(this.#epochs.length - 1)
  }

  recovered({ id, disk }: ServerView, log: DurableView): void {
    const { term } = disk.durable.hardState
    const before = Math.max(log.hardState.term, log.termAt(log.lastIndex) ?? 0)
    hold(term > before, 32, () => `${id} is recovered in term ${term}, and its log knows of term ${before}`)
    const former = this.newest
    const truth = former.recoveredFrom(log)
    const kept = former.agreesUpTo(truth)
    if (kept < former.commitIndex) this.#count('recovery that loses what was committed')
    if (kept < truth.commitIndex) this.#count('recovery that commits what was not')
    if (log.snapshot !== null) this.#count('recovery of a log that stands on a snapshot')
    this.#begin(truth)
  }

  delivered(from: ServerId, server: ServerView, message: Request | Response): void {
    this.#of(server).delivered(from, server, message)
    if (this.#epochs.length === 1) return
    const epoch = this.#sentIn.get(message) ?? this.#servers().find(({ id }) => id === from)?.epoch
    hold(epoch === server.epoch, 32, () => {
      return `${server.id} of epoch ${server.epoch} hears ${message.type} from ${from} of epoch ${epoch}`
    })
  }

  repaired(server: ServerView, range: EntryRange, before: DiskBefore): void {
    checkRepair(this.truthOf(server.epoch), server, range, before)
  }

  booted(server: ServerView): void {
    this.#of(server).booted(server)
  }

  stepped(server: ServerView, core: RaftCore, input: Input): void {
    this.#of(server).stepped(server, core, input)
  }

  decided(server: ServerView, core: RaftCore, ready: Ready): void {
    this.#of(server).decided(server, core, ready)
  }

  turned(server: ServerView, core: RaftCore): void {
    this.#of(server).turned(server, core)
  }

  forgot(server: ServerView): void {
    this.#of(server).forgot(server)
  }

  renewed(server: ServerView): void {
    this.#of(server).renewed(server)
  }

  cloned(server: ServerView): void {
    this.#of(server).cloned(server)
  }

  sent(server: ServerView, to: ServerId, message: Request | Response): void {
    if (this.#epochs.length > 1) this.#sentIn.set(message, server.epoch)
    this.#of(server).sent(server, to, message)
  }

  applied(server: ServerView, commands: readonly AppliedCommand[], last: LogIndex, hash: number): void {
    this.#of(server).applied(server, commands, last, hash)
  }

  restored(server: ServerView, snapshot: SnapshotMeta, hash: number): void {
    this.#of(server).restored(server, snapshot, hash)
  }

  #begin(truth: Truth): void {
    const epoch = this.#epochs.length
    const servers = (): readonly ServerView[] => this.#servers().filter((server) => server.epoch === epoch)
    this.#epochs.push({ truth, invariants: new Observers(invariantsOf(truth, servers)) })
  }

  #of({ epoch }: ServerView): Observers {
    return this.#at(epoch).invariants
  }

  #at(epoch: number): Epoch {
    const found = this.#epochs[epoch]
    assert(found !== undefined, () => `epoch ${epoch} has not begun`)
    return found
  }
}

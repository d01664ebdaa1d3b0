/**
 * The network of a world: the memory network, with delays, cuts and chaos of its own, on the world's queue. Order
 * without gaps is the transport's contract, on each connection by itself: what goes on another one may overtake it, as
 * it does over TCP. What breaks the contract on purpose (`chaos`) is only what the core must stand as well; of channels
 * the order is never broken: what is lost there is the end of it, and nothing that follows arrives.
 */

import type { Request, Response } from '../../../core/messages.js'
import { MemoryNetwork } from '../../../transport/memory/index.js'
import type { MemoryConnection } from '../../../transport/memory/memory-transport.js'
import type { ConnectionEnd } from '../../../transport/transport.js'
import type { CancelTimer, Clock } from '../../../types.js'
import type { EventQueue, Happening } from '../event-queue.js'
import type { SeededRandom } from '../random.js'
import { throughFlippedBit } from './flipped-bit.js'
import { NarrowPath } from './narrow-path.js'
import type { Crossing } from './narrow-path.js'

export interface NetworkPlan {
  readonly delayMs: number
  readonly jitterMs: number
  /** A connection that lost something is reset when its keep-alive finds out, at the latest after twice this. */
  readonly keepAliveMs: number
}

/** What may happen to a single message, each in 0 .. 1. */
export interface Chaos {
  loss: number
  duplication: number
  reordering: number
  /** An older message arrives once more. */
  replay: number
  /** A bit of its frame flips on the way. */
  flip: number
}

/** Whoever stands at an address. */
export interface Receiver {
  arrive(run: () => void): void
}

export interface NetworkParts {
  readonly queue: EventQueue
  readonly plan: NetworkPlan
  readonly random: SeededRandom
  readonly receivers: ReadonlyMap<string, Receiver>
  readonly promised: () => void
}

interface Path {
  readonly to: string
  isCut: boolean
  slowness: number
  /** Null while bytes cost no time. */
  narrow: NarrowPath | null
  /** When the last one arrives. */
  lastDue: number
  /** The same of each connection: its order is kept. */
  readonly lastDueOf: Map<MemoryConnection, number>
  /** Channels of which something was lost here. */
  readonly brokenChannels: Set<MemoryConnection>
  /** The longest that anything has taken, since that was last begun to be measured. */
  longestMs: number
  /** The same, since nothing was on its way. */
  busyMs: number
}

const HISTORY_MAX = 64
/** Frames are few: of them so many more have a bit flipped. In some cases it is found before the frame is handed on. */
const FRAME_FLIPS = 10
const FLIP_IN_HEAD = 0.2

export class SimNetwork extends MemoryNetwork {
  readonly chaos: Chaos = { loss: 0, duplication: 0, reordering: 0, replay: 0, flip: 0 }
  readonly #queue: EventQueue
  readonly #plan: NetworkPlan
  readonly #random: SeededRandom
  readonly #receivers: ReadonlyMap<string, Receiver>
  /** Promises may have settled, such as that of a channel that was dialled. */
  readonly #promised: () => void
  readonly #pathsByName = new Map<string, Map<string, Path>>()
  readonly #awaited: ((from: string, to: string) => void)[] = []
  readonly #live = new Set<MemoryConnection>()
  readonly #history: Parcel[] = []
  /** When the last message arrives that keeps no order. */
  #strayUntil = -Infinity
  /** A machine without power says nothing, not even that its connections end. */
  #mute: string | null = null

  constructor({ queue, plan, random, receivers, promised }: NetworkParts) {
    super({ clock: clockOf(queue), manual: true })
    this.#queue = queue
    this.#plan = plan
    this.#random = random
    this.#receivers = receivers
    this.#promised = promised
    this.#keepAlive()
  }

  /** Messages that are cut off vanish without a word. */
  cutPath(from: string, to: string): void {
    this.#sim(from, to).isCut = true
  }

  slowPath(from: string, to: string, slowness: number): void {
    this.#sim(from, to).slowness = slowness
  }

  /**
   * From now on what is sent takes the time that its bytes need, and what follows waits behind it. A path that is
   * narrow stays as it is.
   */
  narrowPath(from: string, to: string, bytesPerMs: number): void {
    this.#sim(from, to).narrow ??= new NarrowPath(this.#queue, bytesPerMs)
  }

  /** Null while bytes cost no time there. */
  narrowPathOf(from: string, to: string): NarrowPath | null {
    return this.#sim(from, to).narrow
  }

  mendPath(from: string, to: string): void {
    const path = this.#sim(from, to)
    path.isCut = false
    path.slowness = 1
    path.narrow?.mend()
    path.narrow = null
    for (const connection of [...this.#live]) {
      if (connection.hasLost && connection.isBetween(from, to))
        this.#reset(connection, 'connection reset: something was lost', 'unclear')
    }
  }

  /**
   * How long what is on its way between them still takes: on a path that was slow, whatever follows waits behind it.
   */
  backlogMs(from: string, to: string): number {
    return Math.max(0, this.#sim(from, to).lastDue - this.#queue.now)
  }

  /** From here on it is measured how long what goes between them takes; what is on its way counts as well, whole. */
  measureWay(from: string, to: string): void {
    const path = this.#sim(from, to)
    path.longestMs = this.backlogMs(from, to) > 0 ? path.busyMs : 0
  }

  longestWayMs(from: string, to: string): number {
    return this.#sim(from, to).longestMs
  }

  /** Whether a message is on its way that was overtaken, or comes once more: also long after `chaos` has ended. */
  get hasStrays(): boolean {
    return this.#queue.now <= this.#strayUntil
  }

  /** A machine is back: what it does not know of any more, it refuses. */
  powered(address: string): void {
    this.#queue.after(this.#plan.delayMs, () => {
      for (const connection of [...this.#live]) {
        const isAbout = connection.dialler.address === address || connection.peer.address === address
        if (isAbout && connection.hasLost) this.#reset(connection, 'connection reset by peer', 'gone')
      }
    })
  }

  /** Runs something of which nothing gets out of that address. */
  silently(address: string, run: () => void): void {
    this.#mute = address
    run()
    this.#mute = null
    for (const { narrow } of this.#pathsByName.get(address)?.values() ?? []) narrow?.lose()
  }

  /**
   * Whoever has dialled finds its connection gone, and may dial again; the other end learns of it when its keep-alive
   * does.
   */
  loseAtDialler(from: string, to: string): void {
    for (const connection of [...this.#live]) {
      const { dialler, peer, isEndedAtDialler } = connection
      if (isEndedAtDialler || dialler.address !== from || peer.address !== to) continue
      connection.hasLost = true
      this.#promised()
      dialler.endDialled(connection, 'connection timed out', null)
    }
  }

  override cut(a: string, b: string): void {
    for (const connection of [...this.#live])
      if (connection.isBetween(a, b)) this.#reset(connection, 'connection reset', 'gone')
  }

  /** The channels between them break, with what is on its way, and nothing else does. */
  breakChannels(a: string, b: string): void {
    const broken = [...this.#live].filter((connection) => connection.isChannel && connection.isBetween(a, b))
    for (const channel of broken) this.#reset(channel, 'connection reset', 'gone')
  }

  /** Told of the next channel on which something is said, once; those that came before are told first. */
  awaitChannel(heard: (from: string, to: string) => void): void {
    this.#awaited.push(heard)
  }

  /** Of questions alone: whatever else is cut off vanishes on its way. */
  override isCut(from: string, to: string): boolean {
    return this.#sim(from, to).isCut
  }

  // Hot path: once per message.
  override carry(from: string, to: string, connection: MemoryConnection, bytes: number, deliver: () => void): boolean {
    const path = this.#sim(from, to)
    if (connection.isChannel && !this.#live.has(connection)) this.#awaited.shift()?.(from, to)
    this.#live.add(connection)
    if (path.isCut || this.#mute === from) return this.#lost(path, connection)
    if (connection.isChannel && this.#breaksChannel(path, connection)) return false
    const parcel = new Parcel(this.#receivers.get(to), connection, deliver, this.#promised)
    if (path.narrow === null) this.#leave(path, parcel)
    else path.narrow.add(this.#crossing(path, parcel, bytes))
    return true
  }

  #crossing(path: Path, parcel: Parcel, bytes: number): Crossing {
    const isRequest = path.to === parcel.connection.peer.address
    return {
      bytes,
      yields: parcel.connection.isChannel,
      get isWanted() {
        return !parcel.isOver
      },
      crossed: () => {
        if (path.isCut) this.#lost(path, parcel.connection)
        else this.#leave(path, parcel)
      },
      crossedInPart: () => {
        if (!path.isCut && isRequest && !parcel.connection.isChannel)
          this.#queue.call(this.#inOrder(path, parcel, this.#dueOn(path)), () => parcel.arriveInPart())
      },
      lost: () => void this.#lost(path, parcel.connection),
    }
  }

  /** What is sent is on its way, and has a delay before it. */
  #leave(path: Path, parcel: Parcel): void {
    const { connection } = parcel
    const isData = connection.isUpAtDialler && connection.isUpAtAcceptor && !connection.isChannel
    const due = this.#dueOn(path)
    if (isData) {
      const { chaos } = this
      if (chaos.loss > 0 && this.#random.chance(chaos.loss)) return
      if (chaos.replay > 0 && this.#random.chance(chaos.replay)) this.#replay(due)
      if (chaos.duplication > 0 && this.#random.chance(chaos.duplication)) {
        this.#stray(parcel, due + this.#random.exponential(this.#plan.jitterMs * 10))
      }
      if (chaos.replay > 0) this.#keep(parcel)
      if (chaos.reordering > 0 && this.#random.chance(chaos.reordering)) {
        this.#stray(parcel, due + this.#random.exponential(this.#plan.jitterMs * 10))
        return
      }
    }
    this.#queue.add(this.#inOrder(path, parcel, due), parcel)
  }

  #dueOn({ slowness }: Path): number {
    return this.#queue.now + (this.#plan.delayMs + this.#random.exponential(this.#plan.jitterMs)) * slowness
  }

  #inOrder(path: Path, { connection }: Parcel, due: number): number {
    const inOrder = Math.max(due, path.lastDueOf.get(connection) ?? 0)
    path.lastDueOf.set(connection, inOrder)
    const wayMs = inOrder - this.#queue.now
    path.busyMs = Math.max(path.lastDue > this.#queue.now ? path.busyMs : 0, wayMs)
    path.lastDue = Math.max(path.lastDue, inOrder)
    path.longestMs = Math.max(path.longestMs, wayMs)
    return inOrder
  }

  // Hot path: once per message.
  override arrived<Message extends Request | Response>(connection: MemoryConnection, message: Message): Message | null {
    if (this.chaos.flip === 0 || !this.#random.chance(this.chaos.flip)) return message
    const read = throughFlippedBit(message, this.#random)
    if (read === null) connection.reset('malformed frame: a bit flipped on the way', 'unclear')
    // Of the same type: invariant 26.
    return read as Message | null
  }

  /** What is in a frame is for its receiver to check, as over TCP; what a frame is made of is not. */
  override arrivedFrame(connection: MemoryConnection, frame: Uint8Array): Uint8Array | null {
    const { flip } = this.chaos
    if (flip === 0 || !this.#random.chance(FRAME_FLIPS * flip)) return frame
    if (this.#random.chance(FLIP_IN_HEAD)) {
      this.#reset(connection, 'malformed frame: a bit flipped on the way', 'unclear')
      return null
    }
    const bit = this.#random.int(0, frame.length * 8)
    frame[bit >>> 3] = (frame[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
    return frame
  }

  override forget(connection: MemoryConnection): void {
    this.#live.delete(connection)
    const { dialler, peer } = connection
    for (const path of [this.#sim(dialler.address, peer.address), this.#sim(peer.address, dialler.address)]) {
      path.lastDueOf.delete(connection)
      path.brokenChannels.delete(connection)
    }
  }

  override timer(delayMs: number, callback: () => void): CancelTimer {
    const event = this.#queue.after(delayMs, () => {
      this.#promised()
      callback()
    })
    return () => event.cancel()
  }

  override arm(): void {}

  /** Some of the last messages, and ever fewer of those before: the older one is, the more terms may lie between. */
  #keep(parcel: Parcel): void {
    if (this.#history.length < HISTORY_MAX) this.#history.push(parcel)
    else this.#history[this.#random.int(0, HISTORY_MAX)] = parcel
  }

  #replay(due: number): void {
    if (this.#history.length === 0) return
    this.#stray(this.#random.pick(this.#history), due)
  }

  #stray(parcel: Parcel, due: number): void {
    this.#strayUntil = Math.max(this.#strayUntil, due)
    this.#queue.add(due, parcel)
  }

  #reset(connection: MemoryConnection, reason: string, end: ConnectionEnd): void {
    this.#promised()
    connection.reset(reason, end)
  }

  /** Whoever sends learns of it when the connection ends. */
  #lost(path: Path, connection: MemoryConnection): false {
    connection.hasLost = true
    if (connection.isChannel) path.brokenChannels.add(connection)
    return false
  }

  /** Whether a frame is lost, and all that follows on this path; in some cases both ends learn of it at once. */
  #breaksChannel(path: Path, connection: MemoryConnection): boolean {
    if (path.brokenChannels.has(connection)) return true
    const isUp = connection.isUpAtDialler && connection.isUpAtAcceptor
    if (!isUp || this.chaos.loss === 0 || !this.#random.chance(this.chaos.loss)) return false
    this.#lost(path, connection)
    if (this.#random.chance(0.5)) this.#queue.after(0, () => this.#reset(connection, 'connection reset', 'gone'))
    return true
  }

  #keepAlive(): void {
    this.#queue.after(this.#plan.keepAliveMs * this.#random.between(0.5, 1.5), () => {
      for (const connection of [...this.#live]) {
        if (connection.hasLost && !this.#random.chance(0.3)) this.#reset(connection, 'connection timed out', 'unclear')
      }
      this.#keepAlive()
    })
  }

  #sim(from: string, to: string): Path {
    let paths = this.#pathsByName.get(from)
    if (paths === undefined) {
      paths = new Map()
      this.#pathsByName.set(from, paths)
    }
    let path = paths.get(to)
    if (path === undefined) {
      path = {
        to,
        isCut: false,
        slowness: 1,
        narrow: null,
        lastDue: 0,
        lastDueOf: new Map(),
        brokenChannels: new Set(),
        longestMs: 0,
        busyMs: 0,
      }
      paths.set(to, path)
    }
    return path
  }
}

/** Something on its way. May arrive more than once. */
class Parcel implements Happening {
  readonly connection: MemoryConnection
  readonly #receiver: Receiver | undefined
  readonly #deliver: () => void
  readonly #promised: () => void

  constructor(receiver: Receiver | undefined, connection: MemoryConnection, deliver: () => void, promised: () => void) {
    this.#receiver = receiver
    this.#promised = promised
    this.connection = connection
    this.#deliver = deliver
  }

  /** Nobody at either end waits for it any more. */
  get isOver(): boolean {
    const { isEndedAtDialler, isEndedAtAcceptor, acceptor } = this.connection
    return isEndedAtDialler && (acceptor === null || isEndedAtAcceptor)
  }

  happen(): void {
    if (this.connection.isChannel) this.#promised()
    if (!this.isOver) this.#receiver?.arrive(this.#deliver)
  }

  /** Invariant: it is a request. */
  arriveInPart(): void {
    if (!this.isOver) this.#receiver?.arrive(() => this.connection.acceptor?.takePart(this.connection))
  }
}

function clockOf(queue: EventQueue): Clock {
  return {
    now: () => queue.now,
    wallNow: () => queue.now,
    setTimer: (delayMs, callback) => {
      const event = queue.after(delayMs, callback)
      return () => event.cancel()
    },
    defer: (callback) => void queue.after(0, callback),
  }
}

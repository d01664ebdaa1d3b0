/**
 * A network in memory, for tests and the simulator: the same contract as TCP without sockets. Messages pass by
 * reference, checked as a decoder would check them. Everything that happens is a parcel or a timer in one queue with
 * one order, so a run is repeated by repeating its calls; time comes from the given clock only.
 *
 * What tests can do to it: hold, drop and delay what goes from one address to another, cut a connection, part two
 * addresses, and, in manual mode, decide when each next thing happens.
 */

import { assert } from '../../errors.js'
import { checkOptionNames } from '../../option-checks.js'
import type { CancelTimer, Clock, Request, Response, Transport } from '../index.js'
import { MemoryTransport } from './memory-transport.js'
import type { MemoryConnection, MemoryWire } from './memory-transport.js'

/** What a `MemoryNetwork` is made with. */
export interface MemoryNetworkOptions {
  readonly clock: Clock
  /** True: nothing happens but by `deliverNext`. False (default): the clock's timers deliver. */
  readonly manual?: boolean
  /** What may be on its way in one direction of a connection, in bytes. Default 16 MiB. */
  readonly writeQueueBytesMax?: number
}

interface Parcel {
  readonly due: number
  /** Equal times are told apart by who was first. */
  readonly sequence: number
  /** Null for a timer. */
  readonly connection: MemoryConnection | null
  readonly deliver: () => void
}

/** What goes from one address to another: first in, first out, so a parcel is never before the one ahead of it. */
interface Path {
  readonly parcels: Parcel[]
  isHeld: boolean
  isDropping: boolean
  isCut: boolean
  delayMs: number
}

/**
 * A network in one process, for tests: connections that keep order and have a bound, paths that can be held, cut,
 * slowed.
 */
export class MemoryNetwork implements MemoryWire {
  readonly clock: Clock
  readonly writeQueueBytesMax: number
  readonly #isManual: boolean
  readonly #paths = new Map<string, Path>()
  readonly #timers = new Set<Parcel>()
  readonly #listening = new Map<string, MemoryTransport>()
  readonly #connections = new Set<MemoryConnection>()
  #sequence = 0
  #cancelPump: CancelTimer | null = null
  #pumpDue = Infinity

  constructor(options: MemoryNetworkOptions) {
    checkOptionNames('MemoryNetwork', options, ['clock', 'manual', 'writeQueueBytesMax'])
    this.clock = options.clock
    this.#isManual = options.manual ?? false
    this.writeQueueBytesMax = options.writeQueueBytesMax ?? 16 * 2 ** 20
  }

  /** A transport that will listen on `address`, any text; one transport at a time. */
  transport(address: string): Transport {
    return new MemoryTransport(this, address)
  }

  /** Lets the next thing happen that is due and not held; false when there is none. */
  deliverNext(): boolean {
    const path = this.#nextPath()
    const timer = this.#nextTimer()
    const head = path?.parcels[0]
    const next = head !== undefined && (timer === null || isBefore(head, timer)) ? head : timer
    if (next === null || next === undefined || next.due > this.clock.now()) return false
    if (next === head) path?.parcels.shift()
    else this.#timers.delete(next)
    next.deliver()
    return true
  }

  /** When the next thing that is not held is due, on the clock; null when nothing is. */
  nextDue(): number | null {
    const head = this.#nextPath()?.parcels[0]
    const due = Math.min(head?.due ?? Infinity, this.#nextTimer()?.due ?? Infinity)
    return due === Infinity ? null : due
  }

  /** From now on nothing arrives from there; it waits, until `release`. */
  hold(from: string, to: string): void {
    this.#path(from, to).isHeld = true
  }

  /** Nothing is held there any more, and what was arrives. */
  release(from: string, to: string): void {
    this.#path(from, to).isHeld = false
    this.arm()
  }

  /**
   * What is sent from now on is lost, and nobody is told: a half-open connection. Order without gaps is the contract,
   * so a connection that lost something carries nothing more in that direction and is reset by `heal`.
   */
  drop(from: string, to: string): void {
    this.#path(from, to).isDropping = true
  }

  /** What is sent from now on takes that long. */
  delay(from: string, to: string, delayMs: number): void {
    this.#path(from, to).delayMs = delayMs
  }

  /** Ends the connections between two addresses, on both sides at once; they may dial again. */
  cut(a: string, b: string): void {
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(a, b)) connection.reset('connection reset', 'gone')
    }
  }

  /**
   * The process at that address dies, and its system ends its connections: those at the other sides are told that they
   * have ended, as over TCP. The transport there does nothing more, and another one may listen in its place.
   */
  kill(address: string): void {
    this.#listening.get(address)?.die()
  }

  /** Ends the connections between two addresses, as if they had timed out, and lets no new one come up until `heal`. */
  partition(a: string, b: string): void {
    this.#path(a, b).isCut = true
    this.#path(b, a).isCut = true
    for (const connection of [...this.#connections]) {
      if (connection.isBetween(a, b)) connection.reset('connection timed out', 'unclear')
    }
  }

  /** Undoes hold, drop and partition on all paths. */
  heal(): void {
    for (const path of this.#paths.values()) {
      path.isHeld = false
      path.isDropping = false
      path.isCut = false
    }
    for (const connection of [...this.#connections]) {
      if (connection.hasLost) connection.reset('connection reset: something was lost', 'unclear')
    }
    this.arm()
  }

  // What follows is for the transports of this network.

  /** False when the address is taken. */
  listen(transport: MemoryTransport): boolean {
    if (this.#listening.has(transport.address)) return false
    this.#listening.set(transport.address, transport)
    return true
  }

  /** Of a transport that ends: its address is free again. */
  unlisten(transport: MemoryTransport): void {
    if (this.#listening.get(transport.address) === transport) this.#listening.delete(transport.address)
  }

  listener(address: string): MemoryTransport | null {
    return this.#listening.get(address) ?? null
  }

  /** Whether nothing passes from one to the other. */
  isCut(from: string, to: string): boolean {
    return this.#path(from, to).isCut
  }

  /** Puts something on its way, which takes the same time whatever its size; false when it is lost. */
  carry(from: string, to: string, connection: MemoryConnection, _bytes: number, deliver: () => void): boolean {
    const path = this.#path(from, to)
    this.#connections.add(connection)
    if (path.isDropping || path.isCut) return false
    path.parcels.push({ due: this.clock.now() + path.delayMs, sequence: ++this.#sequence, connection, deliver })
    this.arm()
    return true
  }

  arrived<Message extends Request | Response>(_connection: MemoryConnection, message: Message): Message | null {
    return message
  }

  arrivedFrame(_connection: MemoryConnection, frame: Uint8Array): Uint8Array | null {
    return frame
  }

  /** Nothing of that connection arrives any more, and its place is free. */
  forget(connection: MemoryConnection): void {
    this.#connections.delete(connection)
    for (const path of this.#paths.values()) {
      const kept = path.parcels.filter((parcel) => parcel.connection !== connection)
      path.parcels.splice(0, path.parcels.length, ...kept)
    }
    this.arm()
  }

  /** Calls back after so long, on the clock of this network. */
  timer(delayMs: number, callback: () => void): CancelTimer {
    const timer = {
      due: this.clock.now() + delayMs,
      sequence: ++this.#sequence,
      connection: null,
      deliver: callback,
    }
    this.#timers.add(timer)
    this.arm()
    return () => {
      this.#timers.delete(timer)
      this.arm()
    }
  }

  /** In automatic mode: keeps one timer of the clock, for the next thing that is due, or none. */
  arm(): void {
    if (this.#isManual) return
    const due = this.nextDue() ?? Infinity
    if (due === this.#pumpDue) return
    this.#cancelPump?.()
    this.#cancelPump = null
    this.#pumpDue = due
    if (due === Infinity) return
    this.#cancelPump = this.clock.setTimer(Math.max(0, due - this.clock.now()), () => this.#pump())
  }

  /**
   * Delivers what is there now; what comes of it waits for the next timer, so that two peers cannot keep the loop to
   * themselves.
   */
  #pump(): void {
    this.#cancelPump = null
    this.#pumpDue = Infinity
    let count = this.#timers.size
    for (const path of this.#paths.values()) count += path.parcels.length
    while (count-- > 0 && this.deliverNext());
    this.arm()
  }

  #path(from: string, to: string): Path {
    const key = `${from} > ${to}`
    const known = this.#paths.get(key)
    if (known !== undefined) return known
    const path: Path = { parcels: [], isHeld: false, isDropping: false, isCut: false, delayMs: 0 }
    this.#paths.set(key, path)
    return path
  }

  #nextPath(): Path | null {
    let best: Path | null = null
    for (const path of this.#paths.values()) {
      const head = path.parcels[0]
      const bestHead = best?.parcels[0]
      if (head === undefined || path.isHeld) continue
      if (bestHead === undefined || isBefore(head, bestHead)) best = path
    }
    return best
  }

  #nextTimer(): Parcel | null {
    let best: Parcel | null = null
    for (const timer of this.#timers) if (best === null || isBefore(timer, best)) best = timer
    return best
  }
}

function isBefore(a: Parcel, b: Parcel): boolean {
  assert(a.sequence !== b.sequence, `two parcels have the number ${a.sequence}`)
  return a.due < b.due || (a.due === b.due && a.sequence < b.sequence)
}

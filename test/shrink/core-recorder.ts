/**
 * Writes down what reached each core of a world, as commands of the transcripts: turn by turn, each message by its way,
 * lost ones as lost, time as a share of the election timeout. Played back, cores that are equal do the same again,
 * nearly: timeouts are drawn otherwise, entries have other sizes, a wiped disk does not come back.
 */

import type { RaftCore } from '#balsa/core/raft-core.js'
import type { Input, Ready } from '#balsa/core/ready.js'
import type { Request, Response } from '#balsa/core/messages.js'
import type { ServerView } from '#balsa/testing/observer.js'
import type { Actor, World } from '#balsa/testing/simulator/world.js'
import { SETTINGS } from '#balsa/testing/stage/stage.js'
import { formatChange, formatMessage } from '#balsa/testing/stage/text.js'
import type { WorldObserver } from '#balsa/testing/simulator/world-observer.js'
import type { RecordedStep } from './aligned.js'

type Message = Request | Response

/** One message, from its sending on. */
interface Sent {
  readonly way: string
  readonly message: Message
  /** How often it arrives yet. */
  deliveries: number
}

interface Recorded {
  readonly turn: number
  readonly command: string
  /** The message that the command is about. */
  readonly sent: Sent | null
}

/** Of the process that runs now on a server. */
interface Boot {
  turn: number
  /** Where its turn begins among all that was recorded. */
  turnAt: number
  /** When the core wants its next tick. */
  deadline: number
  /** Tickets that the core was told are durable, and those that are. */
  persisted: number
  written: number
  /** Taken from the core and not yet seen at the store. */
  decided: number
  /** The core's ticket by the store's. */
  readonly tickets: Map<number, number>
}

export class CoreRecorder implements WorldObserver, Actor {
  #world: World | null = null
  #turns = 0
  readonly #steps: Recorded[] = []
  readonly #boots = new Map<string, Boot>()
  readonly #sent = new Map<string, Map<Message, Sent>>()

  start(world: World): void {
    this.#world = world
    // A cluster begins connected, a world does not.
    for (const { id } of world.servers) {
      for (const other of world.servers) if (other.id !== id) this.#note(`disconnect ${id} ${other.id}`)
    }
  }

  /** Everything so far, ready to be played back. */
  get steps(): readonly RecordedStep[] {
    const underWay = new Map<string, Sent[]>()
    const steps: RecordedStep[] = []
    for (const { turn, command, sent } of this.#steps) {
      if (sent === null) {
        steps.push({ turn, command, text: null })
        continue
      }
      const there = underWay.get(sent.way) ?? []
      underWay.set(sent.way, there)
      if (command === 'send') {
        if (sent.deliveries > 0) there.push(sent)
        else steps.push({ turn, command: `drop last ${sent.way}`, text: null })
        continue
      }
      sent.deliveries -= 1
      const at = there.indexOf(sent)
      const isLast = at > 0 && at === there.length - 1
      const which = sent.deliveries > 0 ? 'copy' : isLast ? 'last' : 'first'
      if (sent.deliveries === 0) there.splice(at, 1)
      steps.push({ turn, command: `deliver ${which} ${sent.way}`, text: formatMessage(sent.message) })
    }
    return steps
  }

  booted({ id, boot }: ServerView): void {
    this.#boots.set(id, {
      turn: 0,
      turnAt: 0,
      deadline: Infinity,
      persisted: 0,
      written: 0,
      decided: 0,
      tickets: new Map(),
    })
    if (boot > 1) this.#note(`start ${id}`)
  }

  crashed({ id }: ServerView): void {
    const boot = this.#boots.get(id)
    if (boot === undefined) return
    this.#boots.delete(id)
    if (boot.written > boot.persisted) this.#note(`write ${id} ${boot.written - boot.persisted}`)
    this.#note(`crash ${id}`)
  }

  stepped({ id }: ServerView, core: RaftCore, input: Input): void {
    const boot = this.#boots.get(id)
    if (boot === undefined) return
    this.#take(id, boot, input)
    boot.deadline = core.nextDeadline()
  }

  decided({ id }: ServerView, _core: RaftCore, { ticket }: Ready): void {
    const boot = this.#boots.get(id)
    if (boot !== undefined) boot.decided = ticket?.ticket ?? 0
  }

  submitted({ id }: ServerView, ticket: number): void {
    const boot = this.#boots.get(id)
    if (boot === undefined || boot.decided === 0) return
    boot.tickets.set(ticket, boot.decided)
    boot.decided = 0
  }

  durable({ id }: ServerView, ticket: number): void {
    const boot = this.#boots.get(id)
    if (boot !== undefined) boot.written = boot.tickets.get(ticket) ?? boot.written
  }

  sent({ id }: ServerView, to: string, message: Message): void {
    const sent = { way: `${id}>${to} ${message.type}`, message, deliveries: 0 }
    const way = this.#sent.get(sent.way) ?? new Map<Message, Sent>()
    this.#sent.set(sent.way, way)
    way.set(message, sent)
    this.#steps.push({ turn: 0, command: 'send', sent })
  }

  #take(id: string, boot: Boot, input: Input): void {
    const { turn } = boot
    switch (input.type) {
      case 'turn':
        boot.turn = this.#turns += 1
        boot.turnAt = this.#steps.length
        return
      case 'tick':
        if (boot.deadline > input.now) return
        this.#noteTime(boot)
        return this.#note(`timeout ${id}`, turn)
      case 'request':
        if (input.message.type !== 'AppendEntries') this.#noteTime(boot)
        return this.#arrived(input.from, id, input.message, turn)
      case 'response':
        return this.#arrived(input.from, id, input.message, turn)
      case 'peerUp':
        return this.#note(`connect ${id} ${input.peer}`, turn)
      case 'peerDown':
        return this.#note(`disconnect ${id} ${input.peer}`, turn)
      case 'peerGone':
        this.#noteTime(boot)
        return this.#note(`gone ${id} ${input.peer}`, turn)
      case 'transfer':
        this.#noteTime(boot)
        return this.#note(input.to === null ? `transfer ${id}` : `transfer ${id} ${input.to}`, turn)
      case 'stepDown':
        this.#noteTime(boot)
        return this.#note(`yield ${id}`, turn)
      case 'propose':
        return this.#note(`propose ${id} ${input.block.last - input.block.first + 1}`, turn)
      case 'configure':
        return this.#note(`change ${id} ${formatChange(input)}`, turn)
      case 'readIndex':
        return this.#note(`read ${id}`, turn)
      case 'persisted':
        this.#note(`persist ${id} ${input.ticket - boot.persisted}`, turn)
        boot.persisted = input.ticket
        return
      case 'halt':
        return this.#note(`fail ${id}`)
      case 'applied':
        return this.#note(`apply ${id}`, turn)
      case 'fetched':
      case 'fetchFailed':
        return this.#note(`fetch ${id}`, turn)
      // Scenarios have no word for a message in part, nor for room, nor for snapshots, nor for another disk.
      case 'hasJoined':
      case 'arriving':
      case 'credit':
      case 'snapshotTaken':
      case 'snapshotReceived':
      case 'snapshotSent':
      case 'snapshotFailed':
      case 'restored':
        return
    }
  }

  #arrived(from: string, to: string, message: Message, turn: number): void {
    const sent = this.#sent.get(`${from}>${to} ${message.type}`)?.get(message)
    if (sent === undefined) return
    sent.deliveries += 1
    this.#steps.push({ turn, command: 'arrive', sent })
  }

  /** What servers make of a message or a deadline depends on how long ago they heard of a leader. */
  #noteTime({ turnAt }: Boot): void {
    if (this.#world === null) return
    const { queue, plan } = this.#world
    const now = Math.round((queue.now * SETTINGS.electionTimeoutMs) / plan.electionTimeoutMs)
    this.#steps.splice(turnAt, 0, { turn: 0, command: `sleep until ${now}`, sent: null })
  }

  #note(command: string, turn = 0): void {
    this.#steps.push({ turn, command, sent: null })
  }
}

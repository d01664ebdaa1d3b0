/**
 * The network between the servers of a world and the clients outside (`RaftClient`): lines that take their time, break,
 * or fall silent until somebody finds out. In order and without gaps, as over TCP; what is on its way when a line ends
 * is lost.
 */

import type { ClientDialler } from '../../../client/connector.js'
import type { Channel, ChannelHandlers } from '../../../transport/channel.js'
import type { ClientDial, ClientDialling } from '../../../transport/tcp/client-dial.js'
import type { ClientHello } from '../../../transport/wire/client-handshake.js'
import { PROTOCOL } from '../../../transport/wire/handshake.js'
import type { EventQueue } from '../event-queue.js'
import type { SeededRandom } from '../random.js'
import type { SimProcess } from './sim-process.js'
import type { SimServer } from './sim-server.js'

export interface ClientWireSite {
  readonly queue: EventQueue
  readonly random: SeededRandom
  readonly delayMs: number
  /** A line that is silent is given up after this, on average, by both ends; and so is a dial. */
  readonly patienceMs: number
  servers(): readonly SimServer[]
  promised(): void
}

type Hello = Omit<ClientHello, 'type'>

/** Of a frame: how often its line breaks, and how often it falls silent. */
const BREAK_CHANCE = 0.004
const SILENCE_CHANCE = 0.002

export class ClientWire implements ClientDialler {
  /** Nothing breaks any more but with the servers. */
  isMended = false
  readonly #site: ClientWireSite
  readonly #lines = new Set<Line>()

  constructor(site: ClientWireSite) {
    this.#site = site
  }

  dial(address: string, hello: Hello, dialling: ClientDialling): ClientDial {
    const line = new Line(this.#site, address, dialling, {
      over: () => void this.#lines.delete(line),
      mayBreak: () => !this.isMended,
    })
    this.#lines.add(line)
    line.begin(hello)
    return line
  }

  /** That process is gone; without power nothing says so. */
  crashed(ordinal: number, isSilent: boolean): void {
    for (const line of this.#lines) if (line.server?.ordinal === ordinal) line.lost(isSilent)
  }
}

interface LineOwner {
  over(): void
  mayBreak(): boolean
}

class Line implements ClientDial {
  readonly gone: Promise<void>
  /** Who was dialled; null while nobody was found at the address. */
  server: SimServer | null = null
  readonly #site: ClientWireSite
  readonly #address: string
  readonly #dialling: ClientDialling
  readonly #owner: LineOwner
  #process: SimProcess | null = null
  /** What each end has for what comes; null before, and once that end is over. */
  #client: ChannelHandlers | null = null
  #seat: ChannelHandlers | null = null
  #isClientOver = false
  #isServerOver = false
  /** Nothing that is said arrives any more. */
  #isSilent = false
  /** When the last frame arrives, by direction. */
  readonly #due = { toServer: 0, toClient: 0 }
  #isGone: () => void = () => {}

  constructor(site: ClientWireSite, address: string, dialling: ClientDialling, owner: LineOwner) {
    this.#site = site
    this.#address = address
    this.#dialling = dialling
    this.#owner = owner
    this.gone = new Promise((resolve) => {
      this.#isGone = resolve
    })
  }

  begin(hello: Hello): void {
    this.#later(() => {
      if (this.#client === null) this.#breaks('no answer')
    })
    this.#carry('toServer', () => {
      const server = this.#site.servers().find(({ address }) => address === this.#address) ?? null
      const process = server?.process ?? null
      if (server === null || process === null || process.raft === null) return this.#answer('connection refused')
      this.server = server
      this.#process = process
      process.arrive(() => this.#arrived(process, hello))
    })
  }

  stop(reason: string): void {
    if (this.#isClientOver) return
    this.#clientOver()
    this.#toSeat((seat) => seat.onClosed(reason), true)
  }

  /** The other end is gone. */
  lost(isSilent: boolean): void {
    this.#serverOver()
    this.#isSilent = true
    if (isSilent) this.#later(() => this.#breaks('connection timed out'))
    else this.#carry('toClient', () => this.#breaks('connection reset'))
  }

  /** A client has come to that server. */
  #arrived(process: SimProcess, hello: Hello): void {
    if (this.#isClientOver) return
    const opening = process.transport.admitClient({ type: 'clientHello', ...hello })
    if (opening === null) return this.#answer('it takes no clients', 'ERR_RAFT_CLIENT_REFUSED')
    if (typeof opening !== 'function') return this.#answer(opening.reason, opening.code)
    const clusterId = process.raft?.status.clusterId ?? ''
    const serverId = this.server?.id ?? ''
    const welcome = { type: 'clientWelcome' as const, protocol: PROTOCOL, features: [], clusterId, serverId }
    this.#carry('toClient', () => {
      if (!this.#isClientOver) this.#client = this.#dialling.opened(this.#clientEnd(), welcome)
    })
    this.#seat = opening(this.#serverEnd())
  }

  /** The dial is answered with a refusal. */
  #answer(reason: string, code: string | null = null): void {
    this.#carry('toClient', () => {
      if (this.#isClientOver) return
      this.#clientOver()
      this.#dialling.failed(reason, code === null ? null : { by: 'peer', code })
    })
  }

  #clientEnd(): Channel {
    return { queuedBytes: 0, send: (frame) => this.#send('toServer', frame), close: (reason) => this.stop(reason) }
  }

  #serverEnd(): Channel {
    return {
      queuedBytes: 0,
      send: (frame) => {
        if (!this.#isServerOver) this.#send('toClient', frame)
      },
      close: (reason) => {
        this.#serverOver()
        this.#carry('toClient', () => this.#endClient(reason))
      },
    }
  }

  #send(way: 'toServer' | 'toClient', frame: Uint8Array): void {
    if (this.#isSilent) return
    const { random } = this.#site
    if (this.#owner.mayBreak() && random.chance(BREAK_CHANCE)) return this.#carry(way, () => this.#breaks('reset'))
    if (this.#owner.mayBreak() && random.chance(SILENCE_CHANCE)) {
      this.#isSilent = true
      return this.#later(() => this.#breaks('connection timed out'))
    }
    const copy = Uint8Array.from(frame)
    if (way === 'toClient') this.#carry(way, () => this.#client?.onFrame(copy))
    else this.#toSeat((seat) => seat.onFrame(copy), false)
  }

  /** Both ends are over. */
  #breaks(reason: string): void {
    this.#isSilent = true
    this.#toSeat((seat) => seat.onClosed(reason), true)
    this.#endClient(reason)
  }

  #endClient(reason: string): void {
    if (this.#isClientOver) return
    const client = this.#client
    this.#clientOver()
    if (client === null) this.#dialling.failed(reason, null)
    else client.onClosed(reason)
  }

  #serverOver(): void {
    this.#seat = null
    this.#isServerOver = true
  }

  #clientOver(): void {
    this.#client = null
    this.#isClientOver = true
    this.#owner.over()
    this.#isGone()
  }

  /** In that process, which may be paused; `isLast`: it hears no more after that. */
  #toSeat(run: (seat: ChannelHandlers) => void, isLast: boolean): void {
    this.#carry('toServer', () => {
      this.#process?.arrive(() => {
        const seat = this.#seat
        if (isLast) this.#serverOver()
        this.#site.promised()
        if (seat !== null) run(seat)
      })
    })
  }

  #carry(way: 'toServer' | 'toClient', happen: () => void): void {
    const { queue, random, delayMs } = this.#site
    this.#due[way] = Math.max(this.#due[way], queue.now + delayMs * random.between(0.5, 1.5))
    queue.call(this.#due[way], () => {
      this.#site.promised()
      happen()
    })
  }

  #later(run: () => void): void {
    const { queue, random, patienceMs } = this.#site
    queue.after(patienceMs * random.between(0.5, 1.5), () => {
      this.#site.promised()
      run()
    })
  }
}

/**
 * One client of a world of kv: one connection at a time, many commands under way on it, whatever happens to the
 * servers. What it is told it hands to the judge.
 */

import type { SimServer } from '#balsa/testing/simulator/doubles/sim-server.js'
import type { EventQueue } from '#balsa/testing/simulator/event-queue.js'
import type { SeededRandom } from '#balsa/testing/simulator/random.js'
import { AnswerReader, isError, type Answer } from './answer.js'
import { Connection } from './connection.js'
import { Dialogue } from './dialogue.js'
import type { Judge } from './judge.js'
import type { KvHost } from './kv-host.js'
import { COMMAND_KINDS, type CommandKind, type KvPlan } from './kv-plan.js'

export interface KvClientSite {
  readonly queue: EventQueue
  readonly plan: KvPlan
  readonly host: KvHost
  readonly judge: Judge
  readonly servers: readonly SimServer[]
  promised(): void
  /** Names what is written; never twice in a world. */
  nextMark(): number
  /** The same for what is only known by how long it lets live: the first from `least` on that was not given before. */
  nextTtl(least: number): number
  /** The same for how a FLUSHALL says that it is one; null when all ways to say it were given. */
  nextFlush(): string | null
}

const PORT = 7001
const CROWD = 24
const READ_MODES: readonly Words[] = [[], ['linearizable'], ['stale'], ['maxstaleness', '40'], ['minindex', '2']]

/** The modes of those that see all that was acknowledged. */
const CURRENT: ReadonlySet<string | undefined> = new Set(['linearizable', 'lease'])

type Words = readonly string[]

export class KvClient {
  /** It asks these. */
  asks: readonly SimServer[] | null = null
  /** Sends no new commands. */
  isStopped = false
  /** Answers that were not errors. */
  served = 0
  readonly #site: KvClientSite
  readonly #ordinal: number
  readonly #random: SeededRandom
  /** What its connections say first; null: nothing. */
  readonly #readonly: Words | null
  #believes: SimServer | null = null
  #connection: Connection | null = null
  #dialogue: Dialogue | null = null
  #server: SimServer | null = null
  #connections = 0
  /** Until then it asks nothing. */
  #restsUntil = 0
  /** A walk by SCAN goes on; another one would be taken for it. */
  #isScanning = false
  /** What comes next; parts of one transaction stand together. */
  #script: Words[] = []

  constructor(site: KvClientSite, ordinal: number, random: SeededRandom) {
    this.#site = site
    this.#ordinal = ordinal
    this.#random = random
    const mode = site.plan.readModes ? READ_MODES[ordinal % READ_MODES.length] : undefined
    const drawn = random.chance(0.2) ? ['readonly', ...(mode ?? [])] : null
    this.#readonly = site.plan.leaseReads && ordinal % 2 === 1 ? ['readonly', 'lease'] : drawn
  }

  /** The server that owes it an answer. */
  get waitsOn(): SimServer | null {
    return this.waitsFor === null ? null : this.#server
  }

  get waitsFor(): string | null {
    const { pending = [], name = '' } = this.#dialogue ?? {}
    return pending.length === 0 ? null : `${name}: ${pending[0]?.words.join(' ')} and ${pending.length - 1} more`
  }

  start(): void {
    const { queue, plan } = this.#site
    queue.after(this.#random.exponential(plan.thinkMs), () => {
      if (!this.isStopped) this.#act()
      this.start()
    })
  }

  /** The connection ends from this side. */
  leave(): void {
    const connection = this.#connection
    this.#forget()
    connection?.leave()
  }

  #act(): void {
    const { plan, queue } = this.#site
    if (queue.now < this.#restsUntil) return
    if (this.#connection === null && !this.#connect()) return
    if (this.#random.chance(plan.fickleness)) return this.leave()
    const dialogue = this.#dialogue
    if (dialogue === null) return
    const room = plan.depth - dialogue.pending.length
    if (room <= 0) return
    const count = Math.min(room, this.#random.int(1, 9))
    const words: Words[] = []
    while (words.length < count) words.push(this.#next())
    this.#send(dialogue, words)
  }

  #send(dialogue: Dialogue, commands: readonly Words[]): void {
    const { host, judge } = this.#site
    const entryTime = this.#server === null ? 0 : (host.serverOf(this.#server.id)?.entryTime ?? 0)
    let text = ''
    for (const words of commands) {
      judge.sent(dialogue, words, entryTime)
      text += `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
    }
    this.#connection?.send(text)
  }

  #connect(): boolean {
    const { host, judge, plan, queue } = this.#site
    const up = (this.asks ?? this.#site.servers).filter((server) => server.isUp && !server.paused)
    if (up.length === 0) return false
    const believed = this.#believes !== null && up.includes(this.#believes) && this.#random.chance(0.9)
    const server = believed && this.#believes !== null ? this.#believes : this.#random.pick(up)
    const { process } = server
    if (process === null) return false
    this.#connections += 1
    const isStale = this.#readonly !== null && !CURRENT.has(this.#readonly[1])
    const dialogue = new Dialogue(`c${this.#ordinal}.${this.#connections}@${server.id}`, isStale)
    const reader = new AnswerReader()
    const kv = host.serverOf(server.id)
    const connection = new Connection(
      {
        ...{ queue, random: this.#random, delayMs: plan.delayMs },
        address: `10.0.0.${this.#ordinal}:${this.#connections}`,
        localAddress: `127.0.0.1:${PORT + server.ordinal}`,
        arrive: (run) => {
          process.arrive(() => {
            process.promised()
            run()
          })
        },
        entryTime: () => kv?.entryTime ?? 0,
      },
      {
        received: (text, entryTime) => {
          reader.push(text)
          for (let answer = reader.next(); answer !== null; answer = reader.next()) {
            this.#received(dialogue, answer, entryTime)
          }
        },
        ended: () => {
          judge.ended(dialogue)
          if (this.#dialogue === dialogue) this.#forget()
        },
      },
    )
    if (!host.accept(server.id, connection)) return false
    this.#connection = connection
    this.#dialogue = dialogue
    this.#server = server
    this.#script = []
    this.#isScanning = false
    if (this.#readonly !== null) this.#send(dialogue, [this.#readonly])
    return true
  }

  #received(dialogue: Dialogue, answer: Answer, entryTime: number): void {
    const { judge, plan, queue } = this.#site
    const request = judge.received(dialogue, answer, entryTime)
    if (dialogue !== this.#dialogue || request === null) return
    if (!isError(answer)) {
      this.served += 1
      this.#believes = this.#server
      if (request.words[0] === 'scan' && Array.isArray(answer)) this.#scanOn(dialogue, String(answer[0]).slice(1))
      return
    }
    if (request.words[0] === 'scan') this.#isScanning = false
    const [, port] = /^-MOVED \d+ [^ ]*:(\d+)$/.exec(answer) ?? []
    this.#believes = port === undefined ? null : (this.#site.servers[Number(port) - PORT] ?? null)
    // A real one would come again, and more slowly: a world without a leader is not all refusals.
    if (this.#random.chance(port === undefined ? 0.8 : 0.3)) {
      this.leave()
      this.#restsUntil = port === undefined ? queue.now + this.#random.exponential(plan.world.clients.refusedMs) : 0
    }
  }

  #scanOn(dialogue: Dialogue, cursor: string): void {
    const isInTransaction = this.#script.length > 0 || dialogue.pending.some(({ words }) => words[0] === 'multi')
    if (cursor === '0' || isInTransaction || dialogue.queued !== null) this.#isScanning = false
    else this.#send(dialogue, [['scan', cursor, 'count', String(this.#random.int(1, 6))]])
  }

  #forget(): void {
    this.#connection = null
    this.#dialogue = null
    this.#server = null
  }

  #next(): Words {
    const next = this.#script.shift()
    if (next !== undefined) return next
    const kind = this.#draw()
    if (kind !== 'transaction' && kind !== 'crowd') return this.#command(kind)
    this.#script = kind === 'crowd' ? this.#crowd() : this.#transaction()
    return this.#next()
  }

  #draw(): CommandKind {
    const { weights } = this.#site.plan
    let left = this.#random.next() * COMMAND_KINDS.reduce((sum, kind) => sum + weights[kind], 0)
    for (const kind of COMMAND_KINDS) {
      left -= weights[kind]
      if (left < 0) return kind
    }
    return 'get'
  }

  #command(kind: Exclude<CommandKind, 'transaction' | 'crowd'>): Words {
    const random = this.#random
    const key = this.#key()
    const mark = this.#site.nextMark()
    switch (kind) {
      case 'set':
        return random.chance(0.3) ? ['set', key, `v${mark}`, 'px', String(this.#ttl())] : ['set', key, `v${mark}`]
      case 'incrby':
        return ['incrby', random.chance(0.8) ? `n${key}` : key, String(mark)]
      case 'del':
        return ['del', key, `n${this.#key()}`, `-${mark}`]
      case 'expire':
        return ['pexpire', random.chance(0.5) ? key : `n${key}`, String(this.#site.nextTtl(this.#ttl()))]
      case 'ttl':
        return [random.pick(['ttl', 'pttl']), key]
      case 'mset':
        return ['mset', key, `v${mark}`, this.#key(), `w${mark}`]
      case 'mget':
        return ['mget', this.#key(), `n${this.#key()}`, this.#key()]
      case 'keys':
        return ['keys', '*']
      case 'scan':
        if (this.#isScanning) return ['get', key]
        this.#isScanning = true
        return ['scan', '0', 'count', String(random.int(1, 6))]
      case 'flushall': {
        const how = this.#site.nextFlush()
        return how === null ? ['get', key] : ['flushall', how]
      }
      case 'echo':
        return ['echo', `e${mark}`]
      case 'get':
        return ['get', random.chance(0.7) ? key : `n${key}`]
    }
  }

  #transaction(): Words[] {
    const random = this.#random
    const script: Words[] = []
    if (random.chance(0.6)) script.push(['watch', this.#key(), ...(random.chance(0.4) ? [`n${this.#key()}`] : [])])
    while (random.chance(0.4)) script.push(this.#command(random.pick(['get', 'set', 'ttl', 'del', 'mget'])))
    if (random.chance(0.1)) script.push(['unwatch'])
    script.push(['multi'], this.#command('set'))
    const kinds = ['get', 'incrby', 'del', 'set', 'mget', 'expire', 'mset'] as const
    while (random.chance(0.6)) script.push(this.#command(random.pick(kinds)))
    if (this.#site.plan.weights.flushall > 0 && random.chance(0.1)) script.push(this.#command('flushall'))
    script.push([random.chance(0.85) ? 'exec' : 'discard'])
    return script
  }

  /** More keys that die at once than one command removes, and a transaction that depends on one of them. */
  #crowd(): Words[] {
    const ttl = String(this.#ttl())
    const keys = Array.from({ length: CROWD }, (_, at) => `crowd${at}`)
    const sets = keys.map((key) => ['set', key, `v${this.#site.nextMark()}`, 'px', ttl])
    const watched = this.#random.pick(keys)
    const transaction = [['watch', watched], ['get', watched], ['multi'], this.#command('set'), ['exec']]
    return [['multi'], ...sets, ['exec'], ...transaction]
  }

  #key(): string {
    return `k${this.#random.int(0, this.#site.plan.keys)}`
  }

  #ttl(): number {
    return this.#random.int(1, this.#site.plan.ttlMaxMs + 1)
  }
}

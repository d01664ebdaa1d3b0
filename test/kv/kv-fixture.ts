/** A KvServer on a double of the library, on a free port, and raw clients for it. */

import * as assert from 'uvu/assert'
import { connect, type Socket } from 'node:net'
import { formatAddress, makeMember, type Member } from 'balsa-kv/cluster/members.js'
import { commandCatalog } from 'balsa-kv/commands/command-catalog.js'
import { DataSet } from 'balsa-kv/data-set/data-set.js'
import { KvStateMachine } from 'balsa-kv/replication/kv-state-machine.js'
import { Security, type UserSources } from 'balsa-kv/security/security.js'
import type { ClientTls } from 'balsa-kv/security/tls-files.js'
import { machineClock, type KvClock } from 'balsa-kv/server/clock.js'
import { KvServer } from 'balsa-kv/server/kv-server.js'
import { countReplies } from './reply-count.js'
import { SingleServerRaft } from './single-server-raft.js'

export interface Fixture {
  readonly server: KvServer
  readonly raft: SingleServerRaft
  readonly data: DataSet
  readonly port: number
  /** What was logged: event names, */
  readonly events: string[]
  /** and all that was said with them. */
  readonly logged: string[]
  readonly close: () => Promise<void>
}

export const otherMembers: readonly Member[] = [
  makeMember('s2', { host: '127.0.0.1', port: 7102 }, { host: '127.0.0.1', port: 7002 }),
  makeMember('s3', { host: '127.0.0.1', port: 7103 }, { host: '127.0.0.1', port: 7003 }),
]

export interface FixtureOptions {
  readonly now?: () => number
  /** Instead of the machine's and of `now`. */
  readonly clock?: KvClock
  /** Of the library's double. Default: the date. */
  readonly entryTime?: () => number
  readonly clientsMax?: number
  readonly clientsMemoryMax?: number
  readonly memoryMax?: number
  readonly dir?: string
  readonly leaderWaitMs?: number
  readonly forwards?: boolean
  /** Who may come in. Default: anybody. */
  readonly users?: UserSources
  readonly tls?: ClientTls | null
  /** Brings the double into a state before there is a server on it. */
  readonly prepare?: (raft: SingleServerRaft) => void
}

export async function startServer({
  prepare,
  now = Date.now,
  entryTime,
  users,
  ...options
}: FixtureOptions = {}): Promise<Fixture> {
  const { clock = { ...machineClock, wallNow: now } } = options
  const data = new DataSet()
  const raft = new SingleServerRaft(new KvStateMachine(data), { id: 's1', now: entryTime ?? (() => clock.wallNow()) })
  const self = makeMember('s1', { host: '127.0.0.1', port: 7101 }, { host: '127.0.0.1', port: 7001 })
  const members = [self, ...otherMembers]
  const voters = members.map(({ id, peer }) => ({ id, address: formatAddress(peer) }))
  raft.configuration = { voters, outgoing: null, nonvoters: [] }
  prepare?.(raft)
  const events: string[] = []
  const logged: string[] = []
  const log = (event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    events.push(event)
    logged.push(`${event} ${JSON.stringify(fields)}`)
  }
  const server = new KvServer({
    raft,
    data,
    self,
    members,
    host: '127.0.0.1',
    port: 0,
    dir: '/nowhere',
    log: { debug: log, info: log, warn: log, error: log },
    leaderWaitMs: 0,
    ...options,
    ...(users === undefined ? {} : { security: new Security(users, commandCatalog, clock) }),
    clock,
  })
  const { port } = await server.listen()
  return { server, raft, data, port, events, logged, close: () => server.close(raft.close()) }
}

/** One server, and one client of it, for as long as `body` runs. */
export async function withServer(
  body: (fixture: Fixture, client: RawClient) => Promise<void>,
  options: FixtureOptions = {},
): Promise<void> {
  const fixture = await startServer(options)
  const client = await RawClient.connect(fixture.port)
  try {
    await body(fixture, client)
  } finally {
    client.close()
    await fixture.close()
  }
}

const TAIL_LENGTH = 256

/** A client that sends bytes and collects bytes. */
export class RawClient {
  readonly #socket: Socket
  #received = ''
  /** The end of it: whoever waits for the end of much must not have all of it put together at each chunk. */
  #tail = ''
  #isClosed = false
  #onChange: () => void = () => undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1')
      this.#received += text
      this.#tail = (this.#tail + text.slice(-TAIL_LENGTH)).slice(-TAIL_LENGTH)
      this.#onChange()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#isClosed = true
      this.#onChange()
    })
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1' })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new RawClient(socket)
  }

  get received(): string {
    return this.#received
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  send(text: string): void {
    this.#socket.write(text, 'latin1')
  }

  /** Resolves once the network has taken all of it. */
  sendAll(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(text, 'latin1', (error) => (error instanceof Error ? reject(error) : resolve()))
    })
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Resolves with everything received, once `done` holds for it. */
  async until(done: (received: string, isClosed: boolean) => boolean, timeoutMs = 10_000): Promise<string> {
    const deadline = Date.now() + timeoutMs
    while (!done(this.#received, this.#isClosed)) {
      await new Promise<void>((resolve, reject) => {
        const left = deadline - Date.now()
        const timer = setTimeout(() => reject(new Error(`still waiting; received ${this.#describe()}`)), left)
        this.#onChange = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.#received
  }

  /** Sends, and resolves with what came back up to and with `last`. */
  async ask(text: string, last: string): Promise<string> {
    assert.ok(last.length <= TAIL_LENGTH, `an answer is told by its last ${TAIL_LENGTH} characters at most`)
    this.#received = ''
    this.#tail = ''
    this.send(text)
    return this.until(() => this.#tail.endsWith(last))
  }

  /** Sends these, and resolves with what came back, once there are as many answers. */
  async askEach(...commands: readonly (readonly string[])[]): Promise<string> {
    this.#received = ''
    this.#tail = ''
    this.send(commands.map((words) => command(...words)).join(''))
    return this.until((received) => countReplies(received) >= commands.length)
  }

  /** Ends the sending side and resolves with all that comes until the server closes. */
  async drain(): Promise<string> {
    this.#socket.end()
    return this.until((_received, isClosed) => isClosed)
  }

  close(): void {
    this.#socket.destroy()
  }

  #describe(): string {
    return `${JSON.stringify(this.#received.slice(-200))}${this.#isClosed ? ', closed' : ''}`
  }
}

/** A command as clients send it. */
export function command(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`
}

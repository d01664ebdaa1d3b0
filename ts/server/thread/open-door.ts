/**
 * Opens a server where its options say: in this thread, or in a worker thread of its own, which ends with the server.
 *
 * Invariant: an open that fails leaves no thread behind.
 */

import { existsSync } from 'node:fs'
import { MessageChannel, Worker } from 'node:worker_threads'

import { RaftError } from '../../errors.js'
import { textOf } from '../../foreign-values.js'
import { publishEvents } from '../../observe/channels.js'
import { Events } from '../../observe/events.js'
import { optionsError } from '../../option-checks.js'
import type { Recipe } from '../../types.js'
import type { Door } from '../door.js'
import { Life } from '../life.js'
import type { GroupSettings } from '../open/group.js'
import { openServer } from '../open/open-server.js'
import { claimTransport, releaseTransport } from '../open/transport-claims.js'
import { halted } from '../refusals.js'
import { Glance } from './glance.js'
import type { Look } from './glance.js'
import { Line } from './line.js'
import type { Said } from './line.js'
import { abortedBefore, Aborting, outcomeOf } from './near-calls.js'
import { NearMachine } from './near-machine.js'
import { ThreadedServer } from './threaded-server.js'
import { ErrorWire } from './wire-error.js'
import type { OpenArg, ToMachine, ToServer, WorkerData } from './words.js'

/** News are acknowledged so many at a time. */
const NEWS_TAKEN = 256
/** A thread that does not end by then is left behind. */
const TERMINATE_MS_MAX = 10_000

export async function openDoor(settings: GroupSettings): Promise<Door> {
  if (settings.thread === 'main') return openServer(settings)
  const { transport, id } = settings
  claimTransport(transport, id)
  try {
    const server = await openThreaded(settings)
    void server.ended.then(() => releaseTransport(transport))
    return server
  } catch (error) {
    releaseTransport(transport)
    throw error
  }
}

async function openThreaded(settings: GroupSettings): Promise<ThreadedServer> {
  const thread = new Thread(settings)
  try {
    await thread.open()
    return thread.server
  } catch (error) {
    await thread.terminate()
    throw error
  }
}

/** A worker thread and this end of it. */
class Thread {
  readonly server: ThreadedServer
  readonly #settings: GroupSettings
  readonly #worker: Worker
  readonly #line: Line<ToServer, ToMachine>
  readonly #machine: NearMachine
  readonly #glance: Glance
  /** What it threw, which is told right before it ends. */
  #thrown: string | null = null
  #isEnding = false
  #newsTaken = 0

  constructor(settings: GroupSettings) {
    this.#settings = settings
    const { id, clock, logger, resultCodec, electionTimeoutMs } = settings
    const errors = new ErrorWire()
    const { port1, port2 } = new MessageChannel()
    const looks = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
    this.#worker = spawn(id, { facts: port2, looks })
    const defer = (callback: () => void): void => clock.defer(callback)
    this.#line = new Line<ToServer, ToMachine>(this.#worker, errors, defer)
    const ask = (look: Look): void => {
      this.#line.flush()
      this.#worker.postMessage(look, [])
    }
    this.#glance = new Glance({ facts: port1, looks }, errors, ask, defer)
    const listener: ConstructorParameters<typeof NearMachine>[2] = {
      applied: (tag, result) => this.server.applied(tag, result),
      batch: (entries, results) => this.server.batch(entries, results),
    }
    this.#machine = new NearMachine(settings, errors, listener, () => this.#line.ask('restoreNext', null).answer)
    const events = new Events(logger)
    publishEvents(events, id)
    this.server = new ThreadedServer({
      ...{ id, line: this.#line, errors, machine: this.#machine, glance: this.#glance, life: new Life(), events },
      ...{ clock, resultCodec, electionTimeoutMs, terminate: () => this.terminate() },
    })
    this.#serve(errors)
    this.#worker.on('message', (said: Said) => {
      this.#glance.stale()
      this.#line.hear(said)
    })
    this.#worker.on('error', (error) => (this.#thrown = textOf(error)))
    this.#worker.on('messageerror', (error) => {
      this.#thrown = textOf(error)
      void this.#worker.terminate()
    })
    this.#worker.on('exit', (code) => this.#exited(code))
  }

  async open(): Promise<void> {
    const { signal } = this.#settings
    const options = signal === null ? undefined : { signal }
    const refusal = abortedBefore(options)
    if (refusal !== null) throw refusal
    const { id, answer } = this.#line.ask('open', copied(openArgOf(this.#settings, this.#machine)))
    const aborting = new Aborting(id, (call) => this.#line.tell('abort', call))
    const onAbort = (): void => aborting.abort(signal?.reason)
    signal?.addEventListener('abort', onAbort)
    try {
      this.#glance.learn(await answer)
    } catch (error) {
      throw aborting.told(error)
    } finally {
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Resolves when it has ended, or is left behind. */
  async terminate(): Promise<void> {
    this.#isEnding = true
    const { clock, logger } = this.#settings
    let cancel = (): void => {}
    const late = new Promise<'late'>((resolve) => {
      cancel = clock.setTimer(TERMINATE_MS_MAX, () => resolve('late'))
    })
    const ended = await Promise.race([this.#worker.terminate(), late])
    cancel()
    if (ended !== 'late') return
    this.#worker.unref()
    logger.error('thread.left-behind', { reason: `it did not end within ${TERMINATE_MS_MAX} ms` })
  }

  #serve(errors: ErrorWire): void {
    const { logger, onJoin } = this.#settings
    this.#line.serve(this.#machine.handlers, {
      rejected: ({ tag, error }) => this.server.rejected(tag, error),
      barrier: ({ tag, index }) => this.server.barrier(tag, index),
      proposalsTaken: (taken) => this.server.taken(taken),
      event: ({ name, event }) => {
        this.#took()
        this.server.heard(name, event)
      },
      log: ({ level, event, fields }) => {
        this.#took()
        logger[level](event, fields as Readonly<Record<string, unknown>>)
      },
      join: (status) => {
        this.#took()
        try {
          onJoin?.(status)
        } catch (cause) {
          logger.error('listener.threw', { event: 'onJoin', error: textOf(cause) })
        }
      },
      ended: ({ fault, hasHalted, facts }) =>
        this.server.over(fault === null ? null : errors.decode(fault), hasHalted, facts),
    })
  }

  /** One of the news that may be as many as there are. */
  #took(): void {
    this.#newsTaken += 1
    if (this.#newsTaken < NEWS_TAKEN) return
    this.#line.tell('newsTaken', this.#newsTaken)
    this.#newsTaken = 0
  }

  #exited(code: number): void {
    if (this.#isEnding) return
    const { id, logger } = this.#settings
    const why = this.#thrown === null ? `it exited with code ${code}` : `it threw: ${this.#thrown}`
    const message = `the worker thread of server ${id} has ended, ${why}; what is durable is kept, and the folder is free: open it again`
    const error = new RaftError('ERR_RAFT_THREAD_LOST', message)
    logger.error('raft.thread-lost', { code: error.code, error: message })
    this.#line.end((name) => halted(error)(outcomeOf(name)))
    this.server.lost(error)
  }
}

function spawn(id: string, workerData: WorkerData): Worker {
  const here = import.meta.url as string | undefined
  const script = here === undefined ? null : new URL('./worker.js', here)
  if (script === null || !existsSync(script)) {
    const why = 'the file of the worker, server/thread/worker.js, does not lie beside the rest of the library'
    throw optionsError(`option thread is worker, and ${why}: keep balsa-raft out of the bundle, or leave thread out`)
  }
  return new Worker(script, { name: `balsa-raft ${id}`, workerData, transferList: [workerData.facts] })
}

/** Options that are read through a Proxy, or have more in them than was asked for, may be none that can be copied. */
function copied(arg: OpenArg): OpenArg {
  try {
    return structuredClone(arg)
  } catch {
    // What it says of the value may hold a secret.
    throw optionsError(
      'an option cannot be copied to the worker thread, such as a function or a Proxy: give plain data',
    )
  }
}

function openArgOf(settings: GroupSettings, { abilities }: NearMachine): OpenArg {
  const { id, dir, bootstrap, join, joinAs, allowJoin, joinTimeoutMs, recoveries, cluster, clients } = settings
  const { acceptCopiedFolder, acceptPeerBoot, onRemoved, snapshots, heartbeatMs, electionTimeoutMs } = settings
  const { electionPriority, thread, onJoin } = settings
  return {
    plain: {
      ...{ id, dir, bootstrap, join, joinAs, allowJoin, joinTimeoutMs, recoveries, cluster, clients },
      ...{ acceptCopiedFolder, acceptPeerBoot, onRemoved, snapshots, heartbeatMs, electionTimeoutMs },
      ...{ electionPriority, thread },
    },
    transportRecipe: recipeOf(settings.transport),
    storageRecipe: recipeOf(settings.storage),
    snapshotStorageRecipe: recipeOf(settings.snapshotStorage),
    machine: abilities,
    tellsJoin: onJoin !== null,
  }
}

/** The options were checked: it has one. */
const recipeOf = ({ recipe }: { readonly recipe?: Recipe | undefined }): Recipe =>
  recipe ?? { module: '', make: '', options: undefined }
